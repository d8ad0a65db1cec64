"""The shape of the noise of blurred photos.

JPEG, cameras, phones and enlarging leave noise that is weak where its level is read, in the finest
band, and strong at lower frequencies. A walk that takes it for white noise of that level inverts
the rest as if it were detail. What a blur does not pass is noise alone, and shows which kind it is.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from d2ir_pl.degradations.convolutional_blur import ConvolutionalBlur
from d2ir_pl.estimators.noise_level import MIN_SIGMA, is_grey
from d2ir_pl.estimators.noise_reading import read_spectrum
from d2ir_pl.estimators.noise_spectrum import NoiseSpectrum
from d2ir_pl.estimators.noise_whiteness import (
    COLOURED,
    HINT,
    NOTHING,
    noise_alone,
    unevenness,
)
from d2ir_pl.operators.convolution import transfer_function
from d2ir_pl.operators.noise_shape import NoiseShape
from d2ir_pl.restoration.part_problem import PartProblem
from d2ir_pl.restoration.problem import Problem

MOST_PASSED = 0.5
"""Share of the frequencies that an estimated blur may pass where it is believed to have been there:
that of a Gaussian of 1.15 pixels. Sharp photos full of texture pass for narrower ones once noise as
strong as their texture is assumed (docs/experiments.md)."""


def with_noise_read(problem: Problem) -> Problem:
    """The problem with the level and the shape of noise that is seen not to be white.

    A photo is left as it is if its noise was told, if its finest frequencies are even, or if its
    blur passes too much to tell noise from detail. The blur is read off the photo under the
    assumption that the noise has the shape that is judged.

    Args:
        problem: degraded images.
    """
    if isinstance(problem, PartProblem):
        read = with_noise_read(problem.photos)
        return replace(problem, sigma_y=read.sigma_y, shape=read.shape, photos=read)
    degradation = problem.degradation
    blurred = isinstance(degradation, ConvolutionalBlur) and problem.y.ndim == 4
    if not (blurred and problem.estimated):
        return problem
    photos = problem.y.cpu().split(1)  # a device is waited for once
    seen = [None] * len(problem) if problem.observed is None else problem.observed.split(1)
    suspects = [
        _spectrum(y, observed) if unevenness(y) >= HINT else None
        for y, observed in zip(photos, seen, strict=True)
    ]
    if all(spectrum is None for spectrum in suspects):
        return problem
    assert isinstance(degradation, ConvolutionalBlur)
    phi = _with(problem, suspects).init()
    passed = transfer_function(degradation.kernel(phi), problem.observed_size)[:, 0].abs().cpu()
    least = 1 - MOST_PASSED if degradation.free(phi) else 0.0
    for b, (y, own, sigma) in enumerate(zip(photos, passed, problem.sigma_y.cpu(), strict=True)):
        blocked = float((own < NOTHING).float().mean())
        if blocked < least or unevenness(y, noise_alone(y, own, sigma)) < COLOURED:
            suspects[b] = None
    return problem if all(s is None for s in suspects) else _with(problem, suspects)


def _spectrum(y: Tensor, observed: Tensor | None) -> NoiseSpectrum | None:
    """The spectrum of the noise of one photo."""
    spectrum = read_spectrum(y, camera=False, observed=observed)
    if spectrum is None:
        return None
    power = spectrum.to(y).power.clamp_min(MIN_SIGMA**2)
    if is_grey(y).item():  # one noise in three channels, of which the luminance has all
        power = (power[:1] / 3).expand_as(power)
    return NoiseSpectrum(power)


def _with(problem: Problem, spectra: list[NoiseSpectrum | None]) -> Problem:
    """The problem with noise of these spectra, and white noise as before where there is None.

    Where less is found than was assumed, as of files whose codec is known to hide its error in the
    detail of a photo, the rest stays as white noise.
    """
    sigma = problem.sigma_y.tolist()
    shapes: list[NoiseShape | None] = [None] * len(problem)
    for b, spectrum in enumerate(spectra):
        if spectrum is not None:
            sigma[b] = spectrum.sigma(*problem.observed_size)
            shapes[b] = NoiseShape((spectrum.power[None] / sigma[b] ** 2).to(problem.y))
    found: Tensor = torch.tensor(sigma).to(problem.sigma_y)
    shaped = replace(problem, sigma_y=found, shape=NoiseShape.join(shapes))
    return shaped.assuming(torch.maximum(found, problem.sigma_y))
