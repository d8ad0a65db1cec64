"""The power of a photo at each spatial frequency, and its means over parts of the plane."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor

from d2ir_pl.operators.constants import kept
from d2ir_pl.operators.linear import Size, size_of

# Falling exponent of the power of photographs, and the lowest frequency (cycles a pixel) that
# still follows the law: together they read widths without bias on photographs of the training
# set (docs/experiments.md).
EXPONENT = 2.4
MIN_FREQUENCY = 0.08
# Side in pixels of the largest block whose periodogram is taken whole.
MAX_BLOCK = 512


def periodogram(y: Tensor) -> tuple[Tensor, Tensor]:
    """Power of the grey image at each frequency, tapered so that borders do not leak.

    Large images are cut into blocks whose periodograms are averaged (Welch's method), which
    bounds the number of frequencies.

    Args:
        y: `(B, C, H, W)`.

    Returns:
        Power `(B, F)`, scaled so that white noise of variance v has power v, and the frequencies
        `(F, 2)` along x and y in cycles a pixel. Half the plane: the other half mirrors it.
    """
    grey = y.double().mean(1)
    h, w = min(grey.shape[1], MAX_BLOCK), min(grey.shape[2], MAX_BLOCK)
    blocks = grey.unfold(1, h, h).unfold(2, w, w).flatten(1, 2)
    taper = _taper(grey, h, w)
    mean = (blocks * taper).sum((2, 3), keepdim=True) / taper.sum()
    power = torch.fft.rfft2((blocks - mean) * taper).abs().square().mean(1) / taper.square().sum()
    return power.flatten(1), _frequencies(grey, h, w)


def cell_means(
    power: Tensor, frequency: Tensor, size: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Means over cells of the frequency plane that are 1 / size cycles a pixel wide.

    Args:
        power: `(B, F)` at each frequency.
        frequency: `(F, 2)` in cycles a pixel, half the plane.
        size: cells a cycle.

    Returns:
        Of the C cells that hold a frequency: power `(B, C)`, mean of |f|^-a `(C,)`, number of
        frequencies `(C,)`, and place `(C, 2)` along x and y in units of 1 / size.
    """
    index, law, count, place = cells(frequency, size)
    return means(power, index, count), law, count, place


def cells(frequency: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The cells of `cell_means`: the one of each frequency `(F,)`, and what does not depend on it.

    Args:
        frequency: `(F, 2)` in cycles a pixel, half the plane.
        size: cells a cycle.
    """
    every = (frequency * size).round().long()
    place, index = cast(tuple[Tensor, Tensor], torch.unique(every, return_inverse=True, dim=0))
    count = torch.bincount(index, minlength=len(place)).to(frequency)
    law = means(frequency.norm(dim=1) ** -EXPONENT, index, count)
    return index, law, count, place


def means(values: Tensor, index: Tensor, count: Tensor) -> Tensor:
    """Means `(..., C)` over the cells of values `(..., F)`."""
    total = values.new_zeros(*values.shape[:-1], len(count))
    return total.index_add_(-1, index, values) / count


def fine_power(y: Tensor) -> tuple[Tensor, Size]:
    """The periodogram above MIN_FREQUENCY, `(B, F)`, and the size of the block that it is of."""
    height, width = size_of(y)
    block = min(height, MAX_BLOCK), min(width, MAX_BLOCK)
    power = periodogram(y)[0]
    return power.index_select(1, _above(power, *block)), block


def fine_frequencies(block: Size) -> Tensor:
    """`(F, 2)` frequencies above MIN_FREQUENCY of a block, along x and y, on the CPU."""
    like = torch.zeros((), dtype=torch.float64)
    return _frequencies(like, *block)[_above(like, *block)]


def ring_means(power: Tensor, block: Size) -> tuple[Tensor, Tensor, Tensor]:
    """Means of the power over rings of equal |f|, 1 / 512 cycles a pixel apart.

    Args:
        power: `(B, F)` above MIN_FREQUENCY.
        block: size of the block that it is of.

    Returns:
        Of the R rings that hold a frequency: power `(B, R)`, number of frequencies `(R,)`, and
        radius `(R,)` in cycles a pixel.
    """
    count, radius = _rings(power, *block)
    return means(power, _ring_of(power, *block), count), count, radius


@kept
def _taper(h: int, w: int) -> Tensor:
    """`(h, w)` weights that fall to zero at the border."""
    sides = [torch.hann_window(n + 2, periodic=False, dtype=torch.float64)[1:-1] for n in (h, w)]
    return torch.outer(*sides)


@kept
def _frequencies(h: int, w: int) -> Tensor:
    """`(F, 2)` frequencies of the `rfft2` of h x w pixels along x and y, in cycles a pixel."""
    fy, fx = torch.meshgrid(
        torch.fft.fftfreq(h, dtype=torch.float64),
        torch.fft.rfftfreq(w, dtype=torch.float64),
        indexing="ij",
    )
    return torch.stack([fx, fy], -1).flatten(0, 1)


@kept
def _above(h: int, w: int) -> Tensor:
    """Positions of the frequencies above MIN_FREQUENCY."""
    frequency = _frequencies(torch.zeros((), dtype=torch.float64), h, w)
    return torch.nonzero(frequency.norm(dim=1) > MIN_FREQUENCY)[:, 0]


@kept
def _ring_of(h: int, w: int) -> Tensor:
    """The ring of equal |f| of each frequency above MIN_FREQUENCY, `(F,)`."""
    return _nearest_rings(h, w)[1]


@kept
def _rings(h: int, w: int) -> Tensor:
    """`(2, R)`: how many frequencies each ring has, and its radius in cycles a pixel."""
    ring, index = _nearest_rings(h, w)
    return torch.stack([torch.bincount(index).double(), ring / 512])


def _nearest_rings(h: int, w: int) -> tuple[Tensor, Tensor]:
    """The rings that hold a frequency, 1 / 512 cycles a pixel apart, and the one of each."""
    ring = (fine_frequencies((h, w)).norm(dim=1) * 512).round().long()
    return cast(tuple[Tensor, Tensor], torch.unique(ring, return_inverse=True))
