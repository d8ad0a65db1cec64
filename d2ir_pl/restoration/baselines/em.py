"""Fast Diffusion EM: a blind deconvolution along one diffusion (Laroche et al. 2023)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from d2ir_pl.degradations import Blur, Degradation, Phi
from d2ir_pl.diffusion import Prior, ancestral_sigma, ddim_step, eps_from_x0
from d2ir_pl.diffusion.randomness import normal_like
from d2ir_pl.errors import naming, require
from d2ir_pl.operators.linear import per_image
from d2ir_pl.restoration.base import RestorationMethod
from d2ir_pl.restoration.baselines.kernel_step import KernelStep
from d2ir_pl.restoration.data_step import data_step
from d2ir_pl.restoration.problem import Problem
from d2ir_pl.restoration.result import Restoration
from d2ir_pl.restoration.step import Observer, Steps


class FastDiffusionEM(RestorationMethod):
    """Expectation maximisation for a free blur kernel, one round at each timestep.

    In the M-step k is the argmax of the posterior of the kernel given x_0|t, see `KernelStep`. In
    the E-step a few samples of the image, which share k, take a guided step of DDPM (PiGDM)::

        x_s = DDPM(x_t, x_0|t) + scale sqrt(ab_t / (1 + v)) (d x_0|t / d x_t)^T g,
        g = (A^T A + sigma_n^2 / r^2)^-1 A^T (y - A x_0|t),  r^2 = v / (1 + v),

    with v the variance of the DDPM step and sigma_n the noise of y in [0, 1], half of `sigma_y`, as
    in the authors' program. k starts as a point. The result is the mean of the samples. Unlike the
    publication:

    - the prior on the kernel is sparse and smooth instead of a network trained on kernels;
    - borders are those of the degradation instead of circular;
    - k is centred by whole pixels.

    A known kernel stays as it is, which leaves PiGDM.

    Args:
        steps: number of network evaluations of each sample, from T down to 0.
        samples: number of images that share one kernel. The published program walks one.
        scale: factor of the guidance; a quarter is the authors' 1 of images in [0, 1].
        sparsity: weight of the kernel's l1 norm.
        smoothness: weight of the squared differences of the kernel's neighbours.
        coupling: weight beta that holds the two halves of the splitting together.
        kernel_iterations: number of rounds of the splitting at each timestep.
        cg_iterations: number of conjugate-gradient iterations of the guidance.

    Raises:
        ValueError: for settings outside their range.

    Source: Laroche, Almansa and Coupete, Fast Diffusion EM, 2024, algorithm 2; guidance: Song et
    al., Pseudoinverse-guided diffusion models for inverse problems, 2023, algorithm 1.
    """

    step_sizes = ("scale",)
    through_network = True

    def __init__(
        self,
        steps: int = 100,
        samples: int = 1,
        scale: float = 0.25,
        sparsity: float = 100.0,
        smoothness: float = 1e4,
        coupling: float = 1e5,
        kernel_iterations: int = 10,
        cg_iterations: int = 5,
    ) -> None:
        require("steps", steps, 1)
        require("samples", samples, 1)
        require("scale", scale, 0)
        require("kernel_iterations", kernel_iterations, 1)
        require("cg_iterations", cg_iterations, 1)
        self.steps = steps
        self.samples = samples
        self.scale = scale
        self.sparsity = sparsity
        self.smoothness = smoothness
        self.coupling = coupling
        self.kernel_iterations = kernel_iterations
        self.cg_iterations = cg_iterations
        self.maximization = KernelStep(sparsity, smoothness, coupling, kernel_iterations)

    def check(self, degradation: Degradation, prior: Prior) -> None:
        if not isinstance(degradation, Blur):
            raise ValueError(
                f"FastDiffusionEM estimates the kernel of a Blur, not a "
                f"{type(degradation).__name__}: use that degradation, or D2IR"
            )
        with naming("steps"):
            prior.schedule.timesteps(self.steps)

    @torch.no_grad()
    def solve(self, problem: Problem, prior: Prior, observer: Observer) -> Restoration:
        degradation = problem.degradation
        assert isinstance(degradation, Blur)
        phi = _point(degradation, problem.y) if degradation.estimated else problem.init()
        # Samples of one image lie side by side: row b * n + j is sample j of image b.
        n = self.samples
        like = problem.y.new_empty(len(problem), n, 3, *problem.image_size)
        copies = problem.select([b for b in range(len(problem)) for _ in range(n)])
        x_t = normal_like(like, problem.generators).flatten(0, 1)
        steps = Steps(observer, "estimation", self.steps, problem)
        for t, ab, ab_next in prior.schedule.walk(prior.schedule.timesteps(self.steps)):
            with torch.enable_grad():
                x_t = x_t.detach().requires_grad_()
                x0_graph = prior.x0(x_t, t).clamp(-1, 1)
            x0 = x0_graph.detach()
            if degradation.estimated:
                kernel = self.maximization(problem, x0.view_as(like), phi)
                phi = degradation.canonicalize(_phi(kernel))
            sigma = ancestral_sigma(ab, ab_next)
            direction, loss = self._consistency(copies, x0, phi, sigma)
            (ascent,) = torch.autograd.grad(x0_graph, x_t, direction)
            eps = eps_from_x0(x_t.detach(), x0, ab)
            noise = normal_like(like, problem.generators).flatten(0, 1)
            x_t = ddim_step(x0, eps, ab_next, noise, sigma)
            x_t = x_t + self.scale * math.sqrt(ab / (1 + sigma**2)) * ascent
            mean = (x0 + direction).view_as(like).mean(1)
            steps.report(mean, phi, loss.view(-1, n).mean(1))
        x = x_t.view_as(like).mean(1)
        nfe = n * self.steps
        return problem.result(x, phi, nfe=nfe, stopped_by="steps", losses=steps.losses)

    def _consistency(
        self, copies: Problem, x0: Tensor, phi: Phi, sigma: float
    ) -> tuple[Tensor, Tensor]:
        """The direction g of every sample, and the misfit of its prediction."""
        phi = phi.repeat(self.samples)
        operator, residual = copies.linearize(x0, phi)
        # At the last step the guess is that of a vanishing variance: nothing is left to correct.
        r_squared = max(sigma**2 / (1 + sigma**2), 1e-8)
        rho = per_image(copies.sigma_y / 2) ** 2 / r_squared
        x, _ = data_step(operator, residual, x0, rho, self.cg_iterations)
        return x - x0, copies.misfit_of(residual, phi)


def _point(degradation: Blur, y: Tensor) -> Phi:
    """The kernel that leaves images as they are, for each image of y."""
    size = degradation.kernel_size
    kernel = y.new_zeros(len(y), size, size)
    kernel[:, size // 2, size // 2] = 1
    return _phi(kernel)


def _phi(kernel: Tensor) -> Phi:
    # Entries that the sparse prior has cleared stay zero to single precision.
    return Phi(logits=kernel.clamp_min(1e-12).log())
