"""The first guess of the parameters of several degradations, one after the other."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from torch import Tensor

from d2ir_pl.degradations.base import Degradation
from d2ir_pl.degradations.convolutional_blur import ConvolutionalBlur
from d2ir_pl.degradations.gaussian_blur import GaussianBlur
from d2ir_pl.degradations.jpeg import WHITE_SHARE, Jpeg
from d2ir_pl.degradations.light import Light
from d2ir_pl.degradations.phi import Phi

# Chosen on Gaussians of 1 to 2.5 pixels in JPEG files of the training set, and on sharp photos of
# smooth things (docs/experiments.md).
OF_ROUNDING = 1.3
"""Share of the rounding of a JPEG below which a Gaussian is taken to have left nothing."""
MOST_OF_COEFFICIENTS = 1.3
"""Width of a Gaussian over that which the coefficients of a JPEG show, at most."""


def first_guesses(
    parts: Sequence[Degradation], y: Tensor, sigma_y: Tensor
) -> Iterator[tuple[int, Phi]]:
    """The parameters of each part and its position, from the last part to the first.

    Args:
        parts: degradations in the order in which they happened.
        y: `(B, 3, h, w)` what came of them.
        sigma_y: `(B,)` its noise, as the last part estimates it.
    """
    of_blur, widest = sigma_y, None
    seen, factor = y, 1  # before it was enlarged, and by how much
    for i, part in reversed(list(enumerate(parts))):
        if isinstance(part, GaussianBlur) and part.known is None:
            own = _of_gaussian(part, seen, of_blur, factor, widest)
        elif isinstance(part, ConvolutionalBlur) and part.known is None:
            own = (part.init if widest is None else part.init_rounded)(y, of_blur)
        else:
            own = part.init(y, sigma_y)
        if isinstance(part, Jpeg):
            whole = all(before.frame.factor == 1 for before in parts[:i])
            of_blur = sigma_y if whole else WHITE_SHARE * sigma_y
            widest = MOST_OF_COEFFICIENTS * part.width_before(y, own) if whole else None
            sigma_y = WHITE_SHARE * sigma_y
        if isinstance(part, Light):
            slope = _slope_of_lift(part, y, own)
            sigma_y, of_blur = slope * sigma_y, slope * of_blur
        y = part.lift(y, own)
        factor *= part.frame.factor
        if factor == 1:
            seen = y
        yield i, own


def _of_gaussian(
    part: GaussianBlur, seen: Tensor, sigma_y: Tensor, factor: int, widest: Tensor | None
) -> Phi:
    """The widths of a Gaussian in an image that is larger than what a camera saw.

    They are read before anything is enlarged, and grow with the photo: natural images have the same
    statistics at every scale.

    Args:
        part: the blur.
        seen: `(B, 3, H / factor, W / factor)`, what a camera saw.
        sigma_y: `(B,)` its noise, or the rounding by JPEG.
        factor: how many times it was enlarged.
        widest: `(B,)` greatest width in pixels before JPEG, the geometric mean of two; None where
            there was no JPEG.
    """
    if widest is None:
        phi = part.init(seen, sigma_y)
        log_width = phi["log_width"]
    else:
        phi = part.init_rounded(seen, OF_ROUNDING * sigma_y)
        log_width = phi["log_width"]
        above = (log_width.mean(1) - widest.log()).clamp_min(0)
        log_width = log_width - above[:, None]
    return part.canonicalize(phi.replace(log_width=log_width + math.log(factor)))


def _slope_of_lift(part: Light, y: Tensor, phi: Phi) -> Tensor:
    """`(B,)` by how much undoing a change of light amplifies noise, root mean square."""
    step = 1e-3
    change = part.lift(y + step, phi) - part.lift(y - step, phi)
    return (change / (2 * step)).square().flatten(1).mean(1).sqrt()
