"""Whether a small photo was made without anti-aliasing, by its power spectrum and its edges.

Photographs have a power close to c |f|^-a. A photo made smaller by the factor s with a kernel of
the transfer function K has

    P(g) = c sum_k |f_k|^-a |K(f_k)|^2 + n,  f_k = (g + k) / s,

k the s x s whole vectors of frequencies that fall upon g. A kernel as wide as the factor leaves
little of the power above the small photo's highest frequency; one that is not lets it fold back,
which makes the spectrum flat. Both are fitted to the mean power of rings of equal |g|, with a and c
free, and the misfits of its logarithm compared.

Edges are told by the grey levels beside the steepest places: an edge that was smoothed before it
was sampled is spread over two or three pixels, one that was not jumps within one. The evidence of
both is put together by a logistic regression on photographs made smaller in five ways
(docs/experiments.md).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from d2ir_pl.estimators.noise_level import MIN_SIGMA, estimate_sigma
from d2ir_pl.estimators.periodogram import EXPONENT, periodogram
from d2ir_pl.estimators.remembered import remembered
from d2ir_pl.image_io.colour import BT601
from d2ir_pl.operators.interpolation import cubic

EDGES = (
    0.06,
    0.08,
    0.1,
    0.125,
    0.15,
    0.18,
    0.21,
    0.25,
    0.29,
    0.33,
    0.37,
    0.41,
    0.45,
    0.5,
    0.56,
    0.63,
)
"""Edges of the rings in cycles a pixel."""
LAW_SCATTER = 0.3
"""How far the logarithm of the power of a ring strays from the law."""
EXPONENT_SCATTER = 0.4
"""Scatter of the exponent a among photographs, about `EXPONENT`."""
FEWEST = 4
"""Frequencies that a ring must have to count."""
LEAST_SIGNAL = 10.0
"""Power of the strongest ring, in units of the noise's, below which nothing is told."""
WEIGHTS = (0.54, -10.7, 21.4, 10.8, 0.86)
"""Weights of the evidence: the inverse hyperbolic sine of a fifth of the spectrum's, then the four
measures of `_edges`."""
BIAS = -11.1
STEEP = 0.93
"""Share of places that are not among the steepest."""
NOTHING = -20.0
"""Log-odds of a photo that tells nothing."""


@remembered
def aliasing_odds(y: Tensor, factor: int) -> float:
    """Logarithm of the odds that one small photo was made without anti-aliasing.

    As many aliased photos as others are expected beforehand.

    Args:
        y: `(3, h, w)` photo in [-1, 1].
        factor: how many times smaller it was made.
    """
    if min(y.shape[-2:]) < 16:
        return NOTHING
    spectrum = _by_spectrum(y, factor)
    if spectrum is None:
        return NOTHING
    evidence = (math.asinh(spectrum / 5), *_edges(y))
    return BIAS + sum(w * e for w, e in zip(WEIGHTS, evidence, strict=True))


def _edges(y: Tensor) -> tuple[float, float, float, float]:
    """How abrupt the edges of a photo `(3, h, w)` are.

    Beside the steepest places of rows and columns, where the difference of neighbours is d and
    those before and behind it are a and b: the mean of (a + b) / d, weighed by |d|, and that of
    min(a, b) / d. Of the whole photo: the mean absolute second over the first difference, and the
    logarithm of the power of gradients after and before 2x2 pixels were averaged.
    """
    red, green, blue = (w * channel for w, channel in zip(BT601, y, strict=True))
    grey = (red + green + blue).double()
    beside = [_beside_steep(lines) for lines in (grey, grey.mT)]
    both, least = (sum(values) / 2 for values in zip(*beside, strict=True))
    first, second = (
        sum(float(lines.diff(n=n).abs().mean()) for lines in (grey, grey.mT)) for n in (1, 2)
    )
    coarse = F.avg_pool2d(grey[None, None], 2)[0, 0]
    return both, least, second / first, math.log(_power(coarse) / _power(grey))


