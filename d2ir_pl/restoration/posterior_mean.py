"""Denoising in one evaluation of the prior."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

import torch
from torch import Generator, Tensor

from d2ir_pl.degradations import Degradation, Identity
from d2ir_pl.diffusion.prior import Prior
from d2ir_pl.estimators.noise_level import is_grey
from d2ir_pl.randomness import normal_like
from d2ir_pl.restoration.base import RestorationMethod
from d2ir_pl.restoration.result import Restoration, explained, unexplained
from d2ir_pl.restoration.step import Observer, Step


class PosteriorMean(RestorationMethod):
    """E[x | y] for y = x + n, the estimate of least squared error.

    sqrt(ab_t) y is a state x_t of the diffusion of x at the timestep whose noise is that of the
    photo, (1 - ab_t) / ab_t = sigma_y^2, so the prior's x_0|t there is the posterior mean, by
    Tweedie's formula. A walk of the reverse diffusion ends at a sample of the posterior instead,
    whose squared error is twice as large.

    The channels of a grey photo share their noise. It is made that of a state by noise without a
    grey part, of sqrt(3) sigma_y a channel, and the result is the mean of the channels.

    Only for noise alone: any other degradation leaves y at no level of the diffusion. Every image
    is evaluated by itself, at its own timestep.

    Source: Efron, Tweedie's formula and selection bias, 2011.
    """

    def check(self, degradation: Degradation, prior: Prior) -> None:
        if not isinstance(degradation, Identity):
            raise ValueError(
                f"PosteriorMean removes noise, not a {type(degradation).__name__}: use D2IR, or "
                "the degradation Identity"
            )

    @torch.no_grad()
    def _restore(
        self,
        y: Tensor,
        degradation: Degradation,
        prior: Prior,
        generators: Sequence[Generator],
        sigma_y: Tensor,
        observer: Observer,
    ) -> Restoration:
        phi = degradation.init(y, sigma_y)
        images: list[Tensor] = []
        losses: list[list[float]] = []
        for b, (sigma, grey) in enumerate(zip(sigma_y.tolist(), is_grey(y).tolist(), strict=True)):
            own, own_phi = slice(b, b + 1), phi.select([b])
            state = y[own]
            if grey:
                sigma *= math.sqrt(3)
                colour = normal_like(state, generators[own])
                state = state + sigma * (colour - colour.mean(1, keepdim=True))
            t = prior.schedule.nearest(sigma)
            x = prior.x0(math.sqrt(prior.schedule.level(t)) * state, t)
            if grey:
                x = x.mean(1, keepdim=True).expand_as(x)
            loss = unexplained(degradation, y[own] - x, own_phi)
            crop = partial(degradation.frame.crop, x)
            observer(Step("estimation", 0, 1, [b], loss, sigma_y[own], crop, own_phi))
            images.append(x)
            losses.append(loss.tolist())
        x, count = torch.cat(images), len(y)
        account = {"estimation": losses}
        return explained(y, x, phi, degradation, sigma_y, [1] * count, ["steps"] * count, account)
