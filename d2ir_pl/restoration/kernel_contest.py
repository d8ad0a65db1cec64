"""Which of several kernels blurred a photo: the one that leads to the best image."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from d2ir_pl.degradations import Blur, Degradation, Phi
from d2ir_pl.degradations.blur_guesses import Guess, guesses, handicaps, shortlist
from d2ir_pl.diffusion import Prior
from d2ir_pl.estimators.kernel_worth import unlikeliness
from d2ir_pl.restoration.kernel_rounds import grey_window, refined, short_walk
from d2ir_pl.restoration.problem import Problem
from d2ir_pl.restoration.result import Restoration
from d2ir_pl.restoration.step import Observer

# Settings were chosen on photographs with synthetic shakes (docs/experiments.md).
ERROR = 0.017
"""What a kernel leaves unexplained, in [0, 1]: enough that a wrong one is not believed."""
DOUBT = 0.25
"""What speaks against every guess but the Gaussian, in the units of `unlikeliness`."""
CANDIDATES = 4
"""Kernels that a walk is taken for."""
WINDOW = 192
"""Side in pixels of the part of a large photo that the contest looks at, at least."""


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


Restore = Callable[[Problem, Phi, Prior, Observer, float | None], Restoration]
"""A method that starts from given parameters, and from what they leave unexplained in the mean of
the channels, in [0, 1], if that is known."""


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
            the photo's, with its parameters, and with the error that a refined kernel leaves.
    """
    degradation = problem.degradation
    assert isinstance(degradation, Blur)

    def told_of(b: int) -> Observer:
        return lambda step: observer(replace(step, images=[b]))

    parts = []
    for b, verdict in enumerate(contest(problem, prior)):
        own = problem.select([b])
        kernel, error = verdict.winner.kernel, None
        if len(verdict.guesses) > 1 and verdict.winner.source != "gaussian":
            found = refined(own, kernel, prior)
            kernel, error = found.kernel, found.error
        kernel = kernel.to(problem.y)
        phi = Phi(logits=kernel[None].clamp_min(1e-30).log())
        own = replace(own, degradation=degradation.resized(kernel.shape[-1]))
        part = restore(own, phi, prior, told_of(b), error)
        parts.append(replace(part, phi=degradation.embedded(part.phi)))
    return Restoration.join(parts)


def _verdict(problem: Problem, prior: Prior) -> Verdict:
    degradation = problem.degradation
    assert isinstance(degradation, Blur)
    y, sigma = problem.y[0], problem.sigma_y[0]
    seen = None if problem.observed is None else problem.observed[0, 0]
    found = guesses(y, sigma, degradation.kernel_size, seen)
    if len(found) == 1:
        return Verdict(found, [0.0])
    found = shortlist(y, found, CANDIDATES)
    window = grey_window(problem, WINDOW, max(guess.size for guess in found))
    scores: dict[int, float] = {}
    for size in sorted({guess.size for guess in found}):
        places = [i for i, guess in enumerate(found) if guess.size == size]
        kernels = torch.stack([found[i].kernel for i in places]).to(problem.y)
        x, residual = short_walk(window, kernels, ERROR, prior)
        scores.update(zip(places, unlikeliness(x, residual).tolist(), strict=True))
    against = handicaps(y, sigma, found, DOUBT).tolist()
    return Verdict(found, [scores[i] + against[i] for i in range(len(found))])
