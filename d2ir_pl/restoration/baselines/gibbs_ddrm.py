"""GibbsDDRM: a partially collapsed Gibbs sampler of image and kernel (Murata et al. 2023)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from d2ir_pl.degradations import Blur, Degradation, Phi
from d2ir_pl.diffusion import Prior
from d2ir_pl.errors import naming, require
from d2ir_pl.estimators.spectrum import gaussian_covariance
from d2ir_pl.operators.kernels import gaussian_kernel
from d2ir_pl.operators.linear import per_image, size_of
from d2ir_pl.operators.svd import Circulant
from d2ir_pl.restoration.base import RestorationMethod
from d2ir_pl.restoration.baselines.ddrm import Spectrum
from d2ir_pl.restoration.baselines.kernel_langevin import KernelLangevin
from d2ir_pl.restoration.problem import Problem
from d2ir_pl.restoration.result import Restoration
from d2ir_pl.restoration.step import Observer, Steps


class GibbsDDRM(RestorationMethod):
    """Samples of the image and of a free blur kernel, in turn, along one diffusion.

    At each timestep, from the second part of the walk on:

    1. x_s ~ p(x_s | x_t, k, y), by the step of `DDRM` in the Fourier basis of the kernel.
    2. k ~ p(k | x_0|s, y), by Langevin dynamics under a Laplace prior, see `KernelLangevin`.
    3. x_s is drawn anew, with that kernel. 2 and 3 are repeated `rounds` times.

    The singular vectors of a kernel are known on a torus. With border `extend` it is as large as
    the image that is worked on, and what no pixel of the photo shows is drawn from k * x_0|t plus
    noise, as missing data. The kernel starts as the Gaussian that the power spectrum of y shows,
    and may have negative entries on the way, which the one that is returned lacks. A known kernel
    stays as it is, which leaves DDRM.

    Args:
        steps: number of timesteps. Each of the second part takes `rounds` more evaluations.
        rounds: number of times that the kernel is sampled at a timestep.
        kernel_start: share of the walk, counted from its end, in which the kernel is sampled. The
            prediction counts as the image then, so take less where a prior predicts it late.
        kernel_iterations: number of Langevin steps of each round.
        step_size: length of these steps, see `KernelLangevin`.
        sparsity: weight of the Laplace prior.
        eta: share in [0, 1] of the noise that is drawn afresh where y says little or nothing; the
            publication has 0.6 where y says little, and 0.8 where it says nothing.
        eta_b: weight in [0, 1] of y against the prediction where y says more than the level.
        threshold: share in [0, 1) of the largest singular value, below which one counts as 0.

    Raises:
        ValueError: for settings outside their range.

    Source: Murata, Saito, Lai, Takida, Uesaka, Mitsufuji and Ermon, GibbsDDRM: A Partially
    Collapsed Gibbs Sampler for Solving Blind Inverse Problems with Denoising Diffusion Restoration,
    2023, algorithm 1. The settings are those of their program for faces, but `step_size`, which
    they give in absolute terms.
    """

    step_sizes = ("step_size",)

    def __init__(
        self,
        steps: int = 100,
        rounds: int = 3,
        kernel_start: float = 0.7,
        kernel_iterations: int = 500,
        step_size: float = 0.5,
        sparsity: float = 1000.0,
        eta: float = 0.6,
        eta_b: float = 0.9,
        threshold: float = 0.05,
    ) -> None:
        require("steps", steps, 1)
        require("rounds", rounds, 1)
        require("kernel_start", kernel_start, 0, 1)
        require("eta", eta, 0, 1)
        require("eta_b", eta_b, 0, 1)
        require("threshold", threshold, 0, below=1)
        KernelLangevin(kernel_iterations, step_size, sparsity)  # which checks them
        self.steps = steps
        self.rounds = rounds
        self.kernel_start = kernel_start
        self.kernel_iterations = kernel_iterations
        self.step_size = step_size
        self.sparsity = sparsity
        self.eta = eta
        self.eta_b = eta_b
        self.threshold = threshold

    def check(self, degradation: Degradation, prior: Prior) -> None:
        if not isinstance(degradation, Blur):
            raise ValueError(
                f"GibbsDDRM estimates the kernel of a Blur, not a {type(degradation).__name__}: "
                f"use that degradation, or D2IR"
            )
        if degradation.border not in ("extend", "circular"):
            raise ValueError(
                f"GibbsDDRM works on a torus, which border {degradation.border!r} does not fit: "
                f"use border 'extend' or 'circular'"
            )
        with naming("steps"):
            prior.schedule.timesteps(self.steps)

    @torch.no_grad()
    def solve(self, problem: Problem, prior: Prior, observer: Observer) -> Restoration:
        degradation, schedule = problem.degradation, prior.schedule
        assert isinstance(degradation, Blur)
        torus = _Torus(problem, degradation)
        sample = KernelLangevin(self.kernel_iterations, self.step_size, self.sparsity)
        kernel = start(problem, degradation)
        shown = torus.shown(kernel, problem.lift(_phi(kernel)))
        first, svd = self._spectrum(problem, kernel, shown)
        timesteps = schedule.timesteps(self.steps)
        c = first.start(schedule.sigma(timesteps[0]), svd.vt(problem.noise()))
        x_t = svd.v(c)  # divided by sqrt(ab_t), as everywhere below
        steps = Steps(observer, "estimation", self.steps, problem)
        nfe = 0
        for i, (t, s) in enumerate(zip(timesteps, [*timesteps[1:], -1], strict=True)):
            x0 = prior.x0(math.sqrt(schedule.level(t)) * x_t, t)
            nfe += 1
            late = i >= round((1 - self.kernel_start) * self.steps)
            sampled = self.rounds if late and s >= 0 and degradation.estimated else 0
            for number in range(sampled + 1):
                if late:
                    shown = torus.shown(kernel, x0)
                x_s = self._step(
                    problem, kernel, shown, x0, x_t, schedule.sigma(t), schedule.sigma(s)
                )
                if number < sampled:
                    clean = prior.x0(math.sqrt(schedule.level(s)) * x_s, s)
                    nfe += 1
                    kernel = sample(shown, clean, kernel, problem.sigma_y, problem.generators)
            x_t = x_s
            phi = _phi(kernel)
            steps.report(x0, phi, problem.misfit(x0, phi))
        return problem.result(x_t, _phi(kernel), nfe=nfe, stopped_by="steps", losses=steps.losses)

    def _spectrum(
        self, problem: Problem, kernel: Tensor, shown: Tensor
    ) -> tuple[Spectrum, Circulant]:
        """The coefficients of blurred images on a torus, and their basis."""
        svd = Circulant(kernel, size_of(shown))
        settings = self.threshold, self.eta, self.eta_b
        return Spectrum.of(svd, svd.ut(shown), problem.sigma_y, *settings), svd

    def _step(
        self,
        problem: Problem,
        kernel: Tensor,
        shown: Tensor,
        x0: Tensor,
        x_t: Tensor,
        sigma: float,
        sigma_next: float,
    ) -> Tensor:
        """A sample of x_s / sqrt(ab_s), given x_t / sqrt(ab_t), the kernel and y."""
        spectrum, svd = self._spectrum(problem, kernel, shown)
        noise = svd.vt(problem.noise())
        return svd.v(spectrum.step(svd.vt(x0), svd.vt(x_t), sigma, sigma_next, noise))


class _Torus:
    """The photos on a torus of the size of x.

    Args:
        problem: blurred images.
        degradation: their blur.
    """

    def __init__(self, problem: Problem, degradation: Blur) -> None:
        self._problem = problem
        y, before = problem.y, degradation.frame.before
        inner = [slice(before, before + n) for n in size_of(y)]
        size = problem.image_size
        self._y = y.new_zeros(*y.shape[:2], *size)
        self._y[..., inner[0], inner[1]] = y
        self._seen = y.new_zeros(len(y), 1, *size)
        observed = 1.0 if problem.observed is None else problem.observed
        self._seen[..., inner[0], inner[1]] = observed
        self._whole = before == 0 and problem.observed is None

    def shown(self, kernel: Tensor, x: Tensor) -> Tensor:
        """What a blurred torus shows: the photo, and elsewhere a draw of k * x plus noise."""
        if self._whole:
            return self._y
        svd = Circulant(kernel, size_of(x))
        blurred = svd.v(svd.transfer * svd.vt(x))
        drawn = blurred + per_image(self._problem.sigma_y) * self._problem.noise()
        return torch.where(self._seen > 0, self._y, drawn)


def start(problem: Problem, degradation: Blur) -> Tensor:
    """The kernels `(B, k, k)` to start from: the known ones, or Gaussians."""
    if not degradation.estimated:
        return degradation.kernel(problem.init())
    covariance = gaussian_covariance(problem.y, problem.sigma_y, isotropic=False)
    return gaussian_kernel(covariance, degradation.kernel_size)


def _phi(kernel: Tensor) -> Phi:
    # Cleared entries stay zero to single precision. The closest kernel without negative entries is
    # less like the true one (docs/experiments.md).
    return Phi(logits=kernel.clamp_min(1e-12).log())
