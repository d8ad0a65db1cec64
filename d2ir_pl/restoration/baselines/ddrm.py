"""DDRM: Denoising Diffusion Restoration Models (Kawar et al. 2022)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from d2ir_pl.degradations import Degradation, LinearDegradation, Phi
from d2ir_pl.degradations.base import is_linear, no_svd
from d2ir_pl.degradations.convolutional_blur import ConvolutionalBlur
from d2ir_pl.diffusion import Prior
from d2ir_pl.errors import naming, require
from d2ir_pl.operators.linear import per_image
from d2ir_pl.operators.svd import SVD
from d2ir_pl.restoration.base import RestorationMethod
from d2ir_pl.restoration.problem import Problem
from d2ir_pl.restoration.result import Restoration
from d2ir_pl.restoration.step import Observer, Steps


class DDRM(RestorationMethod):
    """Sampling in the basis of the degradation's singular vectors.

    With A = U diag(s) V^T known, c = V^T x and d = U^T y, each coefficient of the image is one of
    three kinds at each level sigma^2 = (1 - ab) / ab: unobserved (s = 0), observed with more noise
    than the level has (sigma < sigma_y / s), or with less; see `Spectrum.step`.

    An unknown phi stays what `Degradation.init` reads off the data. Unlike the publication, which
    starts at T - T / steps, the walk starts at the last timestep.

    Args:
        steps: number of network evaluations.
        eta: share in [0, 1] of the noise that is drawn afresh where y says little or nothing.
        eta_b: weight in [0, 1] of y against the prediction where y says more than the level.
        threshold: share in [0, 1) of the largest singular value, below which one counts as 0. The
            authors' program has 0.03 for blurs, whose singular values go down to rounding error.

    Raises:
        ValueError: for settings outside their range.

    Source: Kawar et al., Denoising Diffusion Restoration Models, 2022, eqs. 7 and 8.
    """

    def __init__(
        self, steps: int = 20, eta: float = 0.85, eta_b: float = 1.0, threshold: float = 0.03
    ) -> None:
        require("steps", steps, 1)
        require("eta", eta, 0, 1)
        require("eta_b", eta_b, 0, 1)
        require("threshold", threshold, 0, below=1)
        self.steps = steps
        self.eta = eta
        self.eta_b = eta_b
        self.threshold = threshold

    def check(self, degradation: Degradation, prior: Prior) -> None:
        require_svd(degradation)
        with naming("steps"):
            prior.schedule.timesteps(self.steps)

    @torch.no_grad()
    def solve(self, problem: Problem, prior: Prior, observer: Observer) -> Restoration:
        phi = problem.init()
        svd, d = decomposed(problem, phi)
        spectrum = Spectrum.of(svd, d, problem.sigma_y, self.threshold, self.eta, self.eta_b)
        timesteps = prior.schedule.timesteps(self.steps)
        c = spectrum.start(prior.schedule.sigma(timesteps[0]), svd.vt(problem.noise()))
        steps = Steps(observer, "estimation", self.steps, problem)
        for t, ab, ab_next in prior.schedule.walk(timesteps):
            x0 = prior.x0(math.sqrt(ab) * svd.v(c), t)
            sigma, sigma_next = (math.sqrt((1 - level) / level) for level in (ab, ab_next))
            c = spectrum.step(svd.vt(x0), c, sigma, sigma_next, svd.vt(problem.noise()))
            steps.report(x0, phi, problem.misfit(x0, phi))
        x = svd.v(c)
        return problem.result(x, phi, nfe=self.steps, stopped_by="steps", losses=steps.losses)


def require_svd(degradation: Degradation) -> None:
    """Refuse a degradation without singular values before there is an image.

    Raises:
        ValueError: where `LinearDegradation.svd` is certain to raise it for every image.
    """
    if not is_linear(degradation):
        raise no_svd(degradation)
    if isinstance(degradation, ConvolutionalBlur):
        # Its own kernel where that is known, and otherwise several that it may become.
        generators = [torch.Generator().manual_seed(seed) for seed in range(8)]
        phi = degradation.draw(generators, torch.zeros(1))
        degradation.svd(phi, degradation.frame.image_size((8, 8)))
    elif type(degradation).svd is LinearDegradation.svd:
        raise no_svd(degradation)


def decomposed(problem: Problem, phi: Phi) -> tuple[SVD, Tensor]:
    """The decomposition of a linear degradation, and U^T y.

    Args:
        problem: degraded images.
        phi: parameters.
    """
    assert is_linear(problem.degradation)
    svd = problem.degradation.svd(phi, problem.image_size)
    # The residual of a black image is y without the offset, and 0 where y says nothing.
    black = problem.y.new_zeros(len(problem), 3, *problem.image_size)
    return svd, svd.ut(problem.residual(black, phi))


@dataclass(frozen=True, eq=False)
class Spectrum:
    """The coefficients of degraded images in the basis of the singular vectors.

    Attributes:
        d: U^T y.
        s: singular values; they broadcast with d.
        sigma_y: noise of y; it broadcasts with d.
        eta: see `DDRM`.
        eta_b: see `DDRM`.
    """

    d: Tensor
    s: Tensor
    sigma_y: Tensor
    eta: float
    eta_b: float

    @classmethod
    def of(
        cls, svd: SVD, d: Tensor, sigma_y: Tensor, threshold: float, eta: float, eta_b: float
    ) -> Spectrum:
        """The spectrum without the singular values that say next to nothing.

        Args:
            svd: decomposition of the degradation.
            d: U^T y.
            sigma_y: `(B,)` noise of y.
            threshold: share of the largest singular value, below which one counts as 0.
            eta: see `DDRM`.
            eta_b: see `DDRM`.
        """
        largest = svd.s.amax((1, 2, 3), keepdim=True)
        s = torch.where(svd.s < threshold * largest, 0, svd.s)
        return cls(d, s, per_image(sigma_y), eta, eta_b)

    def start(self, sigma: float, noise: Tensor) -> Tensor:
        """Coefficients at the first level: d / s and the noise that it lacks, or noise alone.

        Args:
            sigma: standard deviation of the noise at the first level, for clean images of any
                scale.
            noise: standard normal, in the layout of d.

        Source: Kawar et al. 2022, eq. 7.
        """
        known = (self.s > 0) & (self.s * sigma >= self.sigma_y)
        safe = torch.where(known, self.s, 1)
        lacking = (sigma**2 - (self.sigma_y / safe) ** 2).clamp_min(0).sqrt()
        return torch.where(known, self.d / safe + lacking * noise, sigma * noise)

    def step(self, c0: Tensor, c: Tensor, sigma: float, sigma_next: float, noise: Tensor) -> Tensor:
        """Coefficients at the next level, each by its kind.

        s = 0:                c0 + sqrt(1 - eta^2) sigma' (c - c0) / sigma + eta sigma' n
        sigma' < sigma_y / s: c0 + sqrt(1 - eta^2) sigma' (d - s c0) / sigma_y + eta sigma' n
        otherwise:            (1 - eta_b) c0 + eta_b d / s
                              + sqrt(sigma'^2 - eta_b^2 sigma_y^2 / s^2) n

        Args:
            c0: V^T x_0|t.
            c: V^T x_t / sqrt(ab_t).
            sigma: standard deviation of the noise in c.
            sigma_next: standard deviation sigma' of the noise in the result.
            noise: standard normal n.

        Source: Kawar et al. 2022, eq. 8.
        """
        s, sigma_y = self.s, self.sigma_y
        fresh = self.eta * sigma_next * noise
        kept = math.sqrt(1 - self.eta**2) * sigma_next
        unobserved = c0 + kept * (c - c0) / sigma + fresh
        # Nothing is observed with more noise than a level where y has none.
        noisier = c0 + kept * (self.d - s * c0) / torch.where(sigma_y > 0, sigma_y, 1) + fresh
        safe = torch.where(s > 0, s, 1)
        lacking = (sigma_next**2 - (self.eta_b * sigma_y / safe) ** 2).clamp_min(0).sqrt()
        cleaner = (1 - self.eta_b) * c0 + self.eta_b * self.d / safe + lacking * noise
        observed = torch.where(s * sigma_next >= sigma_y, cleaner, noisier)
        return torch.where(s > 0, observed, unobserved)