def _beside_steep(lines: Tensor) -> tuple[float, float]:
    """The first two measures of `_edges`, along the rows of `(h, w)`."""
    d = lines.diff(dim=-1)
    before, here, behind = d[:, :-2], d[:, 1:-1], d[:, 2:]
    steep = here.abs()
    steep = steep * ((steep >= before.abs()) & (steep >= behind.abs()))
    chosen = (steep >= steep.flatten().quantile(STEEP)) & (steep > 0)
    sign, size = here[chosen].sign(), here[chosen].abs()
    a, b = before[chosen] * sign, behind[chosen] * sign
    return float((a + b).sum() / size.sum()), float((torch.minimum(a, b) / size).mean())


def _power(grey: Tensor) -> float:
    """Power of the gradients of `(h, w)`."""
    return sum(float(lines.diff(dim=-1).square().mean()) for lines in (grey, grey.mT))


def _by_spectrum(y: Tensor, factor: int) -> float | None:
    """How much better the spectrum is explained as aliased, or None where it holds no photo.

    It is the difference of two misfits, in units of their own scatter squared.
    """
    power, frequency = periodogram(y[None])
    ring = torch.bucketize(frequency.norm(dim=1), torch.tensor(EDGES, dtype=power.dtype))
    count = torch.bincount(ring, minlength=len(EDGES) + 1).double()
    kept = (count[1:-1] >= FEWEST).nonzero()[:, 0] + 1

    def rings(values: Tensor) -> Tensor:
        total = values.new_zeros(len(values), len(count)).index_add_(1, ring, values)
        return total[:, kept] / count[kept]

    observed, weight = rings(power)[0], 1 / (LAW_SCATTER**2 + 1 / count[kept])
    noise = max(_sigma(y), MIN_SIGMA) ** 2 / 3
    if float(observed.amax()) < LEAST_SIGNAL * noise:
        return None
    smooth, aliased = (
        _misfit(observed, rings(_models(frequency, factor, widened)), weight, noise)
        for widened in (True, False)
    )
    return smooth - aliased


def _sigma(y: Tensor) -> float:
    """Noise by the finest details of the colours, which unlike aliasing are not those of grey."""
    grey = float(estimate_sigma(y[None]))
    colours = torch.stack([y[0] - y[1], y[2] - y[1], y[0] - y[2]])
    colour = float(estimate_sigma(colours[None])) / math.sqrt(2)
    return min(grey, colour) if colour > 0 else grey


def _models(frequency: Tensor, factor: int, widened: bool) -> Tensor:
    """P / c without noise, of bicubic kernels, for the `_exponents`, `(A, F)`."""
    reach = 2 * factor if widened else 2
    j = torch.arange(-reach, reach + factor, dtype=torch.float64)
    distance = j - (factor - 1) / 2
    taps = cubic(distance / factor) if widened else cubic(distance, -0.75)
    taps = taps / taps.sum()
    folded = (frequency[..., None] + torch.arange(factor) - factor // 2) / factor  # (F, 2, s)
    phase = torch.exp(2j * math.pi * folded[..., None] * j)
    gain = (phase * taps).sum(-1).abs().square()
    gain = gain[:, 0, :, None] * gain[:, 1, None, :]
    square = folded[:, 0, :, None].square() + folded[:, 1, None, :].square()
    return torch.stack([(square ** (-a / 2) * gain).sum((1, 2)) for a in _exponents().tolist()])


def _exponents() -> Tensor:
    return torch.linspace(1.2, 3.6, 25, dtype=torch.float64)


def _misfit(observed: Tensor, models: Tensor, weight: Tensor, noise: float) -> float:
    """The least misfit `min_a,c` of the logarithm of the power, by Gauss-Newton in log c."""
    c = (observed.sum() - noise * len(observed)) / models.sum(1, keepdim=True)
    for _ in range(6):
        model = c * models + noise
        slope = c * models / model
        step = (slope * (observed.log() - model.log())) @ weight / (slope.square() @ weight)
        c = c * step.clamp(-1, 1).exp()[:, None]
    residual = observed.clamp_min(1e-30).log() - (c * models + noise).log()
    prior = ((_exponents() - EXPONENT) / EXPONENT_SCATTER).square()
    return float((residual.square() @ weight + prior).amin())
