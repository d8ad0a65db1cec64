"""Stage 1: estimate the degradation phi and the image along the reverse diffusion."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from d2ir_pl.degradations import Phi
from d2ir_pl.diffusion import (
    Level,
    Prior,
    Schedule,
    Spacing,
    Timestep,
    ancestral_sigma,
    ddim_step,
    eps_from_x0,
)
from d2ir_pl.diffusion.sampling import root
from d2ir_pl.diffusion.schedule import together
from d2ir_pl.errors import require
from d2ir_pl.operators.freed_memory import give_back
from d2ir_pl.operators.linear import per_image
from d2ir_pl.restoration.data_step import data_step
from d2ir_pl.restoration.guidance import norm_descent
from d2ir_pl.restoration.phi_fit import fit_phi
from d2ir_pl.restoration.problem import Problem
from d2ir_pl.restoration.result import Losses
from d2ir_pl.restoration.step import Observer, Steps
from d2ir_pl.restoration.walk_start import HIGHEST, starts


@dataclass
class Estimate:
    """The image and the degradation that stage 1 hands to stage 2.

    Attributes:
        x: `(B, 3, H, W)` images, not cropped.
        phi: estimated parameters.
        losses: misfit of each x_0|t.
    """

    x: Tensor
    phi: Phi
    losses: Losses


@dataclass(frozen=True)
class DegradationEstimation:
    """Stage 1, sequential degradation estimation.

    For t from `start` down to 0::

        x_0|t = (x_t - sqrt(1 - ab_t) eps(x_t, t)) / sqrt(ab_t)
        phi <- `phi_steps` Adam steps on ||y - D_phi(x_0|t)||^2       (where t <= `phi_start`)
        proximal: x_0|t <- argmin_x ||y - D_phi(x)||^2 + rho_t ||x - x_0|t||^2,
                  rho_t = data_weight sigma_y^2 ab_t / (1 - ab_t), then new noise to the next level
        guidance: a DDPM step, minus guidance_scale grad_x_t ||y - D_phi(x_0|t)||

    With `temperature` 1 the walk ends near a sample of the posterior, whose squared error is twice
    that of the posterior mean. With little noise it is plug-and-play restoration (Zhang et al.,
    Plug-and-play image restoration with deep denoiser prior, 2021): it ends nearer the mean, and
    needs fewer steps.

    Args:
        steps: number of network evaluations.
        start: first timestep. Below the last one, x_t starts as y plus noise. `auto` starts each
            blurred photo by what the blur took from it (`walk_start.py`), others at 120.
        spacing: distance of the timesteps down to 0: `linear`, or `geometric` in their noise level.
        temperature: factor in [0, 1] of all noise that the walk draws.
        consistency: step that holds x_0|t to y. `proximal` takes conjugate gradients on D_phi
            linearised at x_0|t, without a backward pass of the network (Zhu et al., DiffPIR,
            2023); `guidance` takes the gradient of the unsquared norm of the residual through the
            network (Chung et al., DPS, 2023).
        data_weight: weight lambda of rho_t.
        cg_iterations: number of conjugate-gradient iterations of a proximal step, at most.
        renoise: share zeta in [0, 1] of the noise variance that is drawn afresh between proximal
            steps.
        guidance_scale: factor of the gradient of `guidance`.
        phi_steps: number of Adam steps on phi at every t; 0 keeps what was read off the data.
        phi_lr: learning rate of these steps.
        phi_start: timestep above which phi is left alone, because x_0|t is too smooth there to
            tell how it was blurred. Nor does the first x_0|t tell, if the walk starts from y: it
            is y without noise, as blurred as y.
        phi_anchor: weight of the distance from the phi read off the data (`Degradation.anchor`),
            against a data term that is 1 where y is explained to the noise.

    Raises:
        ValueError: for settings outside their range.
    """

    steps: int = 8
    start: int | Literal["auto"] = 120
    spacing: Spacing = "geometric"
    temperature: float = 0.3
    consistency: Literal["proximal", "guidance"] = "proximal"
    data_weight: float = 0.5
    cg_iterations: int = 10
    renoise: float = 1.0
    guidance_scale: float = 1.0
    phi_steps: int = 3
    phi_lr: float = 1e-2
    phi_start: int = 100
    phi_anchor: float = 0.05

    def __post_init__(self) -> None:
        require("steps", self.steps, 1)
        if isinstance(self.start, str):
            if self.start != "auto":
                raise ValueError(f"start {self.start!r} must be 'auto' or a timestep, such as 120")
        else:
            require("start", self.start, 0)
        require("temperature", self.temperature, 0, 1)
        require("data_weight", self.data_weight, 1e-6)
        require("cg_iterations", self.cg_iterations, 1)
        require("renoise", self.renoise, 0, 1)
        require("guidance_scale", self.guidance_scale, 0)
        require("phi_steps", self.phi_steps, 0)
        require("phi_lr", self.phi_lr, 0)
        require("phi_anchor", self.phi_anchor, 0)

    def timesteps(self, schedule: Schedule) -> list[int]:
        """The timesteps of the walk; ValueError if the settings do not fit the schedule."""
        return self._from(HIGHEST if isinstance(self.start, str) else self.start, schedule)

    def _from(self, start: int, schedule: Schedule) -> list[int]:
        """Those of the walk from some timestep."""
        return schedule.timesteps(self.steps, min(start, schedule.T - 1), self.spacing)

    def __call__(self, problem: Problem, phi: Phi, prior: Prior, observer: Observer) -> Estimate:
        """Walk the reverse diffusion.

        Args:
            problem: degraded images. sigma_y counts all that phi and x cannot explain.
            phi: parameters read off the data, where the estimate starts and is anchored.
            prior: diffusion prior.
            observer: function that is told of every step.
        """
        schedule = prior.schedule
        walks = self._of_each(problem, phi, schedule)
        timesteps = together(walks, problem.y.device)
        steps = Steps(observer, "estimation", self.steps, problem)
        guided, from_noise = self.consistency == "guidance", walks[0][0] == schedule.T - 1
        first = phi
        grey, noise = _known(problem, guided)
        x_t = self._start(problem, phi, schedule, timesteps[0], grey)
        for i, (t, ab, ab_next) in enumerate(schedule.walk(timesteps)):
            now = [walk[i] for walk in walks]
            x0 = x_t = x_t.detach().requires_grad_(guided)  # no x_0|t is held meanwhile
            with torch.set_grad_enabled(guided):
                prediction = prior.x0(x_t, t)
            if not guided:  # no gradient is needed, which clipping would cut
                prediction = _without_colour(prediction.clamp_(-1, 1), grey)
            x0 = prediction.detach()
            give_back(x0)
            if min(now) <= self.phi_start and (i or from_noise):
                fitted = self._fit_phi(problem, x0, phi, first)
                phi = fitted if isinstance(t, int) else fitted.where(t <= self.phi_start, phi)
            if guided:
                descent, loss = norm_descent(problem, prediction, x_t, phi, self.guidance_scale)
                sigma = ancestral_sigma(ab, ab_next)
            else:
                least = float(self._rho(schedule.alpha_bar[now], noise).min())
                x0, loss = self._proximal(problem, x0, phi, ab, least)
                sigma = root(self.renoise * (1 - ab_next))
            del prediction  # a large photo fills the memory
            x_t = eps_from_x0(x_t.detach(), x0, ab)
            x_t = ddim_step(x0, x_t, ab_next, self._noise(problem, grey), sigma)
            if guided:
                x_t = x_t - descent
            steps.report(x0, phi, loss)
            give_back(x0)
        return Estimate(x0, phi, steps.losses)

    def _of_each(self, problem: Problem, phi: Phi, schedule: Schedule) -> list[list[int]]:
        """The timesteps of the walk of each photo."""
        if isinstance(self.start, str):
            found = starts(problem, phi, schedule, self.steps)
        else:
            found = [self.start] * len(problem)
        walks = {start: self._from(start, schedule) for start in {*found}}
        return [walks[start] for start in found]

    def _noise(self, problem: Problem, grey: Tensor | None) -> Tensor:
        """The noise that the walk draws.

        What a grey photo leaves uncertain is grey, and no noise that the network has seen. With
        colours of full strength it is, and they are gone with the mean of the channels.
        """
        noise = problem.noise()
        if grey is None:
            return self.temperature * noise
        return torch.where(per_image(grey), self._tinted(noise), self.temperature * noise)

    def _tinted(self, noise: Tensor) -> Tensor:
        """Noise whose grey part alone has the temperature of the walk."""
        return noise - (1 - self.temperature) * noise.mean(1, keepdim=True)

    def _start(
        self, problem: Problem, phi: Phi, schedule: Schedule, t: Timestep, grey: Tensor | None
    ) -> Tensor:
        """The state x_t at the first timestep: y lifted to the size of x, and noise."""
        noise = self._noise(problem, grey)
        if isinstance(t, int) and t == schedule.T - 1:  # nothing of y is left at this level
            return noise
        return ddim_step(problem.lift(phi), noise, schedule.level(t))

    def _proximal(
        self, problem: Problem, prediction: Tensor, phi: Phi, alpha_bar: Level, least: float
    ) -> tuple[Tensor, Tensor]:
        """The x_0|t that is consistent with y, and its misfit; no rho is below the least."""
        operator, residual = problem.linearize(prediction, phi)
        rho = self._rho(alpha_bar, per_image(problem.sigma_of(residual))).to(residual)
        x0, residual = data_step(operator, residual, prediction, rho, self.cg_iterations, least)
        return x0, problem.misfit_of(residual, phi)

    def _rho(self, alpha_bar: Level, sigma_y: Tensor) -> Tensor:
        """The weight of the prediction, against data with this noise."""
        return self.data_weight * alpha_bar / (1 - alpha_bar) * sigma_y**2

    def _fit_phi(self, problem: Problem, x0: Tensor, phi: Phi, first: Phi) -> Phi:
        """Take Adam steps on the misfit of x0, in units of the noise, anchored at the first phi."""
        return fit_phi(problem, x0, phi, first, self.phi_steps, self.phi_lr, self.phi_anchor)


def _known(problem: Problem, guided: bool) -> tuple[Tensor | None, Tensor]:
    """Which images are grey, None if none is or it does not matter, and the noise of each.

    A device is waited for once for both, and not in the steps.
    """
    grey = problem.grey & (not guided)
    sigma = problem.sigma_of(problem.y)
    values = torch.cat([grey.any().to(sigma)[None], sigma]).cpu().double()
    return grey if values[0] else None, values[1:]


def _without_colour(x: Tensor, grey: Tensor | None) -> Tensor:
    """The images, those that are grey with the mean of their channels in each of them."""
    if grey is None:
        return x
    return torch.where(per_image(grey), x.mean(1, keepdim=True), x)
