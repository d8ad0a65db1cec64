"""Which of several kernels blurred a photo: the one that leads to the best image."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Generator, Tensor

from d2ir_pl.degradations import Blur, Degradation, Phi
from d2ir_pl.degradations.blur_guesses import Guess, guesses, handicaps, shortlist
from d2ir_pl.diffusion import Prior
from d2ir_pl.estimators.edge_windows import edge_windows
from d2ir_pl.estimators.kernel_worth import unlikeliness
from d2ir_pl.restoration.degradation_estimation import DegradationEstimation
from d2ir_pl.restoration.problem import Problem
from d2ir_pl.restoration.result import Restoration
from d2ir_pl.restoration.step import Observer, silent

# Settings were chosen on photographs with synthetic shakes (docs/experiments.md).
WALK = DegradationEstimation(phi_steps=0, steps=6)
"""The short walk that shows what a kernel leads to."""
ERROR = 0.03
"""What a kernel leaves unexplained, in [0, 1]: enough that a wrong one is not believed."""
DOUBT = 0.25
"""What speaks against every guess but the Gaussian, in the units of `unlikeliness`."""
CANDIDATES = 4
"""Kernels that a walk is taken for."""
WINDOW = 192
"""Side in pixels of the part of a large photo that the contest looks at, at least."""
WINDOW_KERNELS = 4
"""The same in sides of the largest kernel."""


@dataclass(frozen=True)
class Verdict:
    """What a contest between kernels has found of one photo.

    Attributes:
        guesses: kernels that took part.
        scores: how unlikely the image is that each leads to; the least one wins.
    """

    guesses: list[Guess]
    scores: list[float]

    @property
    def winner(self) -> Guess:
        """The kernel that leads to the best image."""
        return self.guesses[self.scores.index(min(self.scores))]

    @property
    def lead(self) -> float:
        """By how much the winner's score is less than the next one's; infinity if alone."""
        ordered = sorted(self.scores)
        return ordered[1] - ordered[0] if len(ordered) > 1 else math.inf


def contest(problem: Problem, prior: Prior) -> list[Verdict]:
    """Find the kernel of every photo of a batch, each by itself.

    For each hypothesis on the kernel a short walk restores the part of the photo with the most
    edges. An image is the less likely, the less of the photo it explains and the less sparse its
    gradients are (`unlikeliness`); a kernel, the less it explains the spectrum (`handicaps`).

    Args:
        problem: blurred photos, whose degradation is a `Blur` with an unknown kernel.
        prior: diffusion prior.
    """
    return [_verdict(problem.select([b]), prior) for b in range(len(problem))]


Restore = Callable[[Problem, Phi, Prior, Observer], Restoration]
"""A method that starts from given parameters."""


def has_contest(degradation: Degradation) -> bool:
    """Whether the kernel of a degradation is found by a contest."""
    return isinstance(degradation, Blur) and degradation.estimated and degradation.start == "edges"


def each_with_its_kernel(
    problem: Problem, prior: Prior, observer: Observer, restore: Restore
) -> Restoration:
    """Find the kernel of every photo of a batch, and restore each with a family of its size.

    Args:
        problem: blurred photos, whose degradation has a contest.
        prior: diffusion prior.
        observer: function that is told of every step of every photo.
        restore: called with each photo as a batch of one, whose degradation has kernels as large as
            the photo's, and with its parameters.
    """
    degradation = problem.degradation
    assert isinstance(degradation, Blur)

    def told_of(b: int) -> Observer:
        return lambda step: observer(replace(step, images=[b]))

    parts = []
    for b, verdict in enumerate(contest(problem, prior)):
        kernel = verdict.winner.kernel.to(problem.y)
        phi = Phi(logits=kernel[None].clamp_min(1e-30).log())
        own = replace(problem.select([b]), degradation=degradation.resized(kernel.shape[-1]))
        part = restore(own, phi, prior, told_of(b))
        parts.append(replace(part, phi=degradation.embedded(part.phi)))
    return Restoration.join(parts)


def _verdict(problem: Problem, prior: Prior) -> Verdict:
    degradation = problem.degradation
    assert isinstance(degradation, Blur)
    seen = None if problem.observed is None else problem.observed[0, 0]
    found = guesses(problem.y[0], problem.sigma_y[0], degradation.kernel_size, seen)
    found = shortlist(problem.y[0], found, CANDIDATES)
    if len(found) == 1:
        return Verdict(found, [0.0])
    side = max(WINDOW, WINDOW_KERNELS * max(guess.size for guess in found))
    grey = (problem.y[0].mean(0).cpu() + 1) / 2
    top, left = edge_windows(grey, side, 1, None if seen is None else seen.cpu())[0].tolist()
    part = slice(top, top + side), slice(left, left + side)
    window = replace(
        problem,
        y=problem.y[:, :, *part],
        observed=None if problem.observed is None else problem.observed[:, :, *part],
        first=None,
    )
    scores: dict[int, float] = {}
    for size in sorted({guess.size for guess in found}):
        places = [i for i, guess in enumerate(found) if guess.size == size]
        kernels = torch.stack([found[i].kernel for i in places]).to(problem.y)
        scores.update(zip(places, _scores(window, kernels, prior), strict=True))
    against = handicaps(problem.y[0], problem.sigma_y[0], found, DOUBT).tolist()
    return Verdict(found, [scores[i] + against[i] for i in range(len(found))])


def _scores(problem: Problem, kernels: Tensor, prior: Prior) -> list[float]:
    """The score of each kernel `(n, k, k)` for a photo, a batch of one."""
    count, degradation = len(kernels), problem.degradation
    assert isinstance(degradation, Blur)
    phi = Phi(logits=kernels.clamp_min(1e-30).log())
    told = degradation.resized(kernels.shape[-1]).told(phi)
    copies = replace(
        problem,
        y=problem.y.expand(count, -1, -1, -1),
        sigma_y=(problem.sigma_y**2 + (2 * ERROR) ** 2).sqrt().expand(count),
        degradation=told,
        generators=[_copy(problem.generators[0]) for _ in range(count)],
        observed=None if problem.observed is None else problem.observed.expand(count, -1, -1, -1),
    )
    estimate = WALK(copies, phi, prior, silent)
    residual = copies.residual(estimate.x, phi)
    return unlikeliness(copies.crop(estimate.x), residual).tolist()


def _copy(generator: Generator) -> Generator:
    """A generator that draws the same: every hypothesis gets the same noise."""
    copy = Generator()
    copy.set_state(generator.get_state())
    return copy
