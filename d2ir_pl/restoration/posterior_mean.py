"""Denoising in one evaluation of the prior."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from d2ir_pl.degradations import Degradation, Identity
from d2ir_pl.diffusion import Prior
from d2ir_pl.estimators.noise_level import is_grey
from d2ir_pl.restoration.base import RestorationMethod
from d2ir_pl.restoration.problem import Problem
from d2ir_pl.restoration.result import Restoration
from d2ir_pl.restoration.step import Observer, Steps


class PosteriorMean(RestorationMethod):
    """The posterior mean E[x | y] for y = x + n, which is the estimate of least squared error.

    sqrt(ab_t) y is a state x_t of the diffusion of x at the timestep whose noise is that of the
    photo, (1 - ab_t) / ab_t = sigma_y^2, so the prior's x_0|t there is the posterior mean, by
    Tweedie's formula. A walk of the reverse diffusion ends at a sample of the posterior instead,
    whose squared error is twice as large.

    The channels of a grey photo share their noise. It is made that of a state by noise without a
    grey part, of sqrt(3) sigma_y a channel, and the result is the mean of the channels.

    It is for noise alone: any other degradation leaves y at no level of the diffusion. Every image
    is evaluated by itself, at its own timestep.

    Source: Efron, Tweedie's formula and selection bias, 2011.
    """

    def check(self, degradation: Degradation, prior: Prior) -> None:  # noqa: ARG002
        if not isinstance(degradation, Identity):
            raise ValueError(
                f"PosteriorMean removes noise, not a {type(degradation).__name__}: use D2IR, or "
                "the degradation Identity"
            )

    @torch.no_grad()
    def solve(self, problem: Problem, prior: Prior, observer: Observer) -> Restoration:
        phi = problem.init()
        steps = Steps(observer, "estimation", 1, problem)
        grey = is_grey(problem.y).tolist()
        images, sigmas, evaluations = [], [], []
        for b in range(len(problem)):
            own, own_phi = problem.select([b]), phi.select([b])
            x, sigma_y, nfe = self.mean_of(own, prior, grey[b])
            steps.report(x, own_phi, own.misfit(x, own_phi), [b])
            images.append(x)
            sigmas.append(sigma_y)
            evaluations.append(nfe)
        found = replace(problem, sigma_y=torch.cat(sigmas))
        return found.result(
            torch.cat(images), phi, nfe=evaluations, stopped_by="steps", losses=steps.losses
        )

    def mean_of(self, problem: Problem, prior: Prior, grey: bool) -> tuple[Tensor, Tensor, int]:
        """The posterior mean of one image.

        Args:
            problem: the problem of this image alone.
            prior: diffusion prior.
            grey: whether the channels of the photo are one and the same.

        Returns:
            The image `(1, 3, H, W)`, the noise `(1,)` that was removed, and the number of network
            evaluations that it took.
        """
        state, sigma = problem.y, float(problem.sigma_y)
        if grey:
            sigma *= math.sqrt(3)
            colour = problem.noise()
            state = state + sigma * (colour - colour.mean(1, keepdim=True))
        t = prior.schedule.nearest(sigma)
        x = prior.x0(math.sqrt(prior.schedule.level(t)) * state, t)
        return x.mean(1, keepdim=True).expand_as(x) if grey else x, problem.sigma_y, 1
