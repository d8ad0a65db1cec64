"""Stage 2: optimise the initial latent x_T so that its degraded image explains the photo."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from d2ir_pl.degradations import Phi
from d2ir_pl.diffusion import Gradient, Prior, Schedule, ddim_chain, ddim_inversion, to_sphere
from d2ir_pl.errors import require
from d2ir_pl.restoration.problem import Problem
from d2ir_pl.restoration.result import Losses
from d2ir_pl.restoration.step import Observer, Steps
from d2ir_pl.stages import StoppedBy

ADAM_EPS = 1e-4
"""Least scale of Adam's steps. Adam takes steps of the sign of a gradient, however small: where a
gradient is far below that of a residual at the noise (about 1e-2), rounding would decide, and with
it the make-up of the batch."""


@dataclass
class OptimizedLatent:
    """The images that stage 2 returns.

    Attributes:
        x: `(B, 3, H, W)` best images by their misfit, not cropped.
        losses: misfit of each image at every iterate.
        nfe: number of network evaluations spent on each image.
        stopped_by: reason why each image was finished, `discrepancy` or `iterations`.
    """

    x: Tensor
    losses: Losses
    nfe: list[int]
    stopped_by: list[StoppedBy]


@dataclass(frozen=True)
class LatentOptimization:
    """Stage 2, initial latent optimisation.

    With phi fixed, Adam minimises ||y - D_phi(x_0(x_T))||^2 over x_T, where x_0(x_T) is the
    deterministic DDIM chain of `ddim_steps` steps from `level` down to the clean image. The chain
    that is optimised is the chain that makes the result.

    An image stops as soon as its misfit reaches (discrepancy sigma_y)^2, Morozov's discrepancy
    principle: going on would fit the noise. An image that stage 1 has explained so far already is
    left as it is. The iterate of least misfit is kept.

    Args:
        iterations: largest number K of Adam steps.
        lr: learning rate of these steps.
        ddim_steps: number of network evaluations of the chain.
        level: timestep of the latent; -1 is the last one, T. Only there is a latent white noise,
            and only there x_T is rescaled to norm sqrt(d) after each step.
        start: first x_T: the `inversion` of stage 1's image (or of y, if stage 1 did not run),
            or `noise`.
        gradient: path of the gradient: through the network too (`full`), checkpointed at every
            step, or through the coefficients of DDIM alone (`detached`; Chihaoui et al., BIRD,
            2024).
        discrepancy: factor tau of the noise at which an image stops; 0 never stops early.
        fixed_point_iterations: number of evaluations at each step of the inversion.

    Raises:
        ValueError: for settings outside their range.
    """

    iterations: int = 30
    lr: float = 1e-2
    ddim_steps: int = 4
    level: int = 200
    start: Literal["inversion", "noise"] = "inversion"
    gradient: Gradient = "detached"
    discrepancy: float = 1.05
    fixed_point_iterations: int = 5

    def __post_init__(self) -> None:
        require("iterations", self.iterations, 0)
        require("lr", self.lr, 0)
        require("ddim_steps", self.ddim_steps, 1)
        require("level", self.level, -1)
        require("discrepancy", self.discrepancy, 0)
        require("fixed_point_iterations", self.fixed_point_iterations, 1)

    def timesteps(self, schedule: Schedule) -> list[int]:
        """The timesteps of the chain; ValueError if the settings do not fit the schedule."""
        return schedule.timesteps(self.ddim_steps, None if self.level < 0 else self.level)

    def __call__(
        self, problem: Problem, x: Tensor, phi: Phi, prior: Prior, observer: Observer
    ) -> OptimizedLatent:
        """Optimise the latents.

        Args:
            problem: degraded images. sigma_y counts all that phi and x cannot explain.
            x: `(B, 3, H, W)` images of stage 1, where an inversion starts.
            phi: parameters of the degradation, fixed from here on.
            prior: diffusion prior.
            observer: function that is told of every step.
        """
        timesteps = self.timesteps(prior.schedule)
        steps = Steps(observer, "latent", self.iterations + 1, problem)
        best = _Best(x, (self.discrepancy * problem.sigma_y) ** 2)
        active = list(range(len(problem)))
        if self.start == "inversion":
            with torch.no_grad():
                loss = problem.misfit(x, phi)
            steps.keep(loss, active)
            active = best.keep(active, x, loss)
        latents = self._start(problem, x, active, prior)
        if self.start == "inversion":
            best.count(active, self.fixed_point_iterations * len(timesteps))
        for k in range(self.iterations + 1):
            if not active:
                break
            part, own_phi = problem.select(active), phi.select(active)
            with torch.enable_grad():
                x_T = torch.cat([latents[b].x_T for b in active])
                x0 = ddim_chain(prior, x_T, timesteps, self.gradient)
                residual = part.residual(x0, own_phi)
                energy = residual.square().flatten(1).sum(1)
            loss = part.misfit_of(residual.detach(), own_phi)
            steps.report(x0.detach(), own_phi, loss, active, x_T)
            best.count(active, len(timesteps))
            running = best.keep(active, x0.detach(), loss)
            if running and k < self.iterations:
                scale = energy.new_tensor([latents[b].loss_scale for b in active])
                # A sum over images, so that none changes the step of another.
                torch.autograd.backward((scale * energy).sum())
                for b in running:
                    latents[b].step()
                    if timesteps[0] == prior.schedule.T - 1:
                        to_sphere(latents[b].x_T)
            active = running
        return OptimizedLatent(best.x, steps.losses, best.nfe, best.stopped_by)

    @torch.no_grad()
    def _start(
        self, problem: Problem, x: Tensor, active: list[int], prior: Prior
    ) -> dict[int, _Latent]:
        """The latents of the active images, by their positions in the batch."""
        if not active:
            return {}
        if self.start == "inversion":
            timesteps = self.timesteps(prior.schedule)
            x_T = ddim_inversion(prior, x[active], timesteps, self.fixed_point_iterations)
        else:
            x_T = problem.select(active).noise()
        half = prior.compute_dtype == torch.float16
        return {b: _Latent(x_T[i : i + 1], self.lr, half) for i, b in enumerate(active)}


class _Latent:
    """The latent of one image, with an Adam of its own so that no image moves another.

    Args:
        x_T: `(1, 3, H, W)` latent to start from.
        lr: learning rate.
        half: whether the prior computes in float16, where small gradients underflow. The loss is
            then scaled up, and the scale is lowered where the gradients overflow instead.
    """

    def __init__(self, x_T: Tensor, lr: float, half: bool) -> None:
        self.x_T = x_T.clone().requires_grad_()
        self.loss_scale = 2.0**10 if half else 1.0
        self._adam = torch.optim.Adam([self.x_T], lr=lr, eps=ADAM_EPS)

    def step(self) -> None:
        """Take a step down the gradient of the scaled loss, unless it has overflowed."""
        gradient = self.x_T.grad
        assert gradient is not None
        if bool(gradient.isfinite().all()):
            gradient /= self.loss_scale
            self._adam.step()
        else:
            self.loss_scale /= 16
        self.x_T.grad = None


class _Best:
    """The best iterate of each image, and the account of how it came about.

    Args:
        x: `(B, 3, H, W)` images to start from.
        target: `(B,)` misfit at which an image stops.
    """

    def __init__(self, x: Tensor, target: Tensor) -> None:
        self.x, self._target = x.clone(), target
        self._misfit = torch.full_like(target, math.inf)
        self.nfe = [0] * len(x)
        self.stopped_by: list[StoppedBy] = ["iterations"] * len(x)

    def count(self, images: list[int], evaluations: int) -> None:
        """Count evaluations of the network that were spent on each of some images."""
        for b in images:
            self.nfe[b] += evaluations

    def keep(self, images: list[int], x: Tensor, misfit: Tensor) -> list[int]:
        """Keep the iterates that are better than all before, and return the images that go on."""
        going_on = []
        for i, b in enumerate(images):
            if misfit[i] < self._misfit[b]:
                self.x[b], self._misfit[b] = x[i], misfit[i]
            if self._misfit[b] <= self._target[b]:
                self.stopped_by[b] = "discrepancy"
            else:
                going_on.append(b)
        return going_on
