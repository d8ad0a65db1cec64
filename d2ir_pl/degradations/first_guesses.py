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
    of_blur, widest = sigma_y, y.new_full((len(y),), math.inf)
    seen, factor, rounded = y, 1, False  # before it was enlarged, by how much, and compressed
    for i, part in reversed(list(enumerate(parts))):
        if isinstance(part, ConvolutionalBlur) and part.known is None:
            init = part.init_rounded if rounded else part.init
            if isinstance(part, GaussianBlur):
                share = OF_ROUNDING if rounded else 1
                own = _grown(part, init(seen, share * of_blur), factor, widest)
            else:
                own = init(y, of_blur)
        else:
            own = part.init(y, sigma_y)
        if isinstance(part, Jpeg):
            rounded = all(before.frame.factor == 1 for before in parts[:i])
            of_blur = sigma_y if rounded else WHITE_SHARE * sigma_y
            if rounded:
                widest = MOST_OF_COEFFICIENTS * part.width_before(y, own)
            sigma_y = WHITE_SHARE * sigma_y
        if isinstance(part, Light):
            slope = _slope_of_lift(part, y, own)
            sigma_y, of_blur = slope * sigma_y, slope * of_blur
        y = part.lift(y, own)
        factor *= part.frame.factor
        if factor == 1:
            seen = y
        yield i, own


def _grown(part: GaussianBlur, phi: Phi, factor: int, widest: Tensor) -> Phi:
    """The widths of a Gaussian in an image that is larger than what a camera saw.

    They are read before anything is enlarged, and grow with the photo: natural images have the same
    statistics at every scale.

    Args:
        part: the blur.
        phi: its widths in what a camera saw.
        factor: how many times that was enlarged.
        widest: `(B,)` greatest width before that in pixels, the geometric mean of two.
    """
    log_width = phi["log_width"]
    above = (log_width.mean(1) - widest.log()).clamp_min(0)
    return part.canonicalize(phi.replace(log_width=log_width - above[:, None] + math.log(factor)))


def _slope_of_lift(part: Light, y: Tensor, phi: Phi) -> Tensor:
    """`(B,)` by how much undoing a change of light amplifies noise, root mean square."""
    step = 1e-3
    change = part.lift(y + step, phi) - part.lift(y - step, phi)
    return (change / (2 * step)).square().flatten(1).mean(1).sqrt()
