"""At which timestep the walk of a blurred photo starts: by what the blur took from it.

The network takes the state x_t / sqrt(ab) for the clean image with noise of sqrt((1 - ab) / ab),
and smooths it by that much. A walk that starts at the photo differs from the image by what the blur
took. From far above that, texture that the photo shows is smoothed away and drawn again; from far
below, the network takes the blurred photo for the image, and adds nothing. So the noise of the
first timestep is about twice what the blur took, as it is estimated from the photo
(`estimators/lost_detail.py`).
"""

from __future__ import annotations

import math

from d2ir_pl.degradations import Phi
from d2ir_pl.degradations.convolutional_blur import ConvolutionalBlur
from d2ir_pl.diffusion import Schedule
from d2ir_pl.estimators.lost_detail import lost_detail
from d2ir_pl.restoration.problem import Problem

# Chosen on photographs of the training set with disks and straight motions (docs/experiments.md).
FACTOR = 2.0
"""Noise of the first timestep over the root mean square of what the blur took."""
OTHERWISE = 120
"""First timestep of photos whose damage is no blur by a kernel."""
GRID = math.sqrt(2)
"""Ratio of neighbours among the levels of noise that walks start at, of which one is that of the
timestep `OTHERWISE`: where all photos of a batch share one, a step has one level for all."""
LOWEST, HIGHEST = 20, 240
"""Least and greatest first timestep."""


def starts(problem: Problem, phi: Phi, schedule: Schedule, steps: int) -> list[int]:
    """The first timestep of the walk of each photo.

    Args:
        problem: degraded photos.
        phi: their parameters.
        schedule: noise schedule of the prior.
        steps: number of timesteps that a walk has.
    """
    family = problem.degradation
    if not isinstance(family, ConvolutionalBlur):
        return [min(max(OTHERWISE, steps - 1), schedule.T - 1)] * len(problem)
    lost = lost_detail(*problem.shown.with_white_noise(), family.kernel(phi))
    middle = schedule.sigma(min(OTHERWISE, schedule.T - 1))
    # A walk that starts at the last timestep would start from noise.
    lowest, highest = max(LOWEST, steps - 1), max(steps - 1, min(HIGHEST, schedule.T - 2))
    found = []
    for level in (FACTOR * lost).tolist():
        step = round(math.log(level / middle, GRID))
        found.append(min(max(schedule.nearest(middle * GRID**step), lowest), highest))
    return found
