"""PiGDM: Pseudoinverse-Guided Diffusion Models (Song et al. 2023)."""

from __future__ import annotations

import math

import torch

from d2ir_pl.degradations import Degradation
from d2ir_pl.degradations.base import is_linear
from d2ir_pl.diffusion import Prior, ancestral_sigma, ddim_step, eps_from_x0
from d2ir_pl.errors import naming, require
from d2ir_pl.operators.linear import per_image
from d2ir_pl.restoration.base import RestorationMethod
from d2ir_pl.restoration.baselines.diffpir import closed_form, known_svd
from d2ir_pl.restoration.data_step import data_step
from d2ir_pl.restoration.problem import Problem
from d2ir_pl.restoration.result import Restoration
from d2ir_pl.restoration.step import Observer, Steps


class PiGDM(RestorationMethod):
    """Guidance by the likelihood of y given x_t, with x_0 taken to be N(x_0|t, r_t^2) around it.

        g   = (d x_0|t / d x_t)^T A^T (A A^T + sigma_y^2 / r_t^2)^-1 (y - A x_0|t)
        x_s = DDIM(x_t, x_0|t, eta) + scale sqrt(ab_s ab_t) g,    r_t^2 = 1 - ab_t

    r_t^2 is the variance of x_0 given x_t for x_0 of unit variance, and g is r_t^2 times the
    gradient of log p(y | x_t). For sigma_y = 0, A^T (A A^T)^-1 is the pseudoinverse of A. The
    inverse has a closed form where the singular values of A are known, and is found by conjugate
    gradients for other linear degradations. The product with the Jacobian is a backward pass of the
    network, which has to fit into memory. x_0|t is clipped to [-1, 1].

    An unknown phi stays what `Degradation.init` reads off the data.

    Args:
        steps: number of network evaluations.
        scale: factor of the guidance, 1 in the publication.
        eta: share in [0, 1] of DDPM's noise that is drawn afresh at each step.
        cg_iterations: number of conjugate-gradient iterations of an inverse without closed form.

    Raises:
        ValueError: for settings outside their range.

    Source: Song, Vahdat, Mardani and Kautz, Pseudoinverse-Guided Diffusion Models for Inverse
    Problems, 2023, eq. 7 and algorithm 1; the factor sqrt(ab_s ab_t) is that of the authors'
    program, published with RED-diff.
    """

    step_sizes = ("scale",)
    through_network = True

    def __init__(
        self, steps: int = 100, scale: float = 1.0, eta: float = 1.0, cg_iterations: int = 20
    ) -> None:
        require("steps", steps, 1)
        require("scale", scale, 0)
        require("eta", eta, 0, 1)
        require("cg_iterations", cg_iterations, 1)
        self.steps = steps
        self.scale = scale
        self.eta = eta
        self.cg_iterations = cg_iterations

    def check(self, degradation: Degradation, prior: Prior) -> None:
        if not is_linear(degradation):
            raise ValueError(
                f"{type(degradation).__name__} is not linear in the image, as PiGDM needs it: "
                f"use D2IR, DPS, REDDiff or DAPS"
            )
        with naming("steps"):
            prior.schedule.timesteps(self.steps)

    @torch.no_grad()
    def solve(self, problem: Problem, prior: Prior, observer: Observer) -> Restoration:
        phi = problem.init()
        assert is_linear(problem.degradation)
        svd = None
        if problem.observed is None:  # whose weights the decomposition does not have
            svd = known_svd(problem.degradation, phi, problem.image_size)
        x_t = problem.noise()
        steps = Steps(observer, "estimation", self.steps, problem)
        for t, ab, ab_next in prior.schedule.walk(prior.schedule.timesteps(self.steps)):
            with torch.enable_grad():
                x_t = x_t.detach().requires_grad_()
                x0_graph = prior.x0(x_t, t).clamp(-1, 1)
            x0 = x0_graph.detach()
            operator, residual = problem.linearize(x0, phi)
            rho = per_image(problem.sigma_y) ** 2 / (1 - ab)
            if svd is None:
                nearer, _ = data_step(operator, residual, x0, rho, self.cg_iterations)
            else:
                nearer = closed_form(svd, residual, x0, rho)
            (guidance,) = torch.autograd.grad(x0_graph, x_t, nearer - x0)
            eps = eps_from_x0(x_t.detach(), x0, ab)
            sigma = self.eta * ancestral_sigma(ab, ab_next)
            x_t = ddim_step(x0, eps, ab_next, problem.noise(), sigma)
            x_t = x_t + self.scale * math.sqrt(ab * ab_next) * guidance
            steps.report(x0, phi, problem.misfit_of(residual, phi))
        return problem.result(x_t, phi, nfe=self.steps, stopped_by="steps", losses=steps.losses)
