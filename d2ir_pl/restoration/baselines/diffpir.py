"""DiffPIR: plug-and-play restoration along a diffusion (Zhu et al. 2023)."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from d2ir_pl.degradations import Degradation, LinearDegradation, Phi
from d2ir_pl.degradations.base import is_linear
from d2ir_pl.diffusion import Prior, Schedule, ddim_step, eps_from_x0
from d2ir_pl.errors import naming, require
from d2ir_pl.operators.linear import Size, per_image
from d2ir_pl.operators.svd import SVD
from d2ir_pl.restoration.base import RestorationMethod
from d2ir_pl.restoration.data_step import data_step
from d2ir_pl.restoration.problem import Problem
from d2ir_pl.restoration.result import Restoration
from d2ir_pl.restoration.step import Observer, Steps


class DiffPIR(RestorationMethod):
    """Denoise, make consistent with y and add noise, from pure noise down to the clean image.

        z     = x_0|t, clipped to [-1, 1]
        x_0   = argmin_x ||y - A x||^2 + rho_t ||x - z||^2,
        rho_t = lambda sigma_n^2 ab_t / (1 - ab_t)
        x_s   = sqrt(ab_s) x_0 + sqrt(1 - ab_s) (sqrt(1 - zeta) eps + sqrt(zeta) n)

    with s the next timestep and eps the noise that x_t contains if x_0 is its clean image. An
    unknown phi stays what `Degradation.init` reads off the data.

    x_0 has a closed form where the singular values of A are known (`LinearDegradation.svd`), and is
    found by conjugate gradients for other linear degradations.

    Args:
        steps: number of network evaluations.
        data_weight: weight lambda. sigma_n is the noise of y in [0, 1], half of `sigma_y`, as in
            the authors' program, so that their lambda carries over.
        zeta: share in [0, 1] of the noise variance that is drawn afresh.
        spacing: distance of the timesteps: `quadratic` for t = T (1 - sqrt(i / (steps - 1))), dense
            near the clean image, or `uniform`.
        cg_iterations: number of conjugate-gradient iterations of a data step without closed form.

    Raises:
        ValueError: for settings outside their range.

    Source: Zhu et al., Denoising Diffusion Models for Plug-and-Play Image Restoration, 2023,
    algorithm 1. lambda 7 and zeta 0.3 are those of their deblurring program.
    """

    def __init__(
        self,
        steps: int = 100,
        data_weight: float = 7.0,
        zeta: float = 0.3,
        spacing: Literal["quadratic", "uniform"] = "quadratic",
        cg_iterations: int = 20,
    ) -> None:
        require("steps", steps, 1)
        require("data_weight", data_weight, 1e-6)
        require("zeta", zeta, 0, 1)
        require("cg_iterations", cg_iterations, 1)
        if spacing not in ("quadratic", "uniform"):
            raise ValueError(f"spacing {spacing!r} must be 'quadratic' or 'uniform'")
        self.steps = steps
        self.data_weight = data_weight
        self.zeta = zeta
        self.spacing = spacing
        self.cg_iterations = cg_iterations

    def check(self, degradation: Degradation, prior: Prior) -> None:
        if not is_linear(degradation):
            raise ValueError(
                f"{type(degradation).__name__} is not linear in the image, as DiffPIR needs it: "
                f"use D2IR, DPS or GDP"
            )
        self.timesteps(prior.schedule)

    def timesteps(self, schedule: Schedule) -> list[int]:
        """The timesteps of the walk; ValueError if the settings do not fit the schedule."""
        with naming("steps"):
            uniform = schedule.timesteps(self.steps)
        if self.spacing == "uniform" or self.steps == 1:
            return uniform
        last = schedule.T - 1
        share = [math.sqrt(i / (self.steps - 1)) for i in range(self.steps)]
        timesteps = [round(last * (1 - u)) for u in share]
        if len(set(timesteps)) < self.steps:
            raise ValueError(
                f"steps {self.steps} in quadratic spacing repeat timesteps: use at most "
                f"{schedule.T // 2}, or spacing 'uniform'"
            )
        return timesteps

    @torch.no_grad()
    def solve(self, problem: Problem, prior: Prior, observer: Observer) -> Restoration:
        phi = problem.init()
        assert is_linear(problem.degradation)
        svd = known_svd(problem.degradation, phi, problem.image_size)
        x_t = problem.noise()
        steps = Steps(observer, "estimation", self.steps, problem)
        for t, ab, ab_next in prior.schedule.walk(self.timesteps(prior.schedule)):
            z = prior.x0(x_t, t).clamp(-1, 1)
            rho = self.data_weight * per_image(problem.sigma_y / 2) ** 2 * ab / (1 - ab)
            operator, residual = problem.linearize(z, phi)
            if svd is None:
                x0, residual = data_step(operator, residual, z, rho, self.cg_iterations)
            else:
                x0 = closed_form(svd, residual, z, rho)
                residual = problem.residual(x0, phi)
            eps = eps_from_x0(x_t, x0, ab)
            sigma = math.sqrt(self.zeta * (1 - ab_next))
            x_t = ddim_step(x0, eps, ab_next, problem.noise(), sigma)
            steps.report(x0, phi, problem.misfit_of(residual, phi))
        return problem.result(x_t, phi, nfe=self.steps, stopped_by="steps", losses=steps.losses)


def known_svd(degradation: LinearDegradation, phi: Phi, image_size: Size) -> SVD | None:
    """`degradation.svd`, or None where the decomposition is not known."""
    try:
        return degradation.svd(phi, image_size)
    except ValueError:
        return None


def closed_form(svd: SVD, residual: Tensor, z: Tensor, rho: Tensor) -> Tensor:
    """The minimum of ||y - D(x)||^2 + rho ||x - z||^2, z + V s / (s^2 + rho) U^T (y - D(z)).

    Args:
        svd: decomposition U, s and V of the linear part of D.
        residual: `(B, 3, h, w)` residual y - D(z).
        z: `(B, 3, H, W)` predictions.
        rho: `(B, 1, 1, 1)` weight of the prediction, positive.
    """
    return z + svd.v(svd.s / (svd.s**2 + rho) * svd.ut(residual))
