"""Stage 1: estimate the degradation phi and the image along the reverse diffusion."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Generator, Tensor

from d2ir_pl.degradations import Degradation, Phi
from d2ir_pl.diffusion.prior import Prior
from d2ir_pl.diffusion.sampling import ancestral_sigma, ddim_step, predict_eps
from d2ir_pl.diffusion.schedule import Schedule, Spacing
from d2ir_pl.operators.linear import per_image
from d2ir_pl.randomness import normal_like
from d2ir_pl.restoration.data_step import data_step
from d2ir_pl.restoration.result import unexplained
from d2ir_pl.restoration.step import Observer, Step


@dataclass
class Estimate:
    """What stage 1 hands to stage 2.

    Attributes:
        x: images of the degradation's `frame.image_size`, `(B, 3, H, W)`, not cropped.
        phi: estimated parameters.
        losses: for each image, the residual of x_0|t at every step.
    """

    x: Tensor
    phi: Phi
    losses: list[list[float]]


@dataclass(frozen=True)
class DegradationEstimation:
    """Stage 1, sequential degradation estimation.

    For t from `start` down to 0:
        x_0|t = (x_t - sqrt(1 - ab_t) eps(x_t, t)) / sqrt(ab_t)
        phi <- `phi_steps` Adam steps on ||y - D_phi(x_0|t)||^2       (where t <= `phi_start`)
        proximal: x_0|t <- argmin_x ||y - D_phi(x)||^2 + rho_t ||x - x_0|t||^2,
                  rho_t = data_weight sigma_y^2 ab_t / (1 - ab_t), then new noise to the next level
        guidance: a DDPM step, minus guidance_scale grad_x_t ||y - D_phi(x_0|t)||

    With `temperature` 1 the walk ends near a sample of the posterior, whose squared error is twice
    that of the posterior mean. With little noise it is plug-and-play restoration (Zhang et al.,
    Plug-and-play image restoration with deep denoiser prior, 2021), ends nearer the mean, and
    needs fewer steps.

    Args:
        steps: network evaluations.
        start: first timestep. Below the last one, x_t starts as y plus noise.
        spacing: of the timesteps down to 0, `linear`, or `geometric` in their noise level.
        temperature: in [0, 1], factor of all noise that the walk draws.
        consistency: `proximal`, a conjugate-gradient step in x_0 space without a network
            backward (Zhu et al., DiffPIR, 2023), on D_phi linearised at x_0|t; or `guidance`, the
            gradient of the unsquared residual norm through the network (Chung et al., DPS, 2023).
        data_weight: lambda of rho_t.
        cg_iterations: conjugate-gradient iterations of a proximal step.
        renoise: zeta in [0, 1], share of the noise variance that is drawn afresh between
            proximal steps.
        guidance_scale: step of `guidance`.
        phi_steps: Adam steps on phi at every t; 0 keeps what the data showed at the start.
        phi_lr: their learning rate.
        phi_start: phi is left alone above this timestep, where x_0|t is too smooth to be blurred.
        phi_anchor: weight of the distance from the phi read off the data (`Degradation.anchor`),
            against a data term that is 1 where y is explained to the noise.

    Raises:
        ValueError: for settings outside their range.
    """

    steps: int = 8
    start: int = 120
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
        for name, low, high in (
            ("steps", 1, math.inf),
            ("start", 0, math.inf),
            ("temperature", 0, 1),
            ("data_weight", 1e-6, math.inf),
            ("cg_iterations", 1, math.inf),
            ("renoise", 0, 1),
            ("guidance_scale", 0, math.inf),
            ("phi_steps", 0, math.inf),
            ("phi_lr", 0, math.inf),
            ("phi_anchor", 0, math.inf),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                raise ValueError(f"estimation.{name} {value} must lie between {low} and {high}")

    def timesteps(self, schedule: Schedule) -> list[int]:
        """The timesteps of the walk; ValueError if the settings do not fit the schedule."""
        return schedule.timesteps(self.steps, min(self.start, schedule.T - 1), self.spacing)

    def __call__(
        self,
        y: Tensor,
        phi: Phi,
        degradation: Degradation,
        prior: Prior,
        sigma_y: Tensor,
        generators: Sequence[Generator],
        observer: Observer,
    ) -> Estimate:
        """Walk the reverse diffusion.

        Args:
            y: `(B, 3, h, w)`.
            phi: parameters at the start.
            degradation, prior, generators, observer: see `RestorationMethod.restore`.
            sigma_y: `(B,)`, positive.
        """
        timesteps = self.timesteps(prior.schedule)
        anchor = phi
        ab = prior.schedule.level(timesteps[0])
        guess = degradation.lift(y, phi)
        noise = self.temperature * normal_like(guess, generators)
        # At the last timestep nothing of y is left, and the walk starts from pure noise.
        last = timesteps[0] == prior.schedule.T - 1
        x_t = noise if last else math.sqrt(ab) * guess + math.sqrt(1 - ab) * noise
        losses: list[Tensor] = []
        x0 = guess
        for i, t in enumerate(timesteps):
            ab = prior.schedule.level(t)
            ab_next = prior.schedule.level(timesteps[i + 1]) if i + 1 < len(timesteps) else 1.0
            guided = self.consistency == "guidance"
            x_t = x_t.detach().requires_grad_(guided)
            with torch.set_grad_enabled(guided):
                prediction = prior.x0(x_t, t)
            if not guided:  # no gradient is needed, which clipping would cut
                prediction = prediction.clamp(-1, 1)
            if self.phi_steps and t <= self.phi_start and degradation.free(phi):
                phi = self._fit_phi(y, prediction.detach(), phi, anchor, degradation, sigma_y)
            if guided:
                loss, gradient = _guidance(y, prediction, x_t, phi, degradation)
                x0, descent = prediction.detach(), self.guidance_scale * gradient
                sigma = ancestral_sigma(ab, ab_next)
            else:
                x0, loss = self._proximal(y, prediction, phi, degradation, sigma_y, ab)
                descent = torch.zeros((), device=y.device)
                sigma = math.sqrt(self.renoise * (1 - ab_next))
            eps = predict_eps(x_t.detach(), x0, ab)
            noise = self.temperature * normal_like(x0, generators)
            x_t = ddim_step(x0, eps, ab_next, noise, sigma) - descent
            losses.append(loss)
            observer(
                Step(
                    "estimation",
                    i,
                    len(timesteps),
                    list(range(len(y))),
                    loss,
                    sigma_y,
                    partial(degradation.frame.crop, x0),
                    phi,
                )
            )
        return Estimate(x0, phi, torch.stack(losses, 1).tolist())

    def _proximal(
        self,
        y: Tensor,
        prediction: Tensor,
        phi: Phi,
        degradation: Degradation,
        sigma_y: Tensor,
        alpha_bar: float,
    ) -> tuple[Tensor, Tensor]:
        """The consistent x_0|t and its residual."""
        operator, residual = degradation.linearize(y, prediction, phi)
        rho = self.data_weight * per_image(sigma_y) ** 2 * alpha_bar / (1 - alpha_bar)
        x0, residual = data_step(operator, residual, prediction, rho, self.cg_iterations)
        return x0, unexplained(degradation, residual, phi)

    def _fit_phi(
        self,
        y: Tensor,
        x0: Tensor,
        phi: Phi,
        start: Phi,
        degradation: Degradation,
        sigma_y: Tensor,
    ) -> Phi:
        """Adam on the residual of x0, in units of the noise, plus the anchor."""
        free = phi.leaves(degradation.free(phi))
        optimizer = torch.optim.Adam(list(free.values()), lr=self.phi_lr)
        for _ in range(self.phi_steps):
            optimizer.zero_grad()
            with torch.enable_grad():
                now = phi.replace(**free)
                residual = degradation.residual(y, degradation(x0, now), now)
                loss = unexplained(degradation, residual, now) / sigma_y**2
                if self.phi_anchor:
                    loss = loss + self.phi_anchor * degradation.anchor(now, start)
                # A sum, not a mean: the step of one image does not depend on the others.
                total = loss.sum()
            total.backward()
            optimizer.step()
        return degradation.canonicalize(phi.replace(**free).detach())


def _guidance(
    y: Tensor, prediction: Tensor, x_t: Tensor, phi: Phi, degradation: Degradation
) -> tuple[Tensor, Tensor]:
    """The residual of x_0|t, and grad_x_t ||y - D_phi(x_0|t)|| for each image by the network."""
    with torch.enable_grad():
        residual = degradation.residual(y, degradation(prediction, phi), phi)
        norm = residual.flatten(1).norm(dim=1)
        # The gradient of a norm has unit length: scaled up, its entries are near 1 and do not
        # underflow where the network runs in half precision.
        scale = math.sqrt(y[0].numel())
        (gradient,) = torch.autograd.grad((scale * norm).sum(), x_t)
    return unexplained(degradation, residual.detach(), phi), gradient / scale
