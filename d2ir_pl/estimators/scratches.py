"""Scratches and cracks of old prints and films.

A scratch is thin, long, and lighter (or darker) than what lies on both sides of it, wherever it
runs: it has nothing to do with the scene. A wire or a twig is as thin, but lies before a sky or a
wall. So a long line counts whose own level changes little while that of its surroundings changes a
lot, and which is nearly as light (or dark) as anything in the photo. Where there are such lines, so
are shorter ones of the same level.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

# Side in pixels of the photo that is looked at: larger ones are made smaller.
SIDE = 800
# Number of directions, length in pixels of the line that is averaged, widths that are looked for,
# and the radius of the filters.
DIRECTIONS, LENGTH, WIDTHS, RADIUS = 12, 17, (1.4, 3.2), 12
# Least contrast to both sides, in [0, 1].
CONTRAST = 0.08
# A scratch is at least so long in pixels, and in units of the photo's diagonal, and so many times
# longer than wide.
LONGEST, LONGEST_SHARE, THIN = 40, 0.1, 6.0
# Its level has at most STEADY of the scatter of that beside it, which is at least VARIED, and it is
# beyond EXTREME of the photo's pixels.
STEADY, VARIED, EXTREME = 0.6, 0.06, 0.9
# Others are at least SHORTEST long, and their level is within ALIKE of the level of one.
SHORTEST, ALIKE = 10, 0.08
# Share of a photo's pixels within which scratches are believed.
LEAST, MOST = 2e-4, 0.08


@dataclass(frozen=True)
class _Lines:
    """Connected lines of a photo, each a number in every attribute but the first.

    Attributes:
        label: `(H, W)` number of the line that a pixel is on, from 1 on; 0 elsewhere.
        count: number of pixels.
        length: larger side of the box around it.
        level, scatter: mean and standard deviation of its pixels.
        beside: standard deviation of the mean of both sides along it.
    """

    label: Tensor
    count: Tensor
    length: Tensor
    level: Tensor
    scatter: Tensor
    beside: Tensor


def scratches(y: Tensor) -> Tensor | None:
    """`(1, H, W)`, 1 on the scratches of a photo; None if it has none.

    Args:
        y: `(3, H, W)` in [-1, 1].
    """
    height, width = y.shape[-2:]
    if min(height, width) < 4 * RADIUS:
        return None
    grey = (y.detach().cpu().float().mean(0) + 1) / 2
    factor = -(-max(height, width) // SIDE)
    small = F.avg_pool2d(grey[None, None], factor, ceil_mode=True)[0, 0] if factor > 1 else grey
    found = torch.zeros_like(small)
    for sign in (1, -1):
        found = torch.maximum(found, _light_lines(sign * small))
    share = float(found.mean())
    if not LEAST <= share <= MOST:
        return None
    grown = F.max_pool2d(found[None, None], 3, 1, 1)
    if factor > 1:
        grown = F.interpolate(grown, scale_factor=factor, mode="nearest")
    return grown[0, :, :height, :width].to(y)


def _light_lines(grey: Tensor) -> Tensor:
    """`(H, W)`, 1 on lines that are lighter than what is beside them, and foreign to the scene."""
    contrast, beside = _contrast(grey)
    line = (grey - beside > contrast.clamp_min(CONTRAST) / 2) & (
        F.max_pool2d(contrast[None, None], 3, 1, 1)[0, 0] > CONTRAST
    )
    if not bool(line.any()):
        return torch.zeros_like(grey)
    lines = _lines(line, grey, beside)
    extreme = float(torch.quantile(grey.flatten()[:: -(-grey.numel() // (1 << 18))], EXTREME))
    long = max(LONGEST, LONGEST_SHARE * math.hypot(*grey.shape))
    sure = (
        (lines.length >= long)
        & (lines.count <= lines.length**2 / THIN)
        & (lines.scatter < STEADY * lines.beside)
        & (lines.beside > VARIED)
        & (lines.level > extreme)
    )
    if not bool(sure.any()):
        return torch.zeros_like(grey)
    alike = (lines.level[:, None] - lines.level[sure]).abs().amin(1) < ALIKE
    others = alike & (lines.length >= SHORTEST) & (lines.count <= lines.length**2 / THIN * 2)
    chosen = torch.cat([torch.zeros(1, dtype=torch.bool), sure | others])
    return chosen[lines.label].to(grey)


def _contrast(grey: Tensor) -> tuple[Tensor, Tensor]:
    """By how much a line in the best direction exceeds its lighter side, and the mean of both."""
    best = torch.full_like(grey, -1.0)
    beside = torch.zeros_like(grey)
    padded = F.pad(grey[None, None], (RADIUS,) * 4, mode="reflect")
    for width in WIDTHS:
        mean = F.conv2d(padded, _filters(width))[0]
        distance = 1.6 * width + 1
        for i in range(DIRECTIONS):
            angle = math.pi * i / DIRECTIONS
            dy, dx = round(distance * math.cos(angle)), round(-distance * math.sin(angle))
            sides = [_moved(mean[i], s * dy, s * dx) for s in (1, -1)]
            over = mean[i] - torch.maximum(*sides)
            better = over > best
            best = torch.where(better, over, best)
            beside = torch.where(better, (sides[0] + sides[1]) / 2, beside)
    return best, beside


def _filters(width: float) -> Tensor:
    """`(DIRECTIONS, 1, k, k)` means along lines of a width."""
    t = torch.arange(-RADIUS, RADIUS + 1, dtype=torch.float32)
    angle = torch.arange(DIRECTIONS)[:, None, None] * (math.pi / DIRECTIONS)
    along = t * angle.cos() + t[:, None] * angle.sin()
    across = t[:, None] * angle.cos() - t * angle.sin()
    line = torch.sigmoid(2 * (LENGTH / 2 - along.abs())) * torch.exp(-2 * (across / width) ** 2)
    return (line / line.sum((1, 2), keepdim=True))[:, None]


def _moved(x: Tensor, rows: int, columns: int) -> Tensor:
    """`x[i + rows, j + columns]`, with the edge repeated."""
    margin = max(abs(rows), abs(columns))
    padded = F.pad(x[None, None], (margin,) * 4, mode="replicate")[0, 0]
    height, width = x.shape
    return padded[margin + rows :, margin + columns :][:height, :width]


def _lines(line: Tensor, grey: Tensor, beside: Tensor) -> _Lines:
    """The connected parts of a mask `(H, W)`."""
    place = torch.arange(1, line.numel() + 1, dtype=torch.float64).view(line.shape)
    number = torch.where(line, place, 0)
    for step in range(4 * max(line.shape)):  # the largest number spreads over each part
        spread = torch.where(line, F.max_pool2d(number[None, None], 3, 1, 1)[0, 0], 0)
        if step % 16 == 15 and torch.equal(spread, number):
            break
        number = spread
    rows, columns = line.nonzero().T
    part = torch.unique(number[line], return_inverse=True)[1]
    parts = int(part.max()) + 1
    label = torch.zeros(line.shape, dtype=torch.long)
    label[line] = part + 1

    def mean(values: Tensor) -> Tensor:
        return torch.zeros(parts).index_add_(0, part, values.float()) / count

    def extent(values: Tensor) -> Tensor:
        values, zero = values.float(), torch.zeros(parts)
        high = zero.scatter_reduce(0, part, values, "amax", include_self=False)
        return high - zero.scatter_reduce(0, part, values, "amin", include_self=False) + 1

    count = torch.bincount(part, minlength=parts).float()
    own, sides = grey[line], beside[line]
    level, side = mean(own), mean(sides)
    return _Lines(
        label=label,
        count=count,
        length=torch.maximum(extent(rows), extent(columns)),
        level=level,
        scatter=mean((own - level[part]).square()).sqrt(),
        beside=mean((sides - side[part]).square()).sqrt(),
    )
