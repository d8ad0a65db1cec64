"""Impulse noise and dead pixels: pixels that have nothing to do with those around them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from d2ir_pl.estimators.remembered import remembered

LEVEL = 2 / 255
"""A grey level of 8 bits in [-1, 1]."""

# A pixel is certainly an impulse where its distance from the median of the 24 pixels around it
# exceeds CERTAIN plus 3 times their range without the largest and the least, and that is not 0, as
# it is around the dot of an i. Photos of which FEW of all pixels are so have impulses if these are
# at least a RATIO of what differs so much from its neighbours (the strokes of small print do too),
# and those of which MANY are have impulses everywhere. Chosen on photographs of the training set
# and on text (docs/experiments.md).
CERTAIN = 60 * LEVEL
FEW, MANY = 2e-4, 2e-3
RATIO = 0.05
# In photos with impulses a pixel is one where its distance exceeds LIKELY plus 3 times that range
# or, where impulses are everywhere or black and white, plus 3 times half the range without the 5
# largest and the 5 least.
LIKELY = 20 * LEVEL
# Salt and pepper: where this share of the certain impulses is black or white, all are. They are so
# dense that they hide each other where a DENSE share of all pixels is black and another white, and
# neither keep together as those of a photo or of print do.
EXTREME_SHARE = 0.9
DENSE = 0.004
# A black pixel is a part of the photo, and so is a white one, where more of its neighbours are so
# than chance makes of impulses, which are sparse or dense.
ALIKE_SPARSE, ALIKE_DENSE = 0.4, 0.6
# Number of pixels whose neighbours are sorted at once.
CHUNK = 1 << 20


@remembered
def impulses(y: Tensor) -> Tensor | None:
    """`(1, H, W)`, 1 where a pixel of a photo is an impulse in any channel; None if none is.

    Args:
        y: `(3, H, W)` in [-1, 1].
    """
    if min(y.shape[-2:]) < 5:
        return None
    difference = _from_mean(y)
    place = (difference > CERTAIN / 2).nonzero()
    distance, _, wide = _compare(y, place)
    certain = place[(distance > CERTAIN + 3 * wide) & (wide > 0)]
    share, strong = len(certain) / y[0].numel(), int((difference > CERTAIN).sum())
    dense = _dense(y)
    if share < FEW or not (dense or len(certain) >= RATIO * strong):
        return None
    black_or_white = y.abs() >= 1 - LEVEL / 2
    salt_and_pepper = float(black_or_white[tuple(certain.T)].float().mean()) >= EXTREME_SHARE
    if salt_and_pepper and (share >= MANY or dense):
        return _extremes(y, ALIKE_DENSE if dense else ALIKE_SPARSE)
    place = (difference > LIKELY / 2).nonzero()
    distance, narrow, wide = _compare(y, place)
    spread = narrow if salt_and_pepper or share >= MANY else wide
    found = place[distance > LIKELY + 3 * spread]
    mask = torch.zeros_like(y)
    mask[tuple(found.T)] = 1
    if salt_and_pepper:
        mask = mask * black_or_white
    return mask.amax(0, keepdim=True)


def _from_mean(y: Tensor) -> Tensor:
    """`(3, H, W)`: how far pixels are from the mean of their 8 neighbours."""
    # A pixel differs from its neighbours by 9/8 of what it differs from the mean with itself; a
    # convolution would take nine times the memory.
    mean = F.avg_pool2d(F.pad(y[None], (1, 1, 1, 1), mode="reflect"), 3, 1)[0]
    return (y - mean).abs_().mul_(9 / 8)


def _dense(y: Tensor) -> bool:
    """Whether many pixels are black, and many white, and neither keep together."""
    for sign in (-1, 1):
        extreme = (sign * y >= 1 - LEVEL / 2).to(y)
        if float(extreme.mean()) < DENSE:
            return False
        if float((extreme * _share_around(extreme)).sum() / extreme.sum()) > ALIKE_SPARSE:
            return False
    return True


def _share_around(part: Tensor) -> Tensor:
    """`(3, H, W)`: the share of the 5x5 pixels around each that are of a part."""
    return F.avg_pool2d(part[None], 5, 1, 2)[0]


def _compare(y: Tensor, place: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """How far pixels are from the median of the 24 around them, and two ranges of these.

    Args:
        y: `(3, H, W)`.
        place: `(N, 3)` channels, rows and columns of the pixels.
    """
    padded = F.pad(y[None], (2, 2, 2, 2), mode="reflect")[0]
    columns = []
    for channel, row, column in (part.T for part in place.split(CHUNK)):
        around = torch.stack(
            [
                padded[channel, row + i, column + j]
                for i in range(5)
                for j in range(5)
                if (i, j) != (2, 2)
            ]
        )
        n = around.sort(0).values
        distance = (y[channel, row, column] - (n[11] + n[12]) / 2).abs()
        columns.append(torch.stack([distance, (n[18] - n[5]) / 2, n[22] - n[1]]))
    if not columns:
        empty = y.new_empty(0)
        return empty, empty, empty
    distance, narrow, wide = torch.cat(columns, 1)
    return distance, narrow, wide


def _extremes(y: Tensor, alike: float) -> Tensor:
    """`(1, H, W)`: black and white pixels that differ from the mean of the others around them."""
    other = (y.abs() < 1 - LEVEL / 2).to(y)
    count = _share_around(other)
    mean = _share_around(other * y) / count.clamp_min(1e-6)
    # Where everything around is black or white too, it is a part of the photo or quite lost.
    differs = ((y - mean).abs() > LIKELY) & (count > 0)
    found = torch.zeros_like(y)
    for sign in (-1, 1):
        extreme = (sign * y >= 1 - LEVEL / 2).to(y)
        lonely = _share_around(extreme) < alike
        found = torch.maximum(found, extreme * (lonely & differs))
    return found.amax(0, keepdim=True)
