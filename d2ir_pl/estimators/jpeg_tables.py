"""The JPEG tables of a photo, estimated from its decoded pixels, and the error that they left."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from d2ir_pl.estimators.remembered import remembered
from d2ir_pl.operators.jpeg_transform import (
    BLOCK,
    Coefficients,
    analyze,
    inverse_colours,
    standard_tables,
    whole_blocks,
)
from d2ir_pl.operators.subsampling import Factors, shrink

SUBSAMPLINGS: dict[str, Factors] = {"4:4:4": (1, 1), "4:2:2": (1, 2), "4:2:0": (2, 2)}
# Most blocks that the estimation of a quality looks at; more say nothing new.
MAX_BLOCKS = 1024
# Groups of blocks, from flat to busy, whose coefficients have a law of their own.
GROUPS = 8
# Error in grey levels that rounding to 8 bits, in RGB and before, leaves in a DCT coefficient.
ROUNDING = 0.35
# Median of the finest coefficients, in grey levels, up to which all may have been rounded away.
# Of JPEGs it is 0.13 to 0.45 where rounding is larger than noise, of other photos with the least
# noise 0.37, with that of one grey level 0.4 and with two 0.9.
ROUNDED_AWAY = 0.5
# Side in pixels of the middle of a large photo that is looked at for it, a multiple of `BLOCK`.
LOOKED_AT = 1024
# Least share of coefficients that are off the lattice, for clipping and what else may happen.
OUTLIERS = 0.1


@remembered
def estimate_quality(y: Tensor) -> int:
    """The quality of the standard tables on whose multiples the coefficients of y lie.

    A coefficient c that was not rounded to zero lies within an error e ~ N(0, s^2) of a multiple
    of its step q, or anywhere, with probability o. Against a smooth density of c the likelihood is

        o + (1 - o) q N(c - q round(c / q); 0, s^2),

    where q counts how few places a coarse lattice leaves. Zero is a multiple of every q, so that
    coefficients near it say nothing, and one that is not zero but whose nearest multiple is, is off
    the lattice. Summed in logarithms over the luminance. Photos that never were JPEG files, or ones
    of the best qualities, come out near 100. The means of blocks are left out: flat images have
    nothing else.

    Args:
        y: `(3, H, W)` decoded photo in [-1, 1], its blocks starting at the top left.
    """
    luma = analyze(y.double(), (1, 1)).luma
    blocks = luma[_unclipped(y, (1, 1))]
    blocks = blocks[:: -(-len(blocks) // MAX_BLOCKS)]
    steps = standard_tables(torch.arange(1, 101, device=y.device))[:, 0].to(blocks)
    deviation = _rounding_error(blocks)
    score = torch.zeros(len(steps), dtype=blocks.dtype, device=y.device)
    for vertical in range(BLOCK):
        for horizontal in range(BLOCK):
            if vertical == horizontal == 0:
                continue
            c, s = blocks[:, vertical, horizontal], deviation[vertical, horizontal]
            c = c[c.abs() > 3 * s]
            step = steps[:, vertical, horizontal, None]
            density = step / (s * math.sqrt(2 * math.pi)) * _closeness(c, step, s)
            density = torch.where(2 * c.abs() < step, 0, density)
            score += (OUTLIERS + (1 - OUTLIERS) * density).log().sum(1)
    # Of equals, such as for a flat image, the best quality: it asks for the least change.
    return len(score) - int(score.flip(0).argmax())


def may_be_rounded(y: Tensor) -> bool:
    """Whether the finest coefficients of a photo are as small as rounding to zero leaves them.

    It takes a hundredth of the time of `estimate_quality`, which need not be asked otherwise.

    Args:
        y: `(3, H, W)` photo in [-1, 1], its blocks starting at the top left.
    """
    top, left = (max(0, n - LOOKED_AT) // 2 // BLOCK * BLOCK for n in y.shape[-2:])
    part = y[:, top : top + LOOKED_AT, left : left + LOOKED_AT]
    finest = analyze(part, (1, 1)).luma[..., BLOCK // 2 :, BLOCK // 2 :]
    return float(finest.abs().median()) <= ROUNDED_AWAY


@remembered
def estimate_factors(y: Tensor, tables: Tensor) -> Factors:
    """The chroma subsampling under which the coefficients lie nearest to multiples of the steps.

    Args:
        y: `(3, H, W)` decoded photo in [-1, 1], its blocks starting at the top left.
        tables: `(2, 8, 8)` quantisation steps.
    """
    step = tables[1].to(y)
    # Of equals, such as for a grey image, the coarsest.
    candidates = list(SUBSAMPLINGS.values())[::-1]
    scores = []
    for factors in candidates:
        chroma = analyze(y, factors, decoded=True).chroma[:, _unclipped(y, factors)]
        deviation = _rounding_error(chroma)
        score = (OUTLIERS + (1 - OUTLIERS) * _closeness(chroma, step, deviation)).log()
        # Steps that are hardly longer than the error tell nothing.
        scores.append(float(score[..., step > 4 * deviation].sum() / score.numel()))
    return candidates[scores.index(max(scores))]


def _rounding_error(like: Tensor) -> Tensor:
    """`(8, 8)` standard deviation of a coefficient's error by rounding to 8 bits.

    Blocks are often flat, or flat along one axis, so that all their pixels are rounded alike.
    """
    coherent = torch.ones(BLOCK, device=like.device, dtype=like.dtype)
    coherent[0] = math.sqrt(BLOCK)
    return ROUNDING * torch.outer(coherent, coherent)


def _closeness(c: Tensor, step: Tensor, deviation: Tensor) -> Tensor:
    """exp(-e^2 / 2 s^2) of the distance e from the nearest multiple of a step."""
    error = (c - step * (c / step).round()) / deviation
    return torch.exp(-error.square() / 2)


def quantization_variance(coefficients: Coefficients, tables: Tensor) -> Tensor:
    """Mean square error `(2, 8, 8)`, in grey levels, of coefficients that were rounded to steps q.

    The coefficients of a frequency k (in half cycles a block) are taken to follow a Laplace law of
    scale b = c |k|^-p, with c and p the most likely ones given the rounded values. Rounding to the
    nearest multiple then leaves

        E e^2 = 2 b^2 (1 - z / sinh z),   z = q / 2 b,

    which is q^2 / 12 for small steps and the variance 2 b^2 for large ones. Flat and busy blocks
    follow different laws: blocks are put into GROUPS by what rounding left of them, and errors are
    averaged over the groups. The mean of a block has no such law: q^2 / 12.

    Args:
        coefficients: whole multiples of the steps.
        tables: `(2, 8, 8)` steps in grey levels.

    Source: the most likely b: Price and Rabbani, Biased reconstruction for JPEG decoding, 1999.
    """
    kinds = coefficients.luma.flatten(0, 1), coefficients.chroma.flatten(0, 2)
    errors = []
    for c, steps in zip(kinds, tables, strict=True):
        # On the CPU, because not every accelerator has double precision.
        level = (c / steps).round().abs().cpu()
        order = level.flatten(1)[:, 1:].sum(1).argsort(stable=True)
        groups = level[order].chunk(GROUPS)
        total = torch.stack([len(group) * _laplace_error(group, steps.cpu()) for group in groups])
        errors.append(total.sum(0) / len(level))
    return torch.stack(errors).to(tables)


@remembered
def rounding_variance(y: Tensor, tables: Tensor, factors: Factors) -> Tensor:
    """The `quantization_variance` of a decoded photo, `(2, 8, 8)`.

    Args:
        y: `(3, H, W)` in [-1, 1], turned as it was stored.
        tables: `(2, 8, 8)` steps in grey levels.
        factors: chroma subsampling.
    """
    return quantization_variance(analyze(y, factors, decoded=True).quantize(tables), tables)


def rms_error(variance: Tensor, factors: Factors) -> Tensor:
    """RMS error of the RGB pixels, in the units of [-1, 1], due to errors of the coefficients.

    Args:
        variance: `(..., 2, 8, 8)` mean square errors of the coefficients in grey levels.
        factors: chroma subsampling; interpolation smooths the errors of the chrominances.
    """
    frequency = math.pi / BLOCK * torch.arange(BLOCK, device=variance.device)
    smoothing = (10 + 6 * frequency.cos()) / 16  # power of the weights 3/4 and 1/4
    gain = [smoothing if factor == 2 else torch.ones_like(smoothing) for factor in factors]
    luma, chroma = variance.unbind(-3)
    chroma = (chroma * torch.outer(*gain)).mean((-2, -1))
    rgb = inverse_colours(variance).square().mean(0)
    return (rgb[0] * luma.mean((-2, -1)) + (rgb[1] + rgb[2]) * chroma).sqrt() / 127.5


def _laplace_error(level: Tensor, steps: Tensor) -> Tensor:
    """`quantization_variance` of one group: `(N, 8, 8)` magnitudes of coefficients in steps."""
    k = torch.arange(BLOCK, dtype=torch.float64, device=steps.device)
    radius = torch.hypot(k[:, None], k[None, :]).flatten()[1:]
    q = steps.double().flatten()[1:]
    level = level.flatten(1)[:, 1:].double()
    scale = torch.logspace(-2, 4, 61, dtype=q.dtype, device=q.device)[:, None, None]
    exponent = torch.linspace(0.5, 4, 15, dtype=q.dtype, device=q.device)[:, None]
    b = scale * radius**-exponent
    best = laplace_log_likelihood([level], q, b).flatten().argmax()
    b = b.flatten(0, 1)[best]
    z = q / (2 * b)
    # Beyond 50, sinh overflows and the error is the variance.
    z = z.clamp(1e-3, 50)
    error = 2 * b**2 * (1 - z / z.sinh())
    return torch.cat([steps.flatten()[:1].double() ** 2 / 12, error]).view_as(steps).to(steps)


def laplace_log_likelihood(groups: Sequence[Tensor], steps: Tensor, b: Tensor) -> Tensor:
    """Log-likelihood of levels to which coefficients of Laplace laws of scale b were rounded.

    With u = exp(-q / 2b), a level n != 0 has the probability (1 - u^2) u^(2 |n| - 1) / 2, and 0 has
    1 - u.

    Args:
        groups: `(N, K)` magnitudes of K coefficients of the N blocks of each group, in steps.
        steps: `(K,)` q.
        b: `(..., K)`.

    Returns:
        `(G, ...)` sums over the blocks of each group and the coefficients, but for a constant.
    """
    zeros = torch.stack([(level == 0).sum(0) for level in groups]).to(b)
    total = torch.stack([level.sum(0) for level in groups]).to(b)
    others = torch.tensor([len(level) for level in groups]).to(b)[:, None] - zeros
    # Scales far below a step would give -inf for levels that are never reached.
    log_u = (-steps / (2 * b)).clamp_min(-700).flatten(0, -2)
    likelihood = (
        zeros @ torch.log1p(-log_u.exp()).mT
        + others @ torch.log1p(-(2 * log_u).exp()).mT
        + (2 * total - others) @ log_u.mT
    )
    return likelihood.reshape(len(groups), *b.shape[:-1])


def _unclipped(y: Tensor, factors: Factors) -> Tensor:
    """Mask `(h, w)` of the blocks without black or white values, or of all if none is."""
    clipped = (y.abs() >= 1).any(0).to(y.dtype)
    blocks = whole_blocks(shrink(clipped, factors)).unfold(0, BLOCK, BLOCK).unfold(1, BLOCK, BLOCK)
    free = blocks.sum((2, 3)) == 0
    return free if bool(free.any()) else ~free
