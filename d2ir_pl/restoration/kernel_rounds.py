"""Refinement of a blur kernel by the prior: a walk with the kernel, a kernel from its image, ...

A walk explains the photo by the kernel that it is given, wrong parts included, as far as it
believes it. So the first walk assumes a large error, and each one less. The image of a kernel that
is nearly right has the sharp edges that the prior knows, and those show the kernel better than
edges that were made by a threshold do.

A photo with few edges says little of its kernel, which then drifts. The refined kernel is kept only
where its image is about as likely as that of the first one.
"""

from __future__ import annotations

from dataclasses import replace

from torch import Generator, Tensor

from d2ir_pl.degradations import Blur, Phi
from d2ir_pl.diffusion import Prior
from d2ir_pl.estimators.edge_windows import edge_windows
from d2ir_pl.estimators.kernel_refit import refitted
from d2ir_pl.estimators.kernel_shapes import centred, padded, trimmed
from d2ir_pl.estimators.kernel_worth import unlikeliness
from d2ir_pl.estimators.noise_level import grey_variance
from d2ir_pl.restoration.degradation_estimation import DegradationEstimation
from d2ir_pl.restoration.problem import Problem
from d2ir_pl.restoration.step import silent

# Settings were chosen on photographs with synthetic shakes (docs/experiments.md).
WALK = DegradationEstimation(phi_steps=0, steps=6)
"""The short walk that shows what a kernel leads to."""
ERRORS = (0.017, 0.012, 0.009, 0.007)
"""What the kernel leaves unexplained in each round, in [0, 1]."""
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


def refined(problem: Problem, kernel: Tensor, prior: Prior) -> Tensor:
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
    for error in ERRORS:
        x, residual = short_walk(window, now[None], error, prior)
        if start is None:
            start = float(unlikeliness(x, residual))
        image = (x[0].mean(0) + 1) / 2
        wide = refitted(image, y, padded(now, now.shape[-1] + 2 * GROWTH))
        before, now = now, centred(trimmed(wide, share=1e-3))
        side = max(before.shape[-1], now.shape[-1])
        change = (padded(now, side) - padded(before, side)).norm() / now.norm()
        if float(change) < SETTLED:
            break
    x, residual = short_walk(window, now[None], ERRORS[0], prior)
    assert start is not None
    return now if float(unlikeliness(x, residual)) <= start + SLACK else first


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
        generators=[_copy(problem.generators[0]) for _ in range(count)],
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


def _copy(generator: Generator) -> Generator:
    """A generator that draws the same: every kernel gets the same noise."""
    copy = Generator()
    copy.set_state(generator.get_state())
    return copy
