"""Denoising of photos whose noise is not white, as that of cameras."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from d2ir_pl.diffusion import Prior
from d2ir_pl.errors import require
from d2ir_pl.estimators.jpeg_blur import before_jpeg
from d2ir_pl.estimators.jpeg_tables import estimate_quality
from d2ir_pl.estimators.noise_curve import NoiseCurve, noise_curve
from d2ir_pl.estimators.noise_level import is_grey, luminance_sigma
from d2ir_pl.estimators.noise_reading import read_spectrum
from d2ir_pl.estimators.noise_spectrum import (
    NoiseSpectrum,
    complement,
    enlarge,
    reduce_half,
)
from d2ir_pl.estimators.observed_pixels import hide
from d2ir_pl.operators.jpeg_transform import standard_tables
from d2ir_pl.operators.linear import size_of
from d2ir_pl.restoration.posterior_mean import PosteriorMean
from d2ir_pl.restoration.problem import Problem

# Chosen on simulated camera photos (docs/experiments.md), as a share of `NoiseSpectrum.level`.
COARSE, FINE = 0.5, 0.7
"""Noise at half the size, and then at the full size, that the prior is told."""
PAIRS = 2
"""Pairs of opposite noise whose results are averaged."""
CLEANED = 0.7
"""Share of the power that the result at half the size lacks of the noise below `REACH`."""
REACH = (0.12, 0.25)
"""Frequencies in cycles a pixel up to which the half size changes a photo wholly, and at all."""
JPEG = 95
"""Quality below which a photo's rounded coefficients tell the noise before the compression."""
HIDDEN = 1.5
"""Noise before the compression, in units of that in the finest band, that the latter hides."""


class BlindDenoising(PosteriorMean):
    """The posterior mean under noise that is white or not, as the photo shows.

    The noise of cameras, of noisy JPEGs and of enlarged photos is strong at low frequencies and
    weak in the finest band. A prior that is told the level of that band keeps the rest as detail;
    one that is told more removes detail that its input shows without noise. So the noise that is
    missing is added first: with P(f) the power of the photo's noise, the mean over draws

        x = mean_i E[x | y + n_i + (noise of the photo) = white noise of s],
        n_i of the power max(0, s^2 - P(f)),

    where n_i comes in pairs of n and -n, whose errors cancel to first order, and each pair sees the
    photo turned another way. It is done at half the size first, where coarse noise is whiter and
    its neighbourhood larger, and then at the full size for what is left. Where the luminance is
    white and only the colours lack noise, because the channels share theirs, s is the level of the
    former, and the full size alone is enough.

    Where P is flat, or the noise is told (`sigma_y`), it is white, and this is `PosteriorMean`. The
    noise of light is independent from pixel to pixel too, and stronger where the photo is brighter:
    it is made even first, by the generalized Anscombe transform of the curve that the photo shows
    (`NoiseCurve`).

    Args:
        share: amplitude of the noise that is removed, in units of what the photo shows; less than 1
            where texture may have been taken for noise. Told noise is removed as told.

    Raises:
        ValueError: if the share is not positive, or above 1.

    Source: Lebrun, Colom and Morel, Multiscale image blind denoising, 2015, for the scales.
    """

    def __init__(self, share: float = 1.0) -> None:
        require("share", share, high=1, above=0, remedy="such as 0.5")
        self.share = share

    def read(self, problem: Problem) -> None:
        super().read(problem)
        for b in range(len(problem)) if problem.estimated else ():
            own = problem.select([b])
            if _noise_of(own) is None:
                _curve_of(own)

    def mean_of(self, problem: Problem, prior: Prior, grey: bool) -> tuple[Tensor, Tensor, int]:
        spectrum = _noise_of(problem) if problem.estimated else None
        if spectrum is None:
            return self._mean_under_white(problem, prior, grey)
        spectrum = spectrum.to(problem.y).scaled(self.share)
        meter, x = _Meter(prior, problem.y), problem.y
        power = spectrum.on_grid(*x.shape[-2:])
        if spectrum.shared:
            x = _mean_of_draws(x, power, spectrum.level, problem, meter)
        else:
            small, coarse = reduce_half(x), spectrum.halved()
            own = coarse.on_grid(*small.shape[-2:])
            restored = _mean_of_draws(small, own, COARSE * spectrum.level, problem, meter)
            x = x + enlarge(restored - small, x)
            left = 1 - CLEANED * _below(REACH, power, x)
            x = _mean_of_draws(x, left * power, FINE * spectrum.level, problem, meter)
        if grey:
            x = x.mean(1, keepdim=True).expand_as(x)
        sigma_y = torch.full_like(problem.sigma_y, spectrum.sigma(*x.shape[-2:]))
        return x, torch.maximum(self.share * problem.sigma_y, sigma_y), meter.nfe

    def _mean_under_white(
        self, problem: Problem, prior: Prior, grey: bool
    ) -> tuple[Tensor, Tensor, int]:
        """`mean_of` under noise that is independent from pixel to pixel."""
        if not problem.estimated:
            return super().mean_of(problem, prior, grey)
        curve, sigma_y = _curve_of(problem), self.share * problem.sigma_y
        if curve is None:
            return super().mean_of(replace(problem, sigma_y=sigma_y), prior, grey)
        y = curve.stabilize(problem.y)
        even = torch.full_like(sigma_y, self.share * curve.stabilized_sigma)
        x, _, nfe = super().mean_of(replace(problem, y=y, sigma_y=even), prior, grey)
        return curve.unstabilize(x), sigma_y.new_full((1,), curve.sigma_of(problem.y)), nfe


