"""Scratches and cracks of old prints and films.

Where the emulsion is gone, the paper shows: a scratch is thin, long, white, and lighter than what
lies on both sides of it, wherever it runs: it has nothing to do with the scene. A mast or the line
of a road is as thin and white, but lies before one thing. So a long white line counts whose own
level changes little while that of its surroundings changes more. Where there are such lines, so
are shorter ones of the same level. Dark lines are too common in photos: wires, twigs and hair.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from d2ir_pl.estimators.connected_parts import connected_parts
from d2ir_pl.estimators.remembered import remembered

# Side in pixels of the photo that is looked at: larger ones are made smaller. In photos with a
# smaller side than the least, highlights are as long as scratches.
SIDE, LEAST_SIDE = 800, 200
# Number of directions, length in pixels of the line that is averaged, and widths that are looked
# for.
DIRECTIONS, LENGTH, WIDTHS = 12, 17, (1.4, 3.2)
# Least contrast to both sides, in [0, 1], and least level of what counts as white.
CONTRAST, WHITE = 0.12, 0.7
# A scratch is at least so long in pixels, and in units of the photo's diagonal, and so much longer
# than wide that the square of its length is so many times its area.
LONGEST, LONGEST_SHARE, THIN = 60, 0.3, 10.0
# Its level has at most STEADY of the scatter of that beside it, which is at least VARIED, and it
# exceeds what is beside it by FOREIGN in the mean.
STEADY, VARIED, FOREIGN = 0.4, 0.06, 0.33
# Others are at least SHORTEST long, exceed it by LESS, and their level is within ALIKE of that of
# one.
SHORTEST, LESS, ALIKE = 12, 0.2, 0.08
# By how much a pixel may be darker than its neighbours and still be no soft edge.
SOFT = 0.03
# Share of what is found so that the long ones have: where they have less, the scene is full of such
# lines.
SURE = 0.6
# Share of a photo's pixels within which scratches are believed.
LEAST, MOST = 2e-4, 0.022


@dataclass(frozen=True)
class _Lines:
    """Connected lines of a photo, each a number in every attribute but the first.

    Attributes:
        label: `(H, W)` number of the line that a pixel is on, from 1 on; 0 elsewhere.
        count: number of pixels.
        length: larger side of the box around it.
        level, scatter: mean and standard deviation of its pixels but those on its soft edges.
        beside: standard deviation of the mean of both sides along it.
        contrast: mean by which it exceeds them.
    """

    label: Tensor
    count: Tensor
    length: Tensor
    level: Tensor
    scatter: Tensor
    beside: Tensor
    contrast: Tensor


@remembered
def scratches(y: Tensor) -> Tensor | None:
    """`(1, H, W)`, 1 on the scratches of a photo; None if it has none.

    Args:
        y: `(3, H, W)` in [-1, 1].
    """
    height, width = y.shape[-2:]
    if min(height, width) < LEAST_SIDE:
        return None
    grey = (y.float().mean(0) + 1) / 2
    factor = -(-max(height, width) // SIDE)
    small = F.avg_pool2d(grey[None, None], factor, ceil_mode=True)[0, 0] if factor > 1 else grey
    found = _white_lines(small)
    share = float(found.mean())
    if not LEAST <= share <= MOST:
        return None
    grown = F.max_pool2d(found[None, None], 3, 1, 1)
    if factor > 1:
        grown = F.interpolate(grown, scale_factor=factor, mode="nearest")
    return grown[0, :, :height, :width].to(y)


def _white_lines(grey: Tensor) -> Tensor:
    """`(H, W)`, 1 on white lines that are foreign to the scene."""
    contrast, beside = _contrast(grey)
    ridge = F.max_pool2d(contrast[None, None], 3, 1, 1)[0, 0] > CONTRAST
    over = grey - beside
    line = (over > contrast.clamp_min(CONTRAST) / 2) & ridge & (grey > WHITE)
    if not bool(line.any()):
        return torch.zeros_like(grey)
    lines = _lines(line, grey, beside)
    long = max(LONGEST, LONGEST_SHARE * math.hypot(*grey.shape))
    thin = lines.count <= lines.length.square() / THIN
    sure = (
        (lines.length >= long)
        & thin
        & (lines.scatter < STEADY * lines.beside)
        & (lines.beside > VARIED)
        & (lines.contrast > FOREIGN)
    )
    if not bool(sure.any()):
        return torch.zeros_like(grey)
    alike = (lines.level[:, None] - lines.level[sure]).abs().amin(1) < ALIKE
    others = alike & (lines.length >= SHORTEST) & (lines.contrast > LESS)
    others = others & (lines.count <= 2 * lines.length.square() / THIN)
    if float(lines.count[sure].sum()) < SURE * float(lines.count[sure | others].sum()):
        return torch.zeros_like(grey)
    chosen = torch.cat([torch.zeros(1, dtype=torch.bool), sure | others])
    return chosen[lines.label].to(grey)


def _contrast(grey: Tensor) -> tuple[Tensor, Tensor]:
    """By how much a line in the best direction exceeds its lighter side, and the mean of both."""
    best = torch.full_like(grey, -1.0)
    beside = torch.zeros_like(grey)
    for width in WIDTHS:
        smooth = _padded(_smooth(grey, width / 2), LENGTH // 2)
        distance = 1.6 * width + 1
        for i in range(DIRECTIONS):
            cos, sin = (f(math.pi * i / DIRECTIONS) for f in (math.cos, math.sin))
            along = range(-(LENGTH // 2), LENGTH // 2 + 1)
            mean = torch.zeros_like(grey)
            for k in along:
                mean += _moved(smooth, round(k * sin), round(k * cos), grey.shape)
            mean /= LENGTH
            dy, dx = round(distance * cos), round(-distance * sin)
            padded = _padded(mean, max(abs(dy), abs(dx)))
            sides = [_moved(padded, s * dy, s * dx, grey.shape) for s in (1, -1)]
            over = mean - torch.maximum(*sides)
            better = over > best
            best = torch.where(better, over, best)
            beside = torch.where(better, (sides[0] + sides[1]) / 2, beside)
    return best, beside


def _smooth(x: Tensor, width: float) -> Tensor:
    """A Gaussian of a width in pixels."""
    t = torch.arange(-4, 5, dtype=x.dtype)
    taps = torch.exp(-((t / width) ** 2) / 2)
    taps = taps / taps.sum()
    padded = F.pad(x[None, None], (4,) * 4, mode="reflect")
    return F.conv2d(F.conv2d(padded, taps[None, None, None]), taps[None, None, :, None])[0, 0]


def _padded(x: Tensor, margin: int) -> Tensor:
    """An image `(H, W)` whose edge is repeated around it."""
    return F.pad(x[None, None], (margin,) * 4, mode="replicate")[0, 0]


def _moved(padded: Tensor, rows: int, columns: int, size: torch.Size) -> Tensor:
    """`x[i + rows, j + columns]` of an image x of a size that is padded by enough."""
    margin = (padded.shape[0] - size[0]) // 2
    return padded[margin + rows :, margin + columns :][: size[0], : size[1]]


def _lines(line: Tensor, grey: Tensor, beside: Tensor) -> _Lines:
    """The connected parts of a mask `(H, W)`."""
    rows, columns = line.nonzero().T
    part = connected_parts(line)
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
    # The soft edges of a line are part of what is beside it.
    core = (own > F.max_pool2d(grey[None, None], 3, 1, 1)[0, 0][line] - SOFT).float()
    cores = mean(core).clamp_min(1e-6)
    level, side = mean(core * own) / cores, mean(sides)
    return _Lines(
        label=label,
        count=count,
        length=torch.maximum(extent(rows), extent(columns)),
        level=level,
        scatter=(mean(core * (own - level[part]).square()) / cores).sqrt(),
        beside=mean((sides - side[part]).square()).sqrt(),
        contrast=level - side,
    )
