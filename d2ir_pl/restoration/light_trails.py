"""Photos in which lights have left trails: their kernel, and what is restored in place of them.

The trails show the kernel (`estimators/light_trails.py`), but no image in [0, 1] explains them: a
lamp is many times brighter than white. So their pixels count as missing, whatever lies behind them
is continued by the prior, and the lamps are put back as points of the light that was in the trails,
which a screen shows as white dots. In a sharp photo, things of one shape may look like trails. Then
what is beside them is sharp as well, which no image explains after it is blurred by such a kernel.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from d2ir_pl.degradations import Blur
from d2ir_pl.diffusion import Prior
from d2ir_pl.estimators.light_trails import LightTrails, light_trails
from d2ir_pl.estimators.observed_pixels import fill_unobserved
from d2ir_pl.restoration.found_kernel import FoundKernel
from d2ir_pl.restoration.kernel_rounds import FIRST_ERROR, WALK, grey_window, next_error, short_walk
from d2ir_pl.restoration.problem import Problem
from d2ir_pl.restoration.result import KernelEvidence, Restoration

WINDOW = 192
"""Side in pixels of the part of a photo that tells whether the trails are of a shake, at least."""
UNEXPLAINED = 3.0
"""What the kernel of trails leaves unexplained beside them in units of the noise, at most: 1.0 to
2.6 in shaken photos, and 3.8 to 66 in ten sharp photographs with bright things of one shape; drawn
ones on plain grounds leave no more than shaken photos do (`CONTRAST`)."""
CONTRAST = 0.008
"""Root mean square of the differences of neighbours that the walk's image has beside them, in
[0, 1], at least: 0.012 to 0.040 in shaken photos, and up to 0.004 on plain dark grounds, which any
kernel explains."""
LAMP_WIDTH = 0.7
"""Standard deviation in pixels of the light of a lamp in a restoration."""


def kernel_of_trails(problem: Problem, prior: Prior) -> FoundKernel | None:
    """The kernel of a photo, a batch of one, that trails of lights show; None where none do."""
    family = problem.degradation
    if not isinstance(family, Blur) or problem.shown is not problem:
        return None
    trails = light_trails(problem.y[0].cpu(), family.kernel_size)
    if trails is None:
        return None
    beside = without_trails(problem, [trails])
    window = grey_window(beside, WINDOW, len(trails.kernel))
    kernel = trails.kernel.to(problem.y)
    x, residual = short_walk(window, kernel[None], FIRST_ERROR, prior)
    seen = 1.0 if window.observed is None else float(window.observed.mean())
    left = math.sqrt(float(residual.mean(1).square().mean()) / max(seen, 1e-6)) / 2
    noise = float(window.sigma_y) / 2
    if left > UNEXPLAINED * noise or _contrast(x, window) < CONTRAST:
        return None
    evidence = KernelEvidence("lights", 1, None, 1.0)
    error = next_error(FIRST_ERROR, left, noise)
    return FoundKernel(kernel, error, evidence, WALK.steps, trails=trails)


def _contrast(x: Tensor, window: Problem) -> float:
    """Root mean square of the diagonal differences of a grey image away from what is missing."""
    squares = ((x[..., 1:, 1:] - x[..., :-1, :-1]) / 2).square().mean(1, keepdim=True)
    if window.observed is None:
        return math.sqrt(float(squares.mean()))
    away = -F.max_pool2d(-window.observed, 9, 1, 4)[..., 1:, 1:]
    return math.sqrt(float((away * squares).sum() / away.sum().clamp_min(1)))


def without_trails(problem: Problem, trails: Sequence[LightTrails | None]) -> Problem:
    """The problem of photos in which the pixels of trails count as missing.

    Args:
        problem: a batch of photos.
        trails: those of each; None where it has none.
    """
    if all(own is None for own in trails):
        return problem
    known = problem.observed
    observed = torch.ones_like(problem.y[:, :1]) if known is None else known.clone()
    for b, own in enumerate(trails):
        if own is not None:
            observed[b] *= (1 - own.hidden).to(observed)
    y = fill_unobserved(problem.y, observed, problem.sigma_y)
    return replace(problem, y=y, observed=observed)


def with_lamps(restoration: Restoration, trails: LightTrails) -> Restoration:
    """A restoration, a batch of one, with the lamps whose trails were left out."""
    x0 = restoration.x0
    rows, columns = (torch.arange(n, device=x0.device) for n in x0.shape[-2:])
    light = torch.zeros_like(x0[0])
    for (row, column), amount in zip(trails.places.tolist(), trails.light.to(x0), strict=True):
        spot = _bell(rows - row)[:, None] * _bell(columns - column)
        light += 2 * amount[:, None, None] * spot
    return replace(restoration, x0=(x0 + light).clamp_max(1.0))


def _bell(distance: Tensor) -> Tensor:
    """A Gaussian of a lamp's width at some distances in pixels."""
    scale = LAMP_WIDTH * math.sqrt(2 * math.pi)
    return torch.exp(-((distance / LAMP_WIDTH) ** 2) / 2) / scale
