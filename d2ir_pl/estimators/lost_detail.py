"""How much of a photo a known blur took: the root mean square of x - k * x.

The photo shows what the same blur would take once more, whose mean square is

    mean_f (I(f) - n) |1 - K(f)|^2,

with the periodogram I, the power n of white noise, and the transfer function K. The first blur took
more, as the photo has but |K|^2 of the power of the scene. By how much follows from the power law
|f|^-a of natural images (see `spectrum.py`),

    sum_f |f|^-a |1 - K|^2 / sum_f |f|^-a |K|^2 |1 - K|^2.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from d2ir_pl.estimators.noise_level import grey_variance
from d2ir_pl.estimators.periodogram import EXPONENT, MAX_BLOCK, periodogram
from d2ir_pl.operators.linear import Size, size_of

# Least share of the noise that is believed to be the photo's: less cannot be told from it.
LEAST = 0.05


def lost_detail(y: Tensor, sigma_y: Tensor, kernel: Tensor) -> Tensor:
    """Estimate the root mean square of what a blur took from each photo, `(B,)`.

    Args:
        y: `(B, C, H, W)` blurred photos.
        sigma_y: `(B,)` standard deviation of their white noise, in the units of y.
        kernel: `(B, k, k)` kernels with sum 1, k odd.

    Returns:
        It in the units of y, positive.
    """
    power, frequency = periodogram(y)
    height, width = size_of(y)
    block = min(height, MAX_BLOCK), min(width, MAX_BLOCK)
    noise = grey_variance(y, sigma_y)[:, None]
    kernel = kernel.double()
    middle = kernel.shape[-1] // 2
    rest = -kernel
    rest[:, middle, middle] += 1
    kept, taken = _gain(kernel, block), _gain(rest, block)
    radius = frequency.norm(dim=1)
    law = torch.where(radius > 0, radius, math.inf) ** -EXPONENT
    again = ((power - noise) * taken).mean(1).maximum(LEAST * (noise * taken).mean(1))
    ratio = (law * taken).sum(1) / (law * kept * taken).sum(1)
    return (again * ratio).sqrt().to(y)


def _gain(kernel: Tensor, block: Size) -> Tensor:
    """`(B, F)` squared magnitude of kernels at the frequencies of the `rfft2` of a block."""
    height, width = block
    # A kernel that is larger than the block has frequencies between those of the block.
    fold = math.ceil(kernel.shape[-1] / min(block))
    transfer = torch.fft.rfft2(kernel, s=(fold * height, fold * width))
    every = transfer[:, ::fold, ::fold][..., : width // 2 + 1]
    gain: Tensor = every.abs().square().flatten(1)
    return gain