def _curve_of(problem: Problem) -> NoiseCurve | None:
    """How the noise of a photo depends on its brightness, where it does."""
    shown = problem.shown
    y = shown.y if shown.observed is None else hide(shown.y, shown.observed)
    return noise_curve(y)


def _noise_of(problem: Problem) -> NoiseSpectrum | None:
    """The spectrum of a photo's noise where it is not white, or where a JPEG hides its level."""
    y, sigma = problem.shown.y, float(problem.sigma_y)
    spectrum = read_spectrum(y)
    if spectrum is None or spectrum.coloured:
        return spectrum
    if spectrum.shared and not bool(is_grey(y)):
        return spectrum.scaled(float(luminance_sigma(y)) / spectrum.level)
    quality = estimate_quality(y[0])
    if quality >= JPEG:
        return None
    found = before_jpeg(y[0], standard_tables(torch.tensor(quality))[0])
    # The luminance of an orthonormal transform has the noise of a channel, if those of the channels
    # are independent, and the one that JPEG stores has a mean of theirs.
    before = 2 / 255 * found.noise * (1.0 if is_grey(y).item() else math.sqrt(3))
    if before < HIDDEN * sigma:
        return None
    return spectrum.scaled(min(1.0, before / spectrum.level))


def _mean_of_draws(
    y: Tensor, power: Tensor, sigma: float, problem: Problem, meter: _Meter
) -> Tensor:
    """The mean over draws of what the prior makes of y with the missing noise.

    Args:
        y: `(1, 3, h, w)` photo.
        power: `(3, h, w // 2 + 1)` power of its noise.
        sigma: standard deviation of the noise that the prior is told.
        problem: the photo's problem, whose generator draws.
        meter: the prior.
    """
    sigma, total = meter.nearest(sigma), torch.zeros_like(y)
    for pair in range(PAIRS):
        noise = complement(power, sigma, _drawn(problem, y))
        for signed in (noise, -noise):
            total += _turned_back(meter(_turned(y + signed, pair), sigma), pair)
    return total / (2 * PAIRS)


def _drawn(problem: Problem, y: Tensor) -> Tensor:
    return problem.noise() if size_of(y) == problem.image_size else problem.normal(size_of(y))


class _Meter:
    """The prior as a remover of white noise, which counts what it sees.

    Args:
        prior: diffusion prior.
        y: photo, whose size is one evaluation.
    """

    def __init__(self, prior: Prior, y: Tensor) -> None:
        self._prior = prior
        self._photo = y.shape[-2] * y.shape[-1]
        self._pixels = 0

    @property
    def nfe(self) -> int:
        """Evaluations of whole photos so far: four of half the size count as one."""
        return math.ceil(self._pixels / self._photo)

    def nearest(self, sigma: float) -> float:
        """The standard deviation of a timestep that is nearest to one."""
        schedule = self._prior.schedule
        return schedule.sigma(schedule.nearest(sigma))

    def __call__(self, y: Tensor, sigma: float) -> Tensor:
        self._pixels += y.shape[-2] * y.shape[-1]
        t = self._prior.schedule.nearest(sigma)
        return self._prior.x0(math.sqrt(self._prior.schedule.level(t)) * y, t)


def _below(reach: tuple[float, float], power: Tensor, x: Tensor) -> Tensor:
    """`(h, w // 2 + 1)` weights that fall from 1 to 0 between two frequencies."""
    height, width = x.shape[-2:]
    radius = torch.hypot(torch.fft.fftfreq(height)[:, None], torch.fft.rfftfreq(width))
    return ((reach[1] - radius) / (reach[1] - reach[0])).clamp(0, 1).to(power)


def _turned(x: Tensor, way: int) -> Tensor:
    return x.flip(-1).mT if way % 2 else x


def _turned_back(x: Tensor, way: int) -> Tensor:
    return x.mT.flip(-1) if way % 2 else x
