"""Several restorations of the same photo: their mean, and how far they differ."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import torch

from d2ir_pl.diffusion import Prior
from d2ir_pl.errors import require
from d2ir_pl.restoration.base import RestorationMethod
from d2ir_pl.restoration.found import Found
from d2ir_pl.restoration.problem import Problem
from d2ir_pl.restoration.result import Restoration
from d2ir_pl.restoration.step import Observer, silent


def restore_samples(
    method: RestorationMethod,
    num_samples: int,
    problem: Problem,
    prior: Prior,
    observer: Observer = silent,
) -> Restoration:
    """The mean of `num_samples` restorations, with their standard deviation.

    The mean of samples x_1 .. x_N of the posterior has an expected squared error of (1 + 1/N)
    times that of the posterior mean; one sample has twice that. Their standard deviation

        std = sqrt(mean over channels of 1 / (N - 1) sum_n (x_n - mean)^2)

    estimates the error of a sample pixel by pixel, as far as the method samples the posterior.
    D2IR nearly does so at `temperature` 1; with less noise its samples are too alike. A kernel that
    a contest finds is found once: the samples do not differ by it.

    Args:
        method: method that restores one sample after the other, each with new noise.
        num_samples: number N of samples, at least 1; for 1 this is `method.restore`.
        problem: degraded images, with all that is known of them.
        prior: diffusion prior.
        observer: function that is told of every step of every sample.

    Returns:
        A restoration whose x0, reblurred and residual are those of the mean, whose nfe counts all
        samples and what was found before them, and whose phi, losses and stopped_by are those of
        the first.

    Raises:
        ValueError: if num_samples is below 1, or if the method does not fit the problem.
    """
    require("num_samples", num_samples, 1)
    problem = method.prepared(problem, prior)

    def observed(n: int) -> Observer:
        return lambda step: observer(replace(step, sample=n, num_samples=num_samples))

    return mean_of(
        (method.restore(problem, prior, observed(n)) for n in range(num_samples)), problem
    )


def mean_of(samples: Iterable[Restoration], problem: Problem) -> Restoration:
    """The mean of restorations of the same problem, with their standard deviation.

    Each is forgotten once it is counted, so that many take no more memory than two.
    """
    first: Restoration | None = None
    found = problem.found or Found()
    count, nfe = 0, found.evaluations(len(problem))
    for sample in samples:
        count += 1
        nfe = [a + b for a, b in zip(nfe, sample.nfe, strict=True)]
        if first is None:
            first, mean, reblurred = sample, sample.x0, sample.reblurred
            squares = torch.zeros_like(mean)
            continue
        # Welford: squares of what is nearly alike are not subtracted from each other.
        difference = sample.x0 - mean
        mean = mean + difference / count
        squares = squares.addcmul_(difference, sample.x0 - mean)
        # Degrading is linear, or nearly so between samples, and a mean of what each predicts has
        # the margin beyond the photo, which x0 lacks.
        if reblurred is not None and sample.reblurred is not None:
            reblurred = reblurred + (sample.reblurred - reblurred) / count
    if first is None:
        raise ValueError("there is no sample: give at least 1")
    if count == 1:
        return replace(first, nfe=nfe)
    assert reblurred is not None
    residual = problem.residual_of(reblurred, first.phi)
    return replace(
        first,
        x0=mean,
        std=(squares / (count - 1)).mean(1, keepdim=True).sqrt(),
        reblurred=reblurred,
        residual=problem.misfit_of(residual, first.phi),
        nfe=nfe,
    )
