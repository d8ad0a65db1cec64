"""Ancestral sampling from noise with a descent on the data at every step, as GDP and DPS do it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from torch import Generator, Tensor

from d2ir_pl.degradations import Degradation, Phi
from d2ir_pl.diffusion.prior import Prior
from d2ir_pl.diffusion.sampling import ancestral_sigma, ddim_step, predict_eps
from d2ir_pl.errors import naming
from d2ir_pl.operators.linear import size_of
from d2ir_pl.randomness import normal_like
from d2ir_pl.restoration.base import RestorationMethod
from d2ir_pl.restoration.baselines.result import restoration
from d2ir_pl.restoration.result import Restoration
from d2ir_pl.restoration.step import Observer, Step


@dataclass(frozen=True)
class Guidance:
    """What a method makes of one timestep.

    Attributes:
        x0: predictions in [-1, 1], `(B, 3, H, W)`, towards which the ancestral step goes.
        descent: what is subtracted after that step.
        loss: `(B,)` residual of x_0|t, see `unexplained`.
        phi: parameters from here on.
    """

    x0: Tensor
    descent: Tensor
    loss: Tensor
    phi: Phi


class GuidedSampling(RestorationMethod):
    """x_s = sqrt(ab_s) x_0|t + sqrt(1 - ab_s - sigma^2) eps + sigma z - descent, from x_T = noise.

    s is the next of `steps` timesteps, sigma^2 the posterior variance of DDPM (Ho et al. 2020,
    eq. 7), x_0|t clipped to [-1, 1] and eps the noise that x_t then contains. The last x_s is the
    restored image. Images of any size are sampled whole; `Prior` predicts large ones on tiles.

    Args:
        scale: factor of the descent.
        steps: network evaluations, in equal strides from T down to 0.

    Raises:
        ValueError: for settings outside their range.
    """

    step_sizes: ClassVar[tuple[str, ...]] = ("scale",)

    def __init__(self, scale: float, steps: int) -> None:
        if not scale >= 0:
            raise ValueError(f"method.scale {scale} must be at least 0")
        if not steps >= 1:
            raise ValueError(f"method.steps {steps} must be at least 1")
        self.scale = scale
        self.steps = steps

    @abstractmethod
    def guide(
        self, y: Tensor, x_t: Tensor, t: int, phi: Phi, degradation: Degradation, prior: Prior
    ) -> Guidance:
        """The prediction at one timestep and the descent on the data that follows it.

        Called without gradient mode; one evaluation of the prior.
        """

    def check(self, degradation: Degradation, prior: Prior) -> None:
        with naming("method.steps"):
            prior.schedule.timesteps(self.steps)

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
        timesteps = prior.schedule.timesteps(self.steps)
        levels = [prior.schedule.level(t) for t in (*timesteps, -1)]
        phi = degradation.init(y, sigma_y)
        size = degradation.frame.image_size(size_of(y))
        x_t = normal_like(y.new_empty(len(y), 3, *size), generators)
        evaluations = prior.nfe
        losses: list[Tensor] = []
        for i, (t, ab, ab_next) in enumerate(zip(timesteps, levels, levels[1:], strict=False)):
            now = self.guide(y, x_t, t, phi, degradation, prior)
            phi = now.phi
            eps = predict_eps(x_t, now.x0, ab)
            noise, sigma = normal_like(x_t, generators), ancestral_sigma(ab, ab_next)
            x_t = ddim_step(now.x0, eps, ab_next, noise, sigma) - now.descent
            losses.append(now.loss)
            observer(
                Step(
                    "estimation",
                    i,
                    len(timesteps),
                    list(range(len(y))),
                    now.loss,
                    sigma_y,
                    partial(degradation.frame.crop, now.x0),
                    phi,
                )
            )
        return restoration(
            y,
            x_t,
            phi,
            degradation,
            sigma_y,
            nfe=prior.nfe - evaluations,
            stopped_by="steps",
            losses={"estimation": torch.stack(losses, 1).tolist()},
        )
