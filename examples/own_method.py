"""A restoration method of one's own: regularisation by denoising. See docs/own_method.md."""

import math

import torch

from d2ir_pl.diffusion import Prior
from d2ir_pl.restoration import (
    Observer,
    Problem,
    Restoration,
    RestorationMethod,
    Steps,
    data_step,
    per_image,
)


class RED(RestorationMethod):
    """Denoise, make consistent with y, and again, until nothing changes.

    The result is a fixed point of

        x = argmin_x ||y - D_phi(x)||^2 + rho ||x - f(x)||^2,

    where f(x) is taken as constant inside. f is the prior's denoiser at one noise level: its x_0|t
    of sqrt(ab_t) x. Nothing is drawn, and phi stays what the degradation reads off the data.

    Args:
        steps: number of network evaluations.
        sigma: noise in [0, 1] that f takes for part of x.
        weight: weight of the denoiser: rho = weight (sigma_y / sigma)^2.

    Source: Romano, Elad and Milanfar, The little engine that could: regularization by denoising
    (RED), 2017: its fixed-point strategy.
    """

    def __init__(self, steps: int = 10, sigma: float = 0.02, weight: float = 0.5) -> None:
        if steps < 1 or not 0 < sigma < 1 or not weight > 0:
            raise ValueError(f"steps {steps}, sigma {sigma} and weight {weight} must be positive")
        self.steps, self.sigma, self.weight = steps, sigma, weight

    @torch.no_grad()
    def solve(self, problem: Problem, prior: Prior, observer: Observer) -> Restoration:
        phi = problem.init()
        x = problem.lift(phi)
        sigma = 2 * self.sigma  # images lie in [-1, 1]
        t = prior.schedule.nearest(sigma)
        scale = math.sqrt(prior.schedule.level(t))
        rho = self.weight * (per_image(problem.sigma_y) / sigma) ** 2
        steps = Steps(observer, "estimation", self.steps, problem)
        for _ in range(self.steps):
            z = prior.x0(scale * x, t)
            operator, residual = problem.linearize(z, phi)
            x, residual = data_step(operator, residual, z, rho, iterations=10)
            steps.report(x, phi, problem.misfit_of(residual, phi))
        return problem.result(x, phi, nfe=self.steps, stopped_by="steps", losses=steps.losses)
