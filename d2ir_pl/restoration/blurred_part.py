"""What came first of all that happened to a photo, where that is a blur, and what came last."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from d2ir_pl.degradations import Compose, Degradation, Identity, Jpeg, Phi
from d2ir_pl.degradations.convolutional_blur import ConvolutionalBlur
from d2ir_pl.restoration.problem import Problem

UNEXPLAINED = 0.5
"""Share of the rounding of a JPEG that the image of the right kernel leaves unexplained."""


def last_of(degradation: Degradation) -> Degradation:
    """A degradation, or the last of several."""
    return degradation.parts[-1] if isinstance(degradation, Compose) else degradation


def keeps_places(degradation: Degradation) -> bool:
    """Whether what follows the first of several degradations leaves pixels where they are."""
    later = degradation.parts[1:] if isinstance(degradation, Compose) else []
    return all(part.frame == Identity().frame for part in later)


def blur_of(degradation: Degradation, phi: Phi) -> tuple[ConvolutionalBlur, Phi] | None:
    """A blur by kernels, or the first of several degradations that is one, and its parameters.

    Returns:
        None where there is none, or where pixels are no longer where it has left them.
    """
    first, own = degradation, phi
    if isinstance(degradation, Compose):
        first, own = degradation.split(phi)[0]
    if not isinstance(first, ConvolutionalBlur) or not keeps_places(degradation):
        return None
    return first, own


def rounding(problem: Problem) -> Tensor:
    """By how much the rounding r of a JPEG exceeds the noise n before it: sqrt(r^2 - n^2).

    Where the noise is larger, coefficients are as uncertain as the values of other photos.

    Returns:
        `(B,)` standard deviations in the units of y; 0 where there is no more rounding than noise,
        or the last degradation is no JPEG.
    """
    last, sigma = last_of(problem.degradation), problem.sigma_y
    if not isinstance(last, Jpeg):
        return torch.zeros_like(sigma)
    noise = last.sigma_before(last.init(problem.shown.y, sigma)).to(sigma)
    return (sigma**2 - 2 * noise**2).clamp_min(0).sqrt()


def looser_rounded(problem: Problem) -> Problem:
    """A problem of whose noise the rounding of a JPEG counts by `UNEXPLAINED` of it.

    Most of the rounding is to zero, and takes away what an image without fine detail explains: the
    best image leaves less unexplained than all of it, and a search that waits until so much is left
    ends before it has begun.
    """
    less = (1 - UNEXPLAINED**2) * rounding(problem) ** 2
    return replace(problem, sigma_y=(problem.sigma_y**2 - less).sqrt())


def only_blurred(problem: Problem) -> Problem:
    """A problem with what happened to the photos after the blur undone as far as it goes.

    What a compression has rounded off cannot be undone, and counts as noise.
    """
    degradation = problem.degradation
    if not isinstance(degradation, Compose):
        return problem
    y, sigma = problem.y, problem.sigma_y
    for part in reversed(degradation.parts[1:]):
        lifted = part.lift(y, part.init(y, sigma))
        # Brightness and colours take the noise with them.
        gain = lifted.flatten(1).std(1) / y.flatten(1).std(1).clamp_min(1e-6)
        y, sigma = lifted, sigma if isinstance(part, Jpeg) else sigma * gain
    return replace(problem, y=y, sigma_y=sigma, degradation=degradation.parts[0], first=None)
