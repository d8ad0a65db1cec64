"""How much error to assume in a photo, so that what its degradation cannot express is not believed.

A walk that assumes too little error explains a photo better than the true image would: what is left
unexplained is then less than the noise, and the rest of the noise, with all that the degradation
cannot express, has become part of the restoration, as ringing. So the assumed error s is the least
one of at least the noise for which as much is left as the noise,

    s = min { s >= sigma_y : misfit(s) >= (share sigma_y)^2 },

Morozov's discrepancy principle, with a share a little below 1 because a right model explains some
of the noise as well. The misfit grows with s, and is found by walks over a part of the photo.

Source: Morozov, On the solution of functional equations by the method of regularization, 1966;
Engl, Hanke and Neubauer, Regularization of Inverse Problems, 1996, section 4.3.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from d2ir_pl.degradations import Phi
from d2ir_pl.diffusion import Prior
from d2ir_pl.restoration.degradation_estimation import DegradationEstimation
from d2ir_pl.restoration.problem import Problem
from d2ir_pl.restoration.step import silent

# Chosen on photographs of the training set with synthetic blurs (docs/experiments.md).
SHARE = 0.95
"""Share of the noise that the residual of a right model has, as a standard deviation."""
LARGEST = 8.0
"""Largest assumed error in units of the noise."""
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
    window = _window(problem)
    searches = [_Search() for _ in range(len(problem))]
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
            generators=[_copy(generator) for generator in part.generators],
        )
        losses = estimation(noisier, phi.select(waiting), prior, silent).losses["estimation"]
        for b, loss, sigma in zip(waiting, losses, part.sigma_y.tolist(), strict=True):
            searches[b].learn(math.sqrt(loss[-1]) / sigma / SHARE)
            evaluations[b] += estimation.steps
    factors = torch.tensor([search.factor for search in searches]).to(problem.sigma_y)
    return factors * problem.sigma_y, evaluations


class _Search:
    """The least factor of the noise, of at least 1, at which a residual reaches its target.

    A residual grows with the factor; the logarithms of both are taken to be on a line through the
    two factors that were tried last.

    Attributes:
        factor: what to try next, and the result once it is done.
        done: whether the target is met, or cannot be.
    """

    def __init__(self) -> None:
        self.factor, self.done = 1.0, False
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


def _copy(generator: Generator) -> Generator:
    """A generator that draws what this one will draw."""
    copy = Generator()
    copy.set_state(generator.get_state())
    return copy


def _window(problem: Problem) -> Problem:
    """The part of each photo with the most detail; all of it where parts differ in their phi."""
    if not problem.degradation.uniform or problem.y.ndim != 4:
        return problem
    frame = problem.degradation.frame
    side = max(WINDOW, WINDOW_MARGINS * (frame.before + frame.after)) // frame.factor
    height, width = (min(side, n) for n in problem.observed_size)
    if (height, width) == problem.observed_size:
        return problem
    rows = []
    for image, seen in zip(problem.y, _seen(problem), strict=True):
        top, left = _place(image * seen, height, width)
        rows.append((slice(top, top + height), slice(left, left + width)))
    parts = list(enumerate(rows))
    observed = problem.observed
    return replace(
        problem,
        y=torch.stack([problem.y[b][:, r, c] for b, (r, c) in parts]),
        observed=None
        if observed is None
        else torch.stack([observed[b][:, r, c] for b, (r, c) in parts]),
        first=None,
    )


def _seen(problem: Problem) -> Tensor:
    """`(B, 1, H, W)`, 0 where a pixel is no part of the photo."""
    if problem.observed is None:
        return torch.ones_like(problem.y[:, :1])
    return problem.observed


def _place(image: Tensor, height: int, width: int) -> tuple[int, int]:
    """Top and left of the part of an image `(C, H, W)` with the largest differences of pixels."""
    grey = image.mean(0)
    detail = grey.diff(dim=0)[:, :-1].abs() + grey.diff(dim=1)[:-1].abs()
    stride = max(1, min(height, width) // 8)
    sums = F.avg_pool2d(detail[None, None], (height - 1, width - 1), stride)[0, 0]
    row, column = divmod(int(sums.argmax()), sums.shape[1])
    return row * stride, column * stride
