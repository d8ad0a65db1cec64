"""DAPS: Decoupled Annealing Posterior Sampling (Zhang et al. 2024)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from d2ir_pl.degradations import Phi
from d2ir_pl.degradations.base import is_linear
from d2ir_pl.diffusion import Prior, Schedule, ddim_chain
from d2ir_pl.errors import require
from d2ir_pl.operators.linear import per_image
from d2ir_pl.restoration.base import RestorationMethod
from d2ir_pl.restoration.problem import Problem
from d2ir_pl.restoration.result import Restoration
from d2ir_pl.restoration.step import Observer, Steps

CURVATURE = 7
"""Exponent of the levels of noise: their 7th roots have equal distances (Karras et al. 2022)."""


class DAPS(RestorationMethod):
    """Samples of x_0 given x_t and y, each of which is made a state of the next level anew.

    At each of the levels sigma = sqrt((1 - ab) / ab), from `sigma_max` down to `sigma_min`:

    1. x_0|t is where the probability flow leads from x_t, in a few steps of DDIM.
    2. Langevin dynamics sample x_0 ~ N(x_0|t, sigma^2) p(y | x_0), starting at x_0|t:

        x_0 <- x_0 - a ((x_0 - x_0|t) / sigma^2 + grad ||y - D_phi(x_0)||^2 / (2 sigma_y^2))
               + sqrt(2 a) n

    3. x_s = sqrt(ab_s) x_0 + sqrt(1 - ab_s) n, with noise that has nothing to do with that of x_t.

    a is a share of 1 / (1 / sigma^2 + 1 / sigma_y^2), which falls from `step_size` to a hundredth
    of it in equal steps. The publication has a fixed 0.01 in place of sigma_y, and a = 1e-4, the
    same share of it for all but the lowest levels. D_phi may be any degradation. An unknown phi
    stays what `Degradation.init` reads off the data.

    Args:
        annealing_steps: number of levels.
        ode_steps: number of network evaluations at each level, fewer where the prior has fewer
            timesteps below it.
        langevin_steps: number of steps of the Langevin dynamics at each level, without network.
        step_size: the share at the first level; above 2 the dynamics may diverge.
        sigma_max: highest level; the prior's highest if that is lower.
        sigma_min: lowest level.

    Raises:
        ValueError: for settings outside their range.

    Source: Zhang, Chu, Berner, Meng, Anandkumar and Song, Improving Diffusion Inverse Problem
    Solving with Decoupled Noise Annealing, 2024, algorithm 1. 200 levels of 5 evaluations are their
    DAPS-1K, 400 of 10 their DAPS-4K.
    """

    step_sizes = ("step_size",)

    def __init__(
        self,
        annealing_steps: int = 200,
        ode_steps: int = 5,
        langevin_steps: int = 100,
        step_size: float = 1.0,
        sigma_max: float = 100.0,
        sigma_min: float = 0.1,
    ) -> None:
        require("annealing_steps", annealing_steps, 1)
        require("ode_steps", ode_steps, 1)
        require("langevin_steps", langevin_steps, 1)
        require("step_size", step_size, above=0)
        require("sigma_min", sigma_min, above=0)
        require("sigma_max", sigma_max, above=sigma_min)
        self.annealing_steps = annealing_steps
        self.ode_steps = ode_steps
        self.langevin_steps = langevin_steps
        self.step_size = step_size
        self.sigma_max = sigma_max
        self.sigma_min = sigma_min

    @torch.no_grad()
    def solve(self, problem: Problem, prior: Prior, observer: Observer) -> Restoration:
        phi, schedule = problem.init(), prior.schedule
        timesteps = levels(schedule, self.sigma_max, self.sigma_min, self.annealing_steps)
        x = problem.y.new_zeros(len(problem), 3, *problem.image_size)
        nfe = 0
        steps = Steps(observer, "estimation", len(timesteps), problem)
        for i, t in enumerate(timesteps):
            ab = schedule.level(t)
            x_t = math.sqrt(ab) * x + math.sqrt(1 - ab) * problem.noise()
            flow = list(dict.fromkeys(levels(schedule, schedule.sigma(t), 0.0, self.ode_steps)))
            x0 = ddim_chain(prior, x_t, flow)
            nfe += len(flow)
            share = self.step_size * (1 - 0.99 * i / len(timesteps))
            x = self._langevin(problem, x0, phi, schedule.sigma(t), share)
            steps.report(x, phi, problem.misfit(x, phi))
        return problem.result(x, phi, nfe=nfe, stopped_by="steps", losses=steps.losses)

    def _langevin(
        self, problem: Problem, x0: Tensor, phi: Phi, sigma: float, share: float
    ) -> Tensor:
        """Samples of x_0 given x_t and y, around the end x0 of the probability flow."""
        linear = is_linear(problem.degradation)
        operator, misfit = problem.linearize(x0, phi)
        noise = per_image(problem.sigma_of(misfit))
        step = share / (1 / sigma**2 + 1 / noise**2)
        x = x0
        for _ in range(self.langevin_steps):
            if not linear:
                operator, residual = problem.linearize(x, phi)
            else:
                residual = misfit - operator.forward(x - x0)
            descent = (x - x0) / sigma**2 - operator.adjoint(residual) / noise**2
            x = x - step * descent + (2 * step).sqrt() * problem.noise()
        return x


def levels(schedule: Schedule, highest: float, lowest: float, count: int) -> list[int]:
    """The timesteps whose sigma are nearest to `count` levels between two, with both of them."""
    lowest = max(lowest, schedule.sigma(0))
    ends = [level ** (1 / CURVATURE) for level in (highest, lowest)]
    shares = [i / max(1, count - 1) for i in range(count)]
    return [schedule.nearest((ends[0] + u * (ends[1] - ends[0])) ** CURVATURE) for u in shares]
