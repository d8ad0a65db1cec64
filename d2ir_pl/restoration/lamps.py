"""Lamps, glints and other light beyond white that a blur has spread over a photo.

A lamp is many times brighter than white, so no image in [0, 1] explains what a blur makes of it: a
restoration that has to explain it has rings all around. The light that explains it is found first,
without an upper bound,

    z = argmin_{z >= 0} || y - A z ||^2,

where a saturated value of y is a lower bound, by accelerated projected gradients. What of z is far
beyond white is a lamp. The pixels of y that its light reaches say nothing else of the scene, and
count as missing; what lies behind is continued by the prior, and lamps are shown in the result
where they are without the blur: those that are small as points with all of their light.

Source: Cho, Wang and Lee, Handling outliers in non-blind image deconvolution, 2011 (that values
which a model cannot explain have to be left out); Beck and Teboulle, A fast iterative
shrinkage-thresholding algorithm for linear inverse problems, 2009 (the projected gradients).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from d2ir_pl.degradations import Compose, Phi
from d2ir_pl.estimators.connected_parts import connected_parts
from d2ir_pl.estimators.observed_pixels import fill_unobserved
from d2ir_pl.operators.freed_memory import give_back, one_by_one
from d2ir_pl.operators.linear import LinearOperator, joined, size_of
from d2ir_pl.restoration.blurred_part import blur_of
from d2ir_pl.restoration.found import Found
from d2ir_pl.restoration.problem import Problem

FIRST, ITERATIONS = 8, 40
"""Iterations after which a photo without lamps is told, and those for one that has some."""
AT_ONCE = 1.35
"""Light that z has somewhere after the first iterations, in whites, if there are lamps: 2.3 to 6.5
in photos with lamps, and up to 1.23 in 40 others, whose blur happened to values or to light."""
BEYOND, NEAR = 1.5, 2
"""Light of a lamp in whites, and how many pixels away from such a pixel it is looked for as well:
few iterations spread it."""
DARKEST = 0.02
"""Least value in [0, 1] that white is taken to have where a photo is dark."""
SATURATED = 0.985
"""Value in [0, 1] from which a pixel may have been brighter than it shows."""
REACHED, MARGIN = 0.02, 3
"""Light of a lamp, in whites, that makes a pixel of y count as missing, and those around it."""
MOST = 0.35
"""Share of a photo that lamps hide at most: where it is more, the blur is another one."""
ENCLOSED = 0.95
"""Share of the light of a pixel that has to reach saturated ones alone, for it to be white."""
EXTENT, GLOWING, PIT = 8, 0.8, 1
"""Pixels around what is beyond white that may belong to a lamp which is no point, their light in
whites, and half the width in pixels of dark pits, which saturated pixels leave open."""
GHOST = 0.2
"""Light of what lies within the size of the kernel from a lamp, in units of the lamp's, below
which it is taken for what an inexact kernel or a saturated trail leaves of the lamp."""
SMALL, WIDTH = 2.0, 0.7
"""Standard deviation in pixels up to which the light of a lamp is that of a point, and that with
which a lens shows a point."""


@dataclass(frozen=True, eq=False)
class Lamps:
    """What lamps do to the photos of a batch.

    Attributes:
        hidden: `(B, 1, h, w)`, 1 where a pixel of y says nothing of the scene.
        points: `(B, 3, H, W)` light of small lamps in the user's image, in whites, which is added.
        areas: `(B, 3, H, W)` light of others, in whites, than which the image is no darker.
    """

    hidden: Tensor
    points: Tensor
    areas: Tensor

    @staticmethod
    def join(each: Sequence[Lamps | None], problem: Problem) -> Lamps | None:
        """That of a batch made of photos, some of which have none; None where none has any.

        Args:
            each: those of each photo.
            problem: the photos.
        """
        if all(own is None for own in each):
            return None
        size = problem.degradation.frame.output_size(problem.observed_size)
        dark = problem.y.new_zeros(1, 3, *size)
        none = Lamps(torch.zeros_like(problem.y[:1, :1]), dark, dark)
        known = [none if own is None else own for own in each]
        parts = [(own.hidden, own.points, own.areas) for own in known]
        return Lamps(*map(torch.cat, zip(*parts, strict=True)))


def lamps(problem: Problem, phi: Phi) -> Lamps | None:
    """The lamps of photos whose blur is known; None where no photo of the batch has any.

    Args:
        problem: a batch of photos.
        phi: parameters of their degradation.
    """
    degradation = problem.degradation
    if problem.y.ndim != 4 or (first := blur_of(degradation, phi)) is None:
        return None
    blur, own = first
    values = (blur.light(problem.y, problem.sigma_y)[0] + 1) / 2 / _white(problem, phi)
    start = blur.frame.embed(values).clamp_min(0)
    operator = blur.operator(own, size_of(start))
    # What is brightest of each pixel tells whether there are any, in a third of the time.
    brightest = values.amax(1, keepdim=True), start.amax(1, keepdim=True)
    unbounded = problem.y.amax(1, keepdim=True) > 2 * SATURATED - 1
    z = _least_squares(FIRST, operator, problem.observed, *brightest, unbounded)
    bright = z.flatten(1).amax(1) > AT_ONCE
    del brightest, z
    give_back(problem.y)
    if not bool(bright.any()):
        return None
    unbounded = problem.y > 2 * SATURATED - 1
    together = 3 // len(one_by_one(start))  # colours of a large photo fill the memory
    colours = zip(*(x.split(together, 1) for x in (values, start, unbounded)), strict=True)
    found = [_least_squares(ITERATIONS, operator, problem.observed, *own) for own in colours]
    z = joined(found, 1)
    greatest = z.amax(1, keepdim=True)
    near = bright[:, None, None, None] * _grown((greatest > BEYOND).float(), NEAR)
    beyond = near * (z - 1).clamp_min(0)
    hidden = _grown((operator.forward(beyond).amax(1, keepdim=True) > REACHED).float(), MARGIN)
    share = hidden.mean((1, 2, 3), keepdim=True)
    believed = (share <= MOST).float()
    if not bool((believed * share).any()):
        return None
    enclosed = operator.adjoint(unbounded.to(z)) > ENCLOSED  # all that they reach is saturated
    light = torch.where(enclosed, z.clamp_min(1), z)
    beyond, light = (blur.frame.crop(believed * own) for own in (beyond, light))
    ghosts = beyond.amax(1, keepdim=True) < GHOST * _brightest(beyond, blur.kernel_size)
    beyond = torch.where(ghosts, 0.0, beyond)
    shown = [_shown(*own) for own in zip(beyond.cpu(), light.cpu(), strict=True)]
    points, areas = (torch.stack(part).to(z) for part in zip(*shown, strict=True))
    return Lamps(believed * hidden, points, areas)


def without_lamps(problem: Problem, found: Lamps | None) -> Problem:
    """The problem of photos in which what the light of lamps reaches counts as missing."""
    before = problem.found or Found()
    if found is None:
        return replace(problem, found=before)
    hidden = hiding(problem, found.hidden)
    told = replace(
        before,
        points=found.points,
        areas=found.areas,
        beside=1 - found.hidden,
        lit=tuple(found.hidden.flatten(1).any(1).tolist()),
        observed=problem.observed,
    )
    return replace(hidden, found=told)


def apart(problem: Problem) -> list[tuple[list[int], Problem]]:
    """The photos of a batch with lamps, and those without, to which nothing has happened.

    Args:
        problem: photos as `without_lamps` returns them.

    Returns:
        The rows of each of the two, and their problem; only those that there are.
    """
    found = problem.found or Found()
    parts = []
    for lit in (False, True):
        rows = [b for b in range(len(problem)) if (found.lit or (True,) * len(problem))[b] == lit]
        if rows:
            part = problem.select(rows)
            if not lit:
                before = (part.found or Found()).observed
                part = replace(part, observed=before, found=Found())
            parts.append((rows, part))
    return parts


def hiding(problem: Problem, hidden: Tensor) -> Problem:
    """The problem of photos in which some pixels count as missing, `(B, 1, h, w)`, 1 there."""
    known, left = problem.observed, (1 - hidden).to(problem.y)
    observed = left if known is None else known * left
    y = fill_unobserved(problem.y, observed, problem.sigma_y)
    return replace(problem, y=y, observed=observed)


def _white(problem: Problem, phi: Phi) -> Tensor | float:
    """What has become of white after the blur, in whites, such as where it is dark."""
    degradation = problem.degradation
    if not isinstance(degradation, Compose):
        return 1.0
    white = torch.ones_like(problem.y)
    for part, own in degradation.split(phi)[1:]:
        white = part(white, own)
    return ((white + 1) / 2).clamp_min(DARKEST)


def _least_squares(
    count: int,
    operator: LinearOperator,
    seen: Tensor | None,
    y: Tensor,
    start: Tensor,
    unbounded: Tensor,
) -> Tensor:
    """What is not negative and explains y, after so many iterations."""
    z, ahead, momentum = start, start, 1.0
    for _ in range(count):
        residual = y - operator.forward(ahead)
        residual = torch.where(unbounded, residual.clamp_min(0), residual)
        residual = residual if seen is None else seen * residual
        step = (ahead + operator.adjoint(residual)).clamp_min(0)
        faster = (1 + math.sqrt(1 + 4 * momentum**2)) / 2
        ahead = step + (momentum - 1) / faster * (step - z)
        z, momentum = step, faster
        del step, residual
    return z


def _shown(beyond: Tensor, light: Tensor) -> tuple[Tensor, Tensor]:
    """The light of small lamps, as points of a lens, and that of the others, as areas.

    Args:
        beyond: `(3, H, W)` light beyond white, without ghosts.
        light: `(3, H, W)` all light of lamps.
    """
    mask, none = beyond.amax(0) > 0, torch.zeros_like(beyond)
    if not bool(mask.any()):
        return none, none
    (rows, columns), values = mask.nonzero().T, beyond[:, mask]
    part = connected_parts(mask)
    count, grey = int(part.max()) + 1, values.mean(0)

    def total(of: Tensor) -> Tensor:
        return of.new_zeros(*of.shape[:-1], count).index_add_(-1, part, of)

    whole = total(grey)
    row, column = total(grey * rows) / whole, total(grey * columns) / whole
    square = (rows - row[part]).square() + (columns - column[part]).square()
    small = (total(grey * square) / whole / 2).sqrt() <= SMALL
    points = _points(total(values)[:, small], row[small], column[small], beyond)
    areas = none[:1].clone()
    areas[:, mask] = (~small[part]).to(areas)
    closed = -_grown(-_grown(light, PIT), PIT)
    lit = _grown(areas, EXTENT) * (closed.amax(0, keepdim=True) > GLOWING)
    return _through_a_lens(points), closed * lit


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


def _brightest(light: Tensor, reach: int) -> Tensor:
    """The greatest value within some pixels of each."""
    rows = F.max_pool2d(light.amax(1, keepdim=True), (2 * reach + 1, 1), 1, (reach, 0))
    return F.max_pool2d(rows, (1, 2 * reach + 1), 1, (0, reach))


def _grown(mask: Tensor, radius: int) -> Tensor:
    """A mask with what is within some pixels of it."""
    return F.max_pool2d(mask, 2 * radius + 1, 1, radius)
