"""Which of several kernels blurred a photo: the one that leads to the best image."""

from __future__ import annotations

import math
from dataclasses import replace

from torch import Tensor

from d2ir_pl.degradations import Blur, Compose, Degradation
from d2ir_pl.degradations.blur_guesses import Guess, guesses, handicaps, shortlist
from d2ir_pl.diffusion import Prior
from d2ir_pl.restoration.blurred_part import keeps_places, looser_rounded, only_blurred
from d2ir_pl.restoration.found import Found, FoundKernel, Rival
from d2ir_pl.restoration.kernel_places import kernel_by_place
from d2ir_pl.restoration.kernel_rounds import FIRST_ERROR, agreed, grey_window, refined
from d2ir_pl.restoration.kernel_verdict import TEMPERATURE, Verdict
from d2ir_pl.restoration.lamps import Lamps, lamps, without_lamps
from d2ir_pl.restoration.light_trails import kernel_of_trails
from d2ir_pl.restoration.own_kernels import with_kernels
from d2ir_pl.restoration.problem import Problem
from d2ir_pl.restoration.searches import Search, answered, side_by_side, walked

# Settings were chosen on photographs with synthetic shakes (docs/experiments.md).
ERROR = 0.017
"""What a kernel leaves unexplained, in [0, 1]: enough that a wrong one is not believed."""
DOUBT = 0.25
"""What speaks against every guess but the Gaussian, in the units of `unlikeliness`."""
CANDIDATES = 8
"""Kernels that a walk is taken for."""
SURE = 0.1
"""Probability of other shapes up to which a Gaussian is no more doubted than one that is told."""
DOUBLE = 5.0
"""How many times as likely a kernel is that two searches have led to: it was so for eleven of
fourteen that were right, and for none of four that were wrong."""
WINDOW = 192
"""Side in pixels of the part of a large photo that the contest looks at, at least."""


def contest(problem: Problem, prior: Prior) -> list[Verdict]:
    """Find the kernel of every photo of a batch, each as if by itself.

    For each hypothesis on the kernel a short walk restores the part of the photo with the most
    edges. An image is the less likely, the less of the photo it explains and the less sparse its
    gradients are (`unlikeliness`); a kernel, the less it explains the spectrum (`handicaps`).

    Args:
        problem: blurred photos, whose degradation has a contest.
        prior: diffusion prior.
    """
    rows = (problem.select([b]) for b in range(len(problem)))
    return answered(side_by_side([_verdict(only_blurred(row)) for row in rows]), prior)


def read_guesses(problem: Problem) -> None:
    """Read guesses on the kernel of every photo of a batch off it, to be remembered.

    Args:
        problem: blurred photos, whose degradation has a contest.
    """
    for b in range(len(problem)):
        _guesses(only_blurred(problem.select([b])))


def has_contest(degradation: Degradation) -> bool:
    """Whether the kernel of a degradation, or of the first of several, is found by a contest."""
    if isinstance(degradation, Compose):
        return keeps_places(degradation) and has_contest(degradation.parts[0])
    return isinstance(degradation, Blur) and degradation.estimated and degradation.start == "edges"


def with_kernels_found(problem: Problem, prior: Prior) -> Problem:
    """Find the kernel of every photo of a batch, refine it, and find lamps by it.

    Trails that lights have left show it where there are some, and a contest does elsewhere. What
    is found of a photo is that which is found of it alone, but the walks of all are taken together.

    Args:
        problem: blurred photos, whose degradation has a contest.
        prior: diffusion prior.
    """
    rows = [problem.select([b]) for b in range(len(problem))]
    kernels = answered(side_by_side([_searched(row) for row in rows]), prior)
    known = []
    for row, own in zip(rows, kernels, strict=True):
        family, phi = with_kernels(row, [own.kernel])
        known.append(lamps(replace(row, degradation=family), phi))
    told = replace(problem, found=Found(kernels))
    return without_lamps(told, Lamps.join(known, told))


def _searched(row: Problem) -> Search[FoundKernel]:
    """Search for the kernel of a photo, a batch of one."""
    shown = yield from kernel_of_trails(row)
    if shown is not None:
        return shown
    return (yield from _contested(row.shown))


def _contested(shown: Problem) -> Search[FoundKernel]:
    """Search for the kernel of a photo by a contest; it is refined unless it is a Gaussian."""
    blurred, looser = only_blurred(shown), only_blurred(looser_rounded(shown))
    verdict = yield from _verdict(blurred)
    winner, evidence, nfe = verdict.winner, verdict.evidence(), verdict.nfe
    rival = _rival(verdict)
    if winner.source != "gaussian":
        kernels = [guess.kernel for guess in verdict.contenders]
        best = yield from refined(looser, kernels, verdict.doubt)
    elif verdict.doubt <= SURE:
        return FoundKernel(winner.kernel, None, evidence, nfe, rival)
    else:
        kernels = [guess.kernel for guess in verdict.unbelieved]
        second, spent = yield from agreed(looser, winner.kernel, kernels)
        if second is None:
            error = math.sqrt(verdict.doubt) * FIRST_ERROR
            return FoundKernel(winner.kernel, error, evidence, nfe + spent, rival)
        assert second.lead is not None
        sure = 1 / (1 + math.exp(-second.lead / TEMPERATURE))
        best, evidence = second, replace(evidence, source="edges", lead=second.lead, sure=sure)
        rival = None
    seen = yield from kernel_by_place(blurred, best.kernel)
    sure = _found_twice(evidence.sure) if best.double else evidence.sure
    evidence = replace(evidence, sure=sure, places=seen.alike, halves=seen.halves)
    return FoundKernel(best.kernel, best.error, evidence, nfe + best.nfe + seen.nfe, rival)


def _rival(verdict: Verdict) -> Rival | None:
    """The guess that is about as likely as the winner of a contest."""
    if (beside := verdict.rival()) is None:
        return None
    guess, weight = beside
    return Rival(guess.kernel, None if guess.source == "gaussian" else FIRST_ERROR, weight)


def _found_twice(sure: float) -> float:
    """The probability of a kernel once two searches have led to it."""
    return DOUBLE * sure / (DOUBLE * sure + 1 - sure)


def _verdict(problem: Problem) -> Search[Verdict]:
    """Search for the verdict about a blurred photo, a batch of one."""
    y, sigma = _light(problem)
    found = _guesses(problem)
    if len(found) == 1:
        return Verdict(found, [0.0], [0.0])
    found = shortlist(y, found, CANDIDATES)
    window = grey_window(problem, WINDOW, max(guess.size for guess in found))
    walks = [walked(window, guess.kernel, ERROR) for guess in found]
    images = yield from side_by_side(walks)
    against = handicaps(y, sigma, found, DOUBT).tolist()
    return Verdict(found, [image.unlikely for image in images], against)


def _guesses(problem: Problem) -> list[Guess]:
    """Guesses on the kernel of a blurred photo, a batch of one."""
    degradation = problem.degradation
    assert isinstance(degradation, Blur)
    seen = None if problem.observed is None else problem.observed[0, 0]
    size, width = degradation.kernel_size, degradation.width
    return guesses(*_light(problem), size, seen, width)


def _light(problem: Problem) -> tuple[Tensor, Tensor]:
    """The values `(3, h, w)` that the kernel of a photo, a batch of one, blurs, and their noise."""
    assert isinstance(problem.degradation, Blur)
    y, sigma = problem.degradation.light(problem.y, problem.sigma_y)
    return y[0], sigma[0]
