"""How much error to assume in a photo, so that what its degradation cannot express is not believed.

A walk that assumes too little error explains a photo better than the true image would: what is left
unexplained is then less than the noise, and the rest of the noise, with all that the degradation
cannot express, has become part of the restoration, as ringing. So the assumed error s is the least
one of at least the noise for which as much is left as the noise,

    s = min { s >= sigma_y : misfit(s) >= (share sigma_y)^2 },

Morozov's discrepancy principle, with a share a little below 1 because a right model explains some
of the noise as well. The misfit grows with s, and is found by walks over a part of the photo.

Where the noise is not white, it was read off the photo at every frequency, as an upper bound where
texture is hard to tell from it, and whatever is alike all over the photo is in it already. A right
model leaves less than that, so nothing is added to it. Nor is it to that of a JPEG: an image whose
coefficients are rounded to those of the photo leaves nothing unexplained, right or wrong. The error
of a kernel that was estimated from a JPEG counts by `IN_JPEG` of it.

Source: Morozov, On the solution of functional equations by the method of regularization, 1966;
Engl, Hanke and Neubauer, Regularization of Inverse Problems, 1996, section 4.3.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from d2ir_pl.degradations import Jpeg, Phi
from d2ir_pl.diffusion import Prior
from d2ir_pl.diffusion.randomness import same_generator
from d2ir_pl.restoration.blurred_part import last_of
from d2ir_pl.restoration.degradation_estimation import DegradationEstimation
from d2ir_pl.restoration.photo_parts import part_with_edges
from d2ir_pl.restoration.problem import Problem
from d2ir_pl.restoration.step import silent

# Chosen on photographs of the training set with synthetic blurs (docs/experiments.md).
SHARE = 0.95
"""Share of the noise that the residual of a right model has, as a standard deviation."""
LARGEST = 8.0
"""Largest assumed error in units of the noise."""
IN_JPEG = 0.3
"""Share of the error of an estimated kernel that counts in a JPEG."""
WALKS = 4
"""Walks that look for it, at most."""
TOLERANCE = 0.02
"""Relative difference of a residual from its target at which the search ends."""
GROWTH = 0.35
"""Exponent with which a residual is first taken to grow with the assumed error."""
WINDOW = 128
"""Side in pixels of the restored part of a photo that is looked at."""
WINDOW_MARGINS = 3
"""The same in margins that the degradation looks beyond a photo, at least."""


def assumed_error(
    problem: Problem, phi: Phi, prior: Prior, estimation: DegradationEstimation
) -> tuple[Tensor, list[int]]:
    """Find the error to assume for each photo of a batch, by itself.

    Args:
        problem: degraded images, with their noise.
        phi: parameters of the degradation, known or read off the data.
        prior: diffusion prior.
        estimation: the walk that will restore them.

    Returns:
        `(B,)` standard deviations of at least sigma_y, in the units of y, and the number of network
        evaluations that each photo took. The problem's generators are left as they were.
    """
    frame = problem.degradation.frame
    side = max(WINDOW, WINDOW_MARGINS * (frame.before + frame.after)) // frame.factor
    seen = problem.shown if problem.degradation.uniform else problem
    window = seen if seen.y.ndim != 4 else part_with_edges(seen, side)
    compressed = isinstance(last_of(problem.degradation), Jpeg)
    searches = [_Search(done=compressed or not white) for white in _white(problem)]
    evaluations = [0] * len(problem)
    for _ in range(WALKS):
        waiting = [b for b, search in enumerate(searches) if not search.done]
        if not waiting:
            break
        part = window.select(waiting)
        factors = torch.tensor([searches[b].factor for b in waiting]).to(part.sigma_y)
        noisier = replace(
            part,
            sigma_y=factors * part.sigma_y,
            generators=[same_generator(g) for g in part.generators],
        )
        losses = estimation(noisier, phi.select(waiting), prior, silent).losses["estimation"]
        for b, loss, sigma in zip(waiting, losses, part.sigma_y.tolist(), strict=True):
            searches[b].learn(math.sqrt(loss[-1]) / sigma / SHARE)
            evaluations[b] += estimation.steps
    factors = torch.tensor([search.factor for search in searches]).to(problem.sigma_y)
    return factors * problem.sigma_y, evaluations


def error_of_kernels(problem: Problem, error: Tensor) -> Tensor:
    """The error to assume for kernels that were estimated from photos.

    The coefficients of a JPEG are intervals, and an image within them is not held to their middles,
    so that they take up most of such an error: `IN_JPEG` of it is left.

    Args:
        problem: degraded images.
        error: `(B,)` standard deviations of what the kernels leave unexplained, in the units of y.
    """
    return IN_JPEG * error if isinstance(last_of(problem.degradation), Jpeg) else error


def _white(problem: Problem) -> list[bool]:
    """Whether the noise of each photo is white."""
    if problem.shape is None:
        return [True] * len(problem)
    white: list[bool] = (problem.shape.power == 1).flatten(1).all(1).tolist()
    return white


class _Search:
    """The least factor of the noise, of at least 1, at which a residual reaches its target.

    A residual grows with the factor; the logarithms of both are taken to be on a line through the
    two factors that were tried last.

    Attributes:
        factor: what to try next, and the result once it is done.
        done: whether the target is met, or cannot be.
    """

    def __init__(self, done: bool = False) -> None:
        self.factor, self.done = 1.0, done
        self._before: tuple[float, float] | None = None

    def learn(self, residual: float) -> None:
        """Take note of the residual at the factor, in units of its target."""
        now = math.log(self.factor), math.log(max(residual, 1e-6))
        slope = GROWTH
        if self._before is not None and now[0] != self._before[0]:
            slope = (now[1] - self._before[1]) / (now[0] - self._before[0])
        # A slope that noise has made flat would lead anywhere.
        step = -now[1] / max(slope, GROWTH / 2)
        following = min(max(self.factor * math.exp(step), 1.0), LARGEST)
        self.done = abs(now[1]) < TOLERANCE or following == self.factor
        if not self.done:
            self._before, self.factor = now, following
