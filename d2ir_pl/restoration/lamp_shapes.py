"""Lamps as a photo without the blur shows them: small ones as points, others as they are found."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from d2ir_pl.estimators.connected_parts import connected_parts
from d2ir_pl.estimators.observed_pixels import grown, grown_within

GHOST, SMALL_GHOST = 0.2, 0.15
"""Light of what lies within the size of the kernel from a lamp, in units of the lamp's, below
which it is taken for what an inexact kernel or a saturated trail leaves of the lamp: for the
brightest pixel of either, and for all the light of small ones."""
EXTENT, GLOWING, PIT = 8, 0.8, 1
"""Pixels around what is beyond white that may belong to a lamp which is no point, their light in
whites, and half the width in pixels of dark pits, which saturated pixels leave open."""
APART = 2
"""Pixels by which parts of one light are apart at most, over 2."""
SMALL, COMPACT, WIDTH = 2.0, 4.0, 0.7
"""Standard deviation in pixels up to which the light of a lamp is that of a point, the same of one
that leaves small ghosts, and that with which a lens shows a point."""


def shown(beyond: Tensor, light: Tensor, reach: int) -> tuple[Tensor, Tensor, int]:
    """The light of small lamps, as points of a lens, and that of the others, as areas.

    Args:
        beyond: `(3, H, W)` light beyond white.
        light: `(3, H, W)` all light of lamps.
        reach: pixels within which a lamp leaves ghosts, the size of the kernel.

    Returns:
        Both, `(3, H, W)`, and the number of lamps.
    """
    greatest = beyond.amax(0)
    mask = (greatest > 0) & (greatest >= GHOST * grown(greatest, reach))
    none = torch.zeros_like(beyond)
    if not bool(mask.any()):
        return none, none, 0
    (rows, columns), values = mask.nonzero().T, beyond[:, mask]
    part = connected_parts(mask)
    count, grey = int(part.max()) + 1, values.mean(0)

    def total(of: Tensor) -> Tensor:
        return of.new_zeros(*of.shape[:-1], count).index_add_(-1, part, of)

    whole = total(grey)
    row, column = total(grey * rows) / whole, total(grey * columns) / whole
    square = (rows - row[part]).square() + (columns - column[part]).square()
    spread = (total(grey * square) / whole / 2).sqrt()
    small, compact = spread <= SMALL, spread <= COMPACT
    areas, amounts = none[:1].clone(), none[0].clone()
    areas[:, mask], amounts[mask] = (~small[part]).to(areas), (compact * whole)[part]
    ghost = torch.zeros_like(small)
    ghost[part] = small[part] & (whole[part] < SMALL_GHOST * grown(amounts, reach)[mask])
    point = small & ~ghost
    points = _points(total(values)[:, point], row[point], column[point], beyond)
    mask[mask.clone()] = ~ghost[part]
    closed = -grown(-grown(light, PIT), PIT)
    lit = grown_within((closed.amax(0, keepdim=True) > GLOWING).to(areas), areas, EXTENT)
    lights = connected_parts(grown(mask.float(), APART) > 0)
    return _through_a_lens(points), closed * lit, int(lights.max()) + 1


def _points(amount: Tensor, row: Tensor, column: Tensor, like: Tensor) -> Tensor:
    """An image like another one of points, whose light is shared by the pixels around them.

    Args:
        amount: `(3, n)` light of each.
        row: `(n,)` where it is.
        column: `(n,)` where it is.
        like: `(3, H, W)`.
    """
    height, width = like.shape[-2:]
    points = torch.zeros_like(like).flatten(1)
    top, left = row.floor(), column.floor()
    for i in (0, 1):
        for j in (0, 1):
            share = (1 - (row - top - i).abs()) * (1 - (column - left - j).abs())
            at = (top + i).clamp_max(height - 1) * width + (left + j).clamp_max(width - 1)
            points.index_add_(1, at.long(), amount * share)
    return points.view_as(like)


def _through_a_lens(points: Tensor) -> Tensor:
    """Points of light `(3, H, W)` as a lens shows them."""
    reach = math.ceil(4 * WIDTH)
    bell = torch.exp(-((torch.arange(-reach, reach + 1) / WIDTH) ** 2) / 2)
    bell = (bell / bell.sum())[None, None]
    wide = F.conv2d(points[:, None], bell[:, :, None], padding=(0, reach))
    return F.conv2d(wide, bell[..., None], padding=(reach, 0))[:, 0]
