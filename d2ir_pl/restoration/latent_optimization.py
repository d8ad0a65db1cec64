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

ADAM_BETAS = (0.9, 0.999)
"""Shares of its averages that Adam keeps from step to step (Kingma and Ba, 2015)."""
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
                x0 = ddim_chain(prior, latents.x_T, timesteps, self.gradient)
                residual = part.residual(x0, own_phi)
                energy = residual.square().flatten(1).sum(1)
            loss = part.misfit_of(residual.detach(), own_phi)
            steps.report(x0.detach(), own_phi, loss, active, latents.x_T)
            best.count(active, len(timesteps))
            running = best.keep(active, x0.detach(), loss)
            if running and k < self.iterations:
                # A sum over images, so that none changes the step of another.
                torch.autograd.backward((latents.loss_scale * energy).sum())
                latents.step()
                if timesteps[0] == prior.schedule.T - 1:
                    to_sphere(latents.x_T)
                latents.select([i for i, b in enumerate(active) if b in running])
            active = running
        return OptimizedLatent(best.x, steps.losses, best.nfe, best.stopped_by)

    @torch.no_grad()
    def _start(self, problem: Problem, x: Tensor, active: list[int], prior: Prior) -> _Latents:
        """The latents of the active images."""
        if not active:
            return _Latents(x[:0], self.lr, half=False)
        if self.start == "inversion":
            timesteps = self.timesteps(prior.schedule)
            x = x if len(active) == len(x) else x[active]
            x_T = ddim_inversion(prior, x, timesteps, self.fixed_point_iterations)
        else:
            x_T = problem.select(active).noise()
        return _Latents(x_T, self.lr, prior.compute_dtype == torch.float16)


class _Latents:
    """Latents with an Adam that keeps count for each image, so that no image moves another.

    Args:
        x_T: `(B, 3, H, W)` latents to start from.
        lr: learning rate.
        half: whether the prior computes in float16, where small gradients underflow. The loss of an
            image is then scaled up, and its scale is lowered where its gradients overflow instead.

    Attributes:
        x_T: the latents.
        loss_scale: `(B,)` factors of the losses whose gradient is taken.
    """

    def __init__(self, x_T: Tensor, lr: float, half: bool) -> None:
        self.x_T = x_T.clone().requires_grad_()
        self._lr, self._half = lr, half
        self.loss_scale = x_T.new_full((len(x_T),), 2.0**10 if half else 1.0)
        self._steps = x_T.new_zeros(len(x_T), 1, 1, 1)
        self._mean, self._square = torch.zeros_like(x_T), torch.zeros_like(x_T)

    @torch.no_grad()
    def step(self) -> None:
        """Take a step of Adam down the gradient of the scaled loss, unless that has overflowed."""
        gradient = self.x_T.grad
        assert gradient is not None
        self.x_T.grad = None
        if self._half:
            sound = gradient.isfinite().flatten(1).all(1)[:, None, None, None]
            gradient = torch.where(sound, gradient / self.loss_scale[:, None, None, None], 0)
            self.loss_scale = torch.where(sound.flatten(), self.loss_scale, self.loss_scale / 16)
        first, second = ADAM_BETAS
        mean = self._mean.lerp(gradient, 1 - first)
        square = torch.addcmul(second * self._square, gradient, gradient, value=1 - second)
        steps = self._steps + 1
        size = self._lr / (1 - first**steps)
        scale = (square.sqrt() / (1 - second**steps).sqrt()).add_(ADAM_EPS)
        moved = torch.addcdiv(self.x_T, -size * mean, scale)
        if self._half:
            mean, square = (
                torch.where(sound, mean, self._mean),
                torch.where(sound, square, self._square),
            )
            steps, moved = (
                torch.where(sound, steps, self._steps),
                torch.where(sound, moved, self.x_T),
            )
        self._mean, self._square, self._steps = mean, square, steps
        self.x_T.copy_(moved)

    def select(self, rows: list[int]) -> None:
        """Go on with some of the images."""
        if len(rows) == len(self.x_T):
            return
        x_T = self.x_T.detach()
        kept = [value[rows] for value in (x_T, self.loss_scale, self._steps, self._mean)]
        x_T, self.loss_scale, self._steps, self._mean = kept
        self._square = self._square[rows]
        self.x_T = x_T.requires_grad_()


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
        whole = len(images) == len(self.x)
        rows = slice(None) if whole else torch.tensor(images, device=x.device)
        before = self._misfit[rows]
        better = misfit < before
        self.x[rows] = torch.where(better[:, None, None, None], x, self.x[rows])
        self._misfit[rows] = misfit = torch.where(better, misfit, before)
        explained = (misfit <= self._target[rows]).tolist()
        for b, stop in zip(images, explained, strict=True):
            if stop:
                self.stopped_by[b] = "discrepancy"
        return [b for b, stop in zip(images, explained, strict=True) if not stop]
