"""DDRM: Denoising Diffusion Restoration Models (Kawar et al. 2022)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from d2ir_pl.degradations import Degradation, LinearDegradation
from d2ir_pl.degradations.base import no_svd
from d2ir_pl.degradations.convolutional_blur import ConvolutionalBlur
from d2ir_pl.diffusion import Prior
from d2ir_pl.errors import naming
from d2ir_pl.operators.linear import per_image
from d2ir_pl.restoration.base import RestorationMethod
from d2ir_pl.restoration.problem import Problem
from d2ir_pl.restoration.result import Restoration
from d2ir_pl.restoration.step import Observer, Steps


class DDRM(RestorationMethod):
    """Sampling in the basis of the degradation's singular vectors.

    With A = U diag(s) V^T known, c = V^T x and d = U^T y, each coefficient of the image is one of
    three kinds at each level sigma^2 = (1 - ab) / ab: unobserved (s = 0), observed with more noise
    than the level has (sigma < sigma_y / s), or with less; see `spectral_step`.

    An unknown phi stays what `Degradation.init` reads off the data. Unlike the publication, which
    starts at T - T / steps, the walk starts at the last timestep.

    Args:
        steps: network evaluations.
        eta: share of the noise that is drawn afresh where y says little or nothing, in [0, 1].
        eta_b: weight of y against the prediction where y says more than the level, in [0, 1].
        threshold: singular values below this share of the largest count as 0, in [0, 1). That of
            the authors' program for blurs is 0.03; a blur has values down to rounding error.

    Raises:
        ValueError: for settings outside their range.

    Source: Kawar et al., Denoising Diffusion Restoration Models, 2022, eqs. 7 and 8.
    """

    def __init__(
        self, steps: int = 20, eta: float = 0.85, eta_b: float = 1.0, threshold: float = 0.03
    ) -> None:
        if not steps >= 1:
            raise ValueError(f"method.steps {steps} must be at least 1")
        for name, value in (("eta", eta), ("eta_b", eta_b)):
            if not 0 <= value <= 1:
                raise ValueError(f"method.{name} {value} must lie between 0 and 1")
        if not 0 <= threshold < 1:
            raise ValueError(f"method.threshold {threshold} must be at least 0 and below 1")
        self.steps = steps
        self.eta = eta
        self.eta_b = eta_b
        self.threshold = threshold

    def check(self, degradation: Degradation, prior: Prior) -> None:
        require_svd(degradation)
        with naming("method.steps"):
            prior.schedule.timesteps(self.steps)

    @torch.no_grad()
    def solve(self, problem: Problem, prior: Prior, observer: Observer) -> Restoration:
        phi = problem.init()
        size = problem.image_size
        assert isinstance(problem.degradation, LinearDegradation)
        svd = problem.degradation.svd(phi, size)
        s = torch.where(svd.s < self.threshold * svd.s.amax((1, 2, 3), keepdim=True), 0, svd.s)
        # The residual of a black image is y without the offset, and 0 where y says nothing.
        black = problem.y.new_zeros(len(problem), 3, *size)
        d = svd.ut(problem.residual(black, phi))
        sigma_y = per_image(problem.sigma_y)
        steps = Steps(observer, "estimation", self.steps, problem)
        timesteps = prior.schedule.timesteps(self.steps)
        start = prior.schedule.sigma(timesteps[0])
        c = spectral_start(d, s, sigma_y, start, svd.vt(problem.noise()))
        for t, ab, ab_next in prior.schedule.walk(timesteps):
            sigma, sigma_next = (math.sqrt((1 - level) / level) for level in (ab, ab_next))
            x0 = prior.x0(math.sqrt(ab) * svd.v(c), t)
            noise = svd.vt(problem.noise())
            c0 = svd.vt(x0)
            c = spectral_step(c0, c, d, s, sigma_y, sigma, sigma_next, noise, self.eta, self.eta_b)
            steps.report(x0, phi, problem.misfit(x0, phi))
        return problem.result(
            svd.v(c), phi, nfe=self.steps, stopped_by="steps", losses=steps.losses
        )


def require_svd(degradation: Degradation) -> None:
    """Raise the ValueError of `svd` before there is an image, where it is certain to come."""
    if not isinstance(degradation, LinearDegradation):
        raise no_svd(degradation)
    if isinstance(degradation, ConvolutionalBlur):
        # Its own kernel where that is known, and otherwise several that it may become.
        generators = [torch.Generator().manual_seed(seed) for seed in range(8)]
        phi = degradation.draw(generators, torch.zeros(1))
        degradation.svd(phi, degradation.frame.image_size((8, 8)))
    elif type(degradation).svd is LinearDegradation.svd:
        raise no_svd(degradation)


def spectral_start(d: Tensor, s: Tensor, sigma_y: Tensor, sigma: float, noise: Tensor) -> Tensor:
    """Coefficients at the first level: d / s and the noise that it lacks, or noise alone.

    Args:
        d: U^T y.
        s: singular values.
        sigma_y: noise of y; broadcasts with s.
        sigma: standard deviation of the noise at the first level, for clean images of any scale.
        noise: standard normal, in the layout of d.

    Source: Kawar et al. 2022, eq. 7.
    """
    known = (s > 0) & (s * sigma >= sigma_y)
    safe = torch.where(known, s, 1)
    lacking = (sigma**2 - (sigma_y / safe) ** 2).clamp_min(0).sqrt()
    return torch.where(known, d / safe + lacking * noise, sigma * noise)


def spectral_step(
    c0: Tensor,
    c: Tensor,
    d: Tensor,
    s: Tensor,
    sigma_y: Tensor,
    sigma: float,
    sigma_next: float,
    noise: Tensor,
    eta: float,
    eta_b: float,
) -> Tensor:
    """Coefficients at the next level, each by its kind:

        s = 0:                    c0 + sqrt(1 - eta^2) sigma' (c - c0) / sigma + eta sigma' n
        sigma' < sigma_y / s:     c0 + sqrt(1 - eta^2) sigma' (d - s c0) / sigma_y + eta sigma' n
        otherwise:                (1 - eta_b) c0 + eta_b d / s
                                  + sqrt(sigma'^2 - eta_b^2 sigma_y^2 / s^2) n

    Args:
        c0: V^T x_0|t.
        c: V^T x_t / sqrt(ab_t).
        d, s, sigma_y: see `spectral_start`.
        sigma: standard deviation of the noise in c.
        sigma_next: sigma', that in the result.
        noise: n, standard normal.
        eta, eta_b: see `DDRM`.

    Source: Kawar et al. 2022, eq. 8.
    """
    fresh = eta * sigma_next * noise
    kept = math.sqrt(1 - eta**2) * sigma_next
    unobserved = c0 + kept * (c - c0) / sigma + fresh
    # Nothing is observed with more noise than a level where y has none.
    noisier = c0 + kept * (d - s * c0) / torch.where(sigma_y > 0, sigma_y, 1) + fresh
    safe = torch.where(s > 0, s, 1)
    lacking = (sigma_next**2 - (eta_b * sigma_y / safe) ** 2).clamp_min(0).sqrt()
    cleaner = (1 - eta_b) * c0 + eta_b * d / safe + lacking * noise
    observed = torch.where(s * sigma_next >= sigma_y, cleaner, noisier)
    return torch.where(s > 0, observed, unobserved)
