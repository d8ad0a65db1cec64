"""Whether a small photo was made without anti-aliasing, by its power spectrum.

Photographs have a power close to c |f|^-a. A photo made smaller by the factor s with a kernel of
the transfer function K has

    P(g) = c sum_k |f_k|^-a |K(f_k)|^2 + n,  f_k = (g + k) / s,

k the s x s whole vectors of frequencies that fall upon g. A kernel as wide as the factor leaves
little of the power above the small photo's highest frequency; one that is not lets it fold back,
which makes the spectrum flat. Both are fitted to the mean power of rings of equal |g|, with a and c
free, and the misfits of its logarithm compared.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from d2ir_pl.estimators.noise_level import MIN_SIGMA, estimate_sigma
from d2ir_pl.estimators.periodogram import EXPONENT, periodogram
from d2ir_pl.estimators.remembered import remembered
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


@remembered
def aliasing_evidence(y: Tensor, factor: int) -> float:
    """How much better one small photo is explained as aliased; at most 0 if it is not.

    It is the difference of two misfits, in units of their own scatter squared.

    Args:
        y: `(3, h, w)` photo in [-1, 1].
        factor: how many times smaller it was made.
    """
    if min(y.shape[-2:]) < 16:
        return 0.0
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
        return 0.0
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
