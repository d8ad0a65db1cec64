"""Refinement of a blur kernel by the prior: a walk with the kernel, a kernel from its image, ...

A walk explains the photo by the kernel that it is given, wrong parts included, as far as it
believes it. So the first walk assumes a large error m beside the noise, and each one less, as what
is left unexplained gets less:

    s <- min(s, sqrt(sigma^2 + unexplained^2 (misfit - sigma^2))),    s^2 = sigma^2 + m^2,

but never so little that a walk explains more of the photo than its noise allows, which is a misfit
of less than (share sigma)^2 (`assumed_error.py`). The image of a kernel that is nearly right has
the sharp edges that the prior knows, and those show the kernel better than edges that were made by
a threshold do. The last m is what a restoration with the refined kernel should assume.

A photo with few edges says little of its kernel, which then drifts. The refined kernel is kept only
where its image is about as likely as that of the first one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from torch import Tensor

from d2ir_pl.degradations import Blur, Phi
from d2ir_pl.diffusion import Prior
from d2ir_pl.diffusion.randomness import same_generator
from d2ir_pl.estimators.edge_windows import edge_windows
from d2ir_pl.estimators.kernel_refit import refitted
from d2ir_pl.estimators.kernel_shapes import centred, padded, trimmed
from d2ir_pl.estimators.kernel_worth import unlikeliness
from d2ir_pl.estimators.noise_level import grey_variance
from d2ir_pl.restoration.assumed_error import SHARE
from d2ir_pl.restoration.degradation_estimation import DegradationEstimation
from d2ir_pl.restoration.problem import Problem
from d2ir_pl.restoration.step import silent

# Settings were chosen on photographs with synthetic shakes (docs/experiments.md).
WALK = DegradationEstimation(phi_steps=0, steps=6)
"""The short walk that shows what a kernel leads to."""
FIRST_ERROR = 0.017
"""What the kernel is taken to leave unexplained in the first round, in [0, 1]."""
UNEXPLAINED = 1.7
"""Error that the next round assumes over what a round leaves unexplained beyond the noise."""
RECOVERY = 1.5
"""Exponent by which the assumed error goes with what a walk leaves unexplained."""
ROUNDS = 8
"""Rounds at most."""
GROWTH = 2
"""Pixels by which a kernel may grow to each side in a round."""
WINDOW = 256
"""Side in pixels of the part of a large photo that is looked at, at least."""
WINDOW_KERNELS = 4
"""The same in sides of the kernel."""
SLACK = 0.2
"""By how much less likely the image of a refined kernel may be: a kernel that drifts exceeds it."""
SETTLED = 0.02
"""Relative change of the kernel at which rounds end."""


@dataclass(frozen=True)
class Refined:
    """What the rounds have made of a kernel.

    Attributes:
        kernel: `(k, k)` of a correlation, centred.
        error: what it leaves unexplained beside the noise, of the mean of the channels, in [0, 1].
    """

    kernel: Tensor
    error: float


def refined(problem: Problem, kernel: Tensor, prior: Prior) -> Refined:
    """A better kernel than the given one, or the given one where none is found.

    Args:
        problem: a blurred photo, a batch of one.
        kernel: `(k, k)` of a correlation, centred.
        prior: diffusion prior.
    """
    window = grey_window(problem, WINDOW, kernel.shape[-1])
    y = (window.y[0].mean(0) + 1) / 2
    first = now = kernel.to(y)
    start: float | None = None
    error = FIRST_ERROR
    seen = 1.0 if window.observed is None else float(window.observed.mean())
    for _ in range(ROUNDS):
        x, residual = short_walk(window, now[None], error, prior)
        left = math.sqrt(float(residual.mean(1).square().mean()) / seen) / 2
        error = next_error(error, left, float(window.sigma_y) / 2)
        if start is None:
            start = float(unlikeliness(x, residual))
        image = (x[0].mean(0) + 1) / 2
        wide = refitted(image, y, padded(now, now.shape[-1] + 2 * GROWTH))
        before, now = now, centred(trimmed(wide, share=1e-3))
        side = max(before.shape[-1], now.shape[-1])
        change = (padded(now, side) - padded(before, side)).norm() / now.norm()
        if float(change) < SETTLED:
            break
    x, residual = short_walk(window, now[None], FIRST_ERROR, prior)
    assert start is not None
    if float(unlikeliness(x, residual)) > start + SLACK:
        return Refined(first, FIRST_ERROR)
    return Refined(now, error)


def next_error(error: float, left: float, noise: float) -> float:
    """The error that the next round assumes beside the noise.

    Args:
        error: the one that this round has assumed.
        left: root mean square of what it has left unexplained, noise and all.
        noise: standard deviation of the noise, in the same units.
    """
    assumed = math.hypot(noise, error)
    beyond = UNEXPLAINED * math.sqrt(max(left**2 - noise**2, 0.0))
    # What a walk leaves goes with a power of what it assumes.
    least = assumed * (SHARE * noise / max(left, 1e-9)) ** RECOVERY
    following = max(min(assumed, math.hypot(noise, beyond)), least)
    return min(FIRST_ERROR, math.sqrt(max(following**2 - noise**2, 0.0)))


def short_walk(
    problem: Problem, kernels: Tensor, error: float, prior: Prior
) -> tuple[Tensor, Tensor]:
    """The images `(n, 3, h, w)` that a short walk leads to, and their residuals.

    Args:
        problem: a photo, a batch of one; its generator is left as it was.
        kernels: `(n, k, k)` kernels that it may have been blurred by.
        error: what they leave unexplained, in [0, 1].
        prior: diffusion prior.
    """
    count, degradation = len(kernels), problem.degradation
    assert isinstance(degradation, Blur)
    phi = Phi(logits=kernels.clamp_min(1e-30).log())
    observed = problem.observed
    copies = replace(
        problem,
        y=problem.y.expand(count, -1, -1, -1),
        sigma_y=(problem.sigma_y**2 + (2 * error) ** 2).sqrt().expand(count),
        degradation=degradation.resized(kernels.shape[-1]),
        generators=[same_generator(problem.generators[0]) for _ in range(count)],
        observed=None if observed is None else observed.expand(count, -1, -1, -1),
    )
    x = WALK(copies, phi, prior, silent).x
    return copies.crop(x), copies.residual(x, phi)


def grey_window(problem: Problem, side: int, kernel_size: int) -> Problem:
    """The part of a photo with the most edges, in grey: what a kernel gets wrong has no colour.

    Args:
        problem: a photo, a batch of one.
        side: its side in pixels, at least.
        kernel_size: side of the kernel; the part is at least `WINDOW_KERNELS` of them wide.
    """
    side = max(side, WINDOW_KERNELS * kernel_size)
    observed = problem.observed
    grey = problem.y.mean(1, keepdim=True)
    seen = None if observed is None else observed[0, 0].cpu()
    top, left = edge_windows((grey[0, 0].cpu() + 1) / 2, side, 1, seen)[0].tolist()
    rows, columns = slice(top, top + side), slice(left, left + side)
    return replace(
        problem,
        y=grey.expand_as(problem.y)[..., rows, columns].contiguous(),
        sigma_y=grey_variance(problem.y, problem.sigma_y).sqrt().to(problem.sigma_y),
        observed=None if observed is None else observed[..., rows, columns],
        first=None,
    )
