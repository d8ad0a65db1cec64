"""Lamps, glints and other light beyond white that a blur has spread over a photo.

A lamp is many times brighter than white, so no image in [0, 1] explains what a blur makes of it: a
restoration that has to explain it has rings all around. The light z that explains it is found
first, without an upper bound (`blurred_light.py`). What of z is far beyond white is a lamp. The
pixels of y that its light reaches say nothing else of the scene, and count as missing; what lies
behind is continued by the prior, and lamps are shown in the result where they are without the
blur (`lamp_shapes.py`).

Source: Cho, Wang and Lee, Handling outliers in non-blind image deconvolution, 2011 (that values
which a model cannot explain have to be left out).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from d2ir_pl.degradations import Compose, Phi
from d2ir_pl.estimators.jpeg_tables import estimate_quality
from d2ir_pl.estimators.observed_pixels import fill_unobserved, grown, grown_within
from d2ir_pl.operators.freed_memory import give_back
from d2ir_pl.operators.linear import per_image, size_of
from d2ir_pl.restoration.blurred_light import BlurredLight
from d2ir_pl.restoration.blurred_part import blur_of
from d2ir_pl.restoration.found import Found
from d2ir_pl.restoration.lamp_evidence import ITERATIONS, believed, have_lamps, hidden_by
from d2ir_pl.restoration.lamp_shapes import shown
from d2ir_pl.restoration.problem import Problem
from d2ir_pl.restoration.result import LightsFound

BEYOND, NEAR = 1.5, 2
"""Light of a lamp in whites, and how many pixels away from such a pixel it is looked for as well:
few iterations spread it."""
FADING, FADES = 1.1, 8
"""Light next to that which belongs to a lamp as well, and in how many pixels around."""
DARKEST = 0.02
"""Least value in [0, 1] that white is taken to have where a photo is dark."""
SATURATED = 0.985
"""Value in [0, 1] from which a pixel may have been brighter than it shows."""
WAVES, WIDE = 0.85, 2
"""The same in a JPEG within so many pixels of others."""
CODED = 95
"""Quality below which a JPEG leaves waves."""
ENCLOSED = 0.95
"""Share of the light of a pixel that has to reach saturated ones alone, for it to be white."""


@dataclass(frozen=True, eq=False)
class Lamps:
    """What lamps do to the photos of a batch.

    Attributes:
        hidden: `(B, 1, h, w)`, 1 where a pixel of y says nothing of the scene.
        points: `(B, 3, H, W)` light of small lamps in the user's image, in whites, which is added.
        areas: `(B, 3, H, W)` light of others, in whites, than which the image is no darker.
        lights: how many there are of each photo; None where it has none.
    """

    hidden: Tensor
    points: Tensor
    areas: Tensor
    lights: tuple[LightsFound | None, ...]

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
        none = Lamps(torch.zeros_like(problem.y[:1, :1]), dark, dark, (None,))
        known = [none if own is None else own for own in each]
        return Lamps(
            torch.cat([own.hidden for own in known]),
            torch.cat([own.points for own in known]),
            torch.cat([own.areas for own in known]),
            tuple(light for own in known for light in own.lights),
        )


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
    light, sigma = blur.light(problem.y, problem.sigma_y)
    values = (light + 1) / 2 / _white(problem, phi)
    start = blur.frame.embed(values).clamp_min(0)
    quality = [estimate_quality(y.cpu()) for y in problem.y]
    coded = torch.tensor(quality, device=values.device) < CODED
    operator, saturated = blur.operator(own, size_of(start)), _saturated(problem, coded)
    photo = BlurredLight(operator, values, start, saturated, problem.observed)
    there = have_lamps(photo.brightest, coded)
    give_back(problem.y)
    if not bool(there.any()):
        return None
    z = photo.explained(ITERATIONS)
    greatest = z.amax(1, keepdim=True)
    near = grown((greatest > BEYOND).float(), NEAR)
    near = per_image(there) * grown_within((greatest > FADING).float(), near, FADES)
    beyond, left = believed(photo, near * (z - 1).clamp_min(0), sigma / 2)
    hidden = hidden_by(photo, beyond)
    enclosed = operator.adjoint(saturated.to(z)) > ENCLOSED  # all that they reach is saturated
    light = torch.where(enclosed, z.clamp_min(1), z)
    beyond, light = (blur.frame.crop(own) for own in (beyond, light))
    pairs = zip(beyond.cpu(), light.cpu(), strict=True)
    each = [shown(*pair, blur.kernel_size) for pair in pairs]
    told = zip([count for _, _, count in each], hidden.mean((1, 2, 3)).tolist(), left, strict=True)
    lights = tuple(LightsFound(*own) if any(own) else None for own in told)
    if all(own is None for own in lights):
        return None
    points = torch.stack([own for own, _, _ in each]).to(z)
    areas = torch.stack([own for _, own, _ in each]).to(z)
    return Lamps(hidden, points, areas, lights)


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
        lights=found.lights,
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
        rows = [b for b, own in enumerate(found.lit(len(problem))) if own == lit]
        if rows:
            part = problem.select(rows)
            if not lit:
                own = part.found or Found()
                before = part.observed if own.beside is None else own.observed
                part = replace(part, observed=before, found=Found(lights=own.lights))
            parts.append((rows, part))
    return parts


def hiding(problem: Problem, hidden: Tensor) -> Problem:
    """The problem of photos in which some pixels count as missing, `(B, 1, h, w)`, 1 there."""
    known, left = problem.observed, (1 - hidden).to(problem.y)
    observed = left if known is None else known * left
    y = fill_unobserved(problem.y, observed, problem.sigma_y)
    return replace(problem, y=y, observed=observed)


def _saturated(problem: Problem, coded: Tensor) -> Tensor:
    """Which values may have been brighter than they show: a JPEG leaves waves where they were."""
    values = (problem.y + 1) / 2
    saturated = values > SATURATED
    waves = (values > WAVES) & (grown(saturated.to(values), WIDE) > 0)
    return saturated | waves & per_image(coded)


def _white(problem: Problem, phi: Phi) -> Tensor | float:
    """What has become of white after the blur, in whites, such as where it is dark."""
    degradation = problem.degradation
    if not isinstance(degradation, Compose):
        return 1.0
    white = torch.ones_like(problem.y)
    for part, own in degradation.split(phi)[1:]:
        white = part(white, own)
    return ((white + 1) / 2).clamp_min(DARKEST)
