"""Photos in which lights have left trails of one shape, which is that of the kernel.

In a sharp photo, things of one shape may look like trails (`estimators/light_trails.py`). Then what
is beside them is sharp as well, which no image explains after it is blurred by such a kernel.
"""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor

from d2ir_pl.degradations import Blur
from d2ir_pl.estimators.light_trails import light_trails
from d2ir_pl.restoration.blurred_part import only_blurred
from d2ir_pl.restoration.found import FoundKernel
from d2ir_pl.restoration.kernel_rounds import FIRST_ERROR, grey_window, next_error
from d2ir_pl.restoration.lamps import hiding
from d2ir_pl.restoration.problem import Problem
from d2ir_pl.restoration.result import KernelEvidence
from d2ir_pl.restoration.searches import WALK, Search, walked

WINDOW = 192
"""Side in pixels of the part of a photo that tells whether the trails are of a shake, at least."""
UNEXPLAINED = 3.0
"""What the kernel of trails leaves unexplained beside them in units of the noise, at most: 0.6 to
2.6 in shaken photos, and 3.8 to 66 in ten sharp photographs with bright things of one shape; drawn
ones on plain grounds leave no more than shaken photos do (`CONTRAST`)."""
CONTRAST = 0.008
"""Root mean square of the differences of neighbours that the walk's image has beside them, in
[0, 1], at least: 0.010 to 0.040 in shaken photos, and up to 0.004 on plain dark grounds, which any
kernel explains."""


def kernel_of_trails(problem: Problem) -> Search[FoundKernel | None]:
    """Search for the kernel of a photo that trails of lights show; it is None where none do.

    Args:
        problem: a photo, a batch of one, whose degradation has a contest.
    """
    shown = problem.shown
    family = only_blurred(shown).degradation
    assert isinstance(family, Blur)
    trails = light_trails(shown.y[0].cpu(), family.kernel_size)
    if trails is None:
        return None
    beside = only_blurred(hiding(shown, trails.hidden[None, None].to(shown.y)))
    window = grey_window(beside, WINDOW, len(trails.kernel))
    walk = yield from walked(window, trails.kernel, FIRST_ERROR)
    left, noise = walk.left, float(window.sigma_y) / 2
    if left > UNEXPLAINED * noise or _contrast(walk.x, window) < CONTRAST:
        return None
    evidence = KernelEvidence("lights", 1, None, 1.0)
    return FoundKernel(trails.kernel, next_error(FIRST_ERROR, left, noise), evidence, WALK.steps)


def _contrast(x: Tensor, window: Problem) -> float:
    """Root mean square of the diagonal differences of a grey image away from what is missing."""
    squares = ((x[..., 1:, 1:] - x[..., :-1, :-1]) / 2).square().mean(1, keepdim=True)
    if window.observed is None:
        return math.sqrt(float(squares.mean()))
    away = -F.max_pool2d(-window.observed, 9, 1, 4)[..., 1:, 1:]
    return math.sqrt(float((away * squares).sum() / away.sum().clamp_min(1)))
