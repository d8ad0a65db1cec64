"""RED-diff: a variational view of regularisation by denoising (Mardani et al. 2023)."""

from __future__ import annotations

import math

import torch

from d2ir_pl.degradations import Degradation
from d2ir_pl.diffusion import Prior
from d2ir_pl.errors import naming, require
from d2ir_pl.restoration.base import RestorationMethod
from d2ir_pl.restoration.problem import Problem, mean_square
from d2ir_pl.restoration.result import Restoration
from d2ir_pl.restoration.step import Observer, Steps


class REDDiff(RestorationMethod):
    """Stochastic optimisation of one image, regularised by a denoiser at falling levels of noise.

    At each timestep t, from T down to 0, Adam takes one step on the image mu along

        grad mean((y - D_phi(mu))^2) / 2 + regularization w_t (eps(x_t, t) - n) / N,
        x_t = sqrt(ab_t) mu + sqrt(1 - ab_t) n,    w_t = sqrt((1 - ab_t) / ab_t)

    with fresh noise n and N values of mu. The second term is the gradient of the distance of mu
    from the prior; it needs no derivative of the network. w_t is the inverse of the ratio of signal
    and noise. mu starts as the first guess that the degradation makes of y.

    sigma_y does not weigh the photo: `regularization` stands for it. An unknown phi stays what
    `Degradation.init` reads off the data.

    Args:
        steps: number of network evaluations, of which each is one step of Adam.
        lr: learning rate of Adam; its decay rates are 0.9 and 0.99.
        regularization: weight lambda of the prior.

    Raises:
        ValueError: for settings outside their range.

    Source: Mardani, Song, Kautz and Vahdat, A Variational Perspective on Solving Inverse Problems
    with Diffusion Models, 2023, algorithm 1. lr 0.1 and lambda 0.25 are those of their program,
    which takes 100 to 1000 steps.
    """

    step_sizes = ("lr",)

    def __init__(self, steps: int = 1000, lr: float = 0.1, regularization: float = 0.25) -> None:
        require("steps", steps, 1)
        require("lr", lr, above=0)
        require("regularization", regularization, 0)
        self.steps = steps
        self.lr = lr
        self.regularization = regularization

    def check(self, degradation: Degradation, prior: Prior) -> None:  # noqa: ARG002
        with naming("steps"):
            prior.schedule.timesteps(self.steps)

    @torch.no_grad()
    def solve(self, problem: Problem, prior: Prior, observer: Observer) -> Restoration:
        phi = problem.init()
        mu = problem.lift(phi).clone().requires_grad_()
        adam = torch.optim.Adam([mu], lr=self.lr, betas=(0.9, 0.99))
        steps = Steps(observer, "estimation", self.steps, problem)
        for t, ab, _ in prior.schedule.walk(prior.schedule.timesteps(self.steps)):
            with torch.enable_grad():
                residual = problem.residual(mu, phi)
                # A sum over images: the gradient of one does not depend on the others.
                (gradient,) = torch.autograd.grad((mean_square(residual) / 2).sum(), mu)
            steps.report(mu.detach().clone(), phi, problem.misfit_of(residual.detach(), phi))
            noise = problem.noise()
            eps = prior.eps(math.sqrt(ab) * mu.detach() + math.sqrt(1 - ab) * noise, t)
            weight = self.regularization * math.sqrt((1 - ab) / ab)
            mu.grad = gradient + weight / mu[0].numel() * (eps - noise)
            adam.step()
        x = mu.detach()
        return problem.result(x, phi, nfe=self.steps, stopped_by="steps", losses=steps.losses)
