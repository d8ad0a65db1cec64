"""Ancestral sampling from noise with a descent on the data at every step, as GDP and DPS do it."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from d2ir_pl.degradations import Degradation, Phi
from d2ir_pl.diffusion import Prior, ancestral_sigma, ddim_step, eps_from_x0
from d2ir_pl.errors import naming, require
from d2ir_pl.restoration.base import RestorationMethod
from d2ir_pl.restoration.problem import Problem
from d2ir_pl.restoration.result import Restoration
from d2ir_pl.restoration.step import Observer, Steps


@dataclass(frozen=True)
class Guidance:
    """The prediction at one timestep, and the step down the misfit that follows it.

    Attributes:
        x0: `(B, 3, H, W)` predictions in [-1, 1], towards which the ancestral step goes.
        descent: `(B, 3, H, W)` images that are subtracted after that step.
        loss: `(B,)` misfit of x_0|t.
        phi: parameters from here on.
    """

    x0: Tensor
    descent: Tensor
    loss: Tensor
    phi: Phi


class GuidedSampling(RestorationMethod):
    """Ancestral sampling from noise that a method guides towards the data.

        x_s = sqrt(ab_s) x_0|t + sqrt(1 - ab_s - sigma^2) eps + sigma z - descent

    s is the next of `steps` timesteps, sigma^2 the posterior variance of DDPM (Ho et al. 2020,
    eq. 7), x_0|t clipped to [-1, 1] and eps the noise that x_t then contains. The last x_s is the
    restored image. Images of any size are sampled whole; `Prior` predicts large ones on tiles.

    Args:
        scale: factor of the descent.
        steps: number of network evaluations, in equal strides from T down to 0.

    Raises:
        ValueError: for settings outside their range.
    """

    step_sizes: ClassVar[tuple[str, ...]] = ("scale",)

    def __init__(self, scale: float, steps: int) -> None:
        require("scale", scale, 0)
        require("steps", steps, 1)
        self.scale = scale
        self.steps = steps

    @abstractmethod
    def guide(self, problem: Problem, prior: Prior, x_t: Tensor, t: int, phi: Phi) -> Guidance:
        """The prediction at one timestep and the step down the misfit that follows it.

        It is called without gradient mode, and evaluates the prior once.

        Args:
            problem: degraded images.
            prior: diffusion prior.
            x_t: `(B, 3, H, W)` states of the diffusion.
            t: their timestep.
            phi: parameters as they are now.
        """

    def check(self, degradation: Degradation, prior: Prior) -> None:  # noqa: ARG002
        with naming("steps"):
            prior.schedule.timesteps(self.steps)

    @torch.no_grad()
    def solve(self, problem: Problem, prior: Prior, observer: Observer) -> Restoration:
        phi = problem.init()
        x_t = problem.noise()
        steps = Steps(observer, "estimation", self.steps, problem)
        for t, ab, ab_next in prior.schedule.walk(prior.schedule.timesteps(self.steps)):
            now = self.guide(problem, prior, x_t, t, phi)
            phi = now.phi
            eps = eps_from_x0(x_t, now.x0, ab)
            sigma = ancestral_sigma(ab, ab_next)
            x_t = ddim_step(now.x0, eps, ab_next, problem.noise(), sigma) - now.descent
            steps.report(now.x0, phi, now.loss)
        return problem.result(x_t, phi, nfe=self.steps, stopped_by="steps", losses=steps.losses)
