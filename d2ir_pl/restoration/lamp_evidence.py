"""What speaks for lamps in a blurred photo, and which of them are believed.

Small ones are many times brighter than white in the light that explains the photo without a bound.
Large areas that are not far beyond white, such as a sun behind haze, are hardly so. But there the
photo has saturated pixels that no image in [0, 1] leads to, however it is chosen.

With a blur that is another one than the photo's, or one that happened to light where values are
told, some light beyond white explains nearly any photo. So where lamps would hide much of it, they
have to be attested by such pixels, and to explain most of what is left without them.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from d2ir_pl.estimators.connected_parts import connected_parts
from d2ir_pl.estimators.observed_pixels import grown
from d2ir_pl.operators.linear import per_image
from d2ir_pl.restoration.blurred_light import BlurredLight

FIRST, ITERATIONS = 8, 40
"""Iterations after which a photo without lamps is told, and those for one that has some."""
AT_ONCE, AT_ONCE_CODED = 1.35, 1.65
"""Light that explains a photo after the first iterations somewhere, in whites, if it has lamps, and
the same for a JPEG: 2.3 to 6.5 in photos with lamps, and up to 1.23 in 40 others, whose blur
happened to values or to light; 1.61 in 720 JPEGs of them of quality 50 and 80."""
DOUBTED, UNEXPLAINED, SEEN = 0.03, 0.05, 4
"""What light up to white leaves of saturated pixels after the first iterations, if they are looked
at more closely; what the best such light leaves of them if they are of a lamp; and in how many
pixels: 15 and more for most large lights, up to 1 in 900 photos without, told the blur."""
REACHED, MARGIN = 0.02, 3
"""Light of a lamp, in whites, that makes a pixel of y count as missing, and those around it."""
USUAL, MOST = 0.35, 0.6
"""Share of a photo that lamps hide at most, and the same where they are attested."""
DECIDED = 0.18
"""Mean square of what the light leaves beside the noise, in units of that of light up to white,
where lamps may hide so much: less than that in 37 of 40 photos of many lamps, and in 12 of 28 of
white things that were told another blur."""
HALVINGS = 6
"""How often the number of lamps that hide no more than that is bracketed more closely."""


def have_lamps(photo: BlurredLight, coded: Tensor) -> Tensor:
    """`(B,)` whether photos have lamps.

    Args:
        photo: what is seen of the brightest of their colours.
        coded: `(B,)` whether each is a JPEG, whose waves need light beyond white as well.
    """
    z = photo.explained(FIRST)
    bright = z.flatten(1).amax(1) > torch.where(coded, AT_ONCE_CODED, AT_ONCE)
    rest = photo.left(z.clamp_max(1)) * photo.saturated
    doubted = (rest > DOUBTED).flatten(1).any(1) & ~coded & ~bright
    if not bool(doubted.any()):
        return bright
    white = photo.left(photo.explained(ITERATIONS, 1.0))
    return bright | doubted & _attested(photo, white)


def hidden_by(photo: BlurredLight, light: Tensor) -> Tensor:
    """`(B, 1, h, w)` 1 where light reaches a photo, and next to that.

    Args:
        photo: the photo.
        light: `(B, C, H, W)` in whites.
    """
    reached = photo.operator.forward(light).amax(1, keepdim=True) > REACHED
    return grown(reached.float(), MARGIN)


def believed(photo: BlurredLight, beyond: Tensor, noise: Tensor) -> tuple[Tensor, list[int]]:
    """The light of those lamps that do not hide too much of a photo, the brightest first.

    Args:
        photo: what is seen of the photos.
        beyond: `(B, C, H, W)` light of their lamps, in whites.
        noise: `(B,)` standard deviation of what is seen, in whites.

    Returns:
        The light of those that are kept; how many others there are in each photo, where it is sure
        that they are lamps.
    """
    shares = hidden_by(photo, beyond).mean((1, 2, 3))
    if not bool((shares > USUAL).any()):
        return beyond, [0] * len(shares)
    brightest = photo.brightest
    white = brightest.left(brightest.explained(ITERATIONS, 1.0))
    rest = brightest.left(brightest.explained(ITERATIONS))
    attested = _attested(brightest, white)
    better = _misfit(rest, noise) < DECIDED * _misfit(white, noise)
    peaks = torch.stack([_peaks(own) for own in beyond.amax(1).cpu()])[:, None].to(beyond)
    order = [own.unique().flip(0) for own in peaks]  # from the brightest to 0, which is none
    count = [len(own) - 1 for own in order]
    fits = shares <= torch.where(attested & better, MOST, USUAL)
    few = [n if fit else 0 for n, fit in zip(count, fits.tolist(), strict=True)]
    many = [n if sure else 0 for n, sure in zip(count, (attested & better).tolist(), strict=True)]

    def kept(numbers: list[int]) -> Tensor:
        least = [
            float(own[n - 1]) if n else math.inf for own, n in zip(order, numbers, strict=True)
        ]
        return torch.where(peaks >= per_image(peaks.new_tensor(least)), beyond, 0.0)

    for _ in range(HALVINGS):
        some = [(n + m + 1) // 2 for n, m in zip(few, many, strict=True)]
        if some == few:
            break
        fit = (hidden_by(photo, kept(some)).mean((1, 2, 3)) <= MOST).tolist()
        few = [m if ok else n for n, m, ok in zip(few, some, fit, strict=True)]
        many = [n if ok else m - 1 for n, m, ok in zip(many, some, fit, strict=True)]
    sure = attested.tolist()
    return kept(few), [(n - m) * ok for n, m, ok in zip(count, few, sure, strict=True)]


def _attested(photo: BlurredLight, rest: Tensor) -> Tensor:
    """`(B,)` whether what light up to white leaves has enough saturated pixels."""
    return (rest * photo.saturated > UNEXPLAINED).flatten(1).sum(1) >= SEEN


def _misfit(rest: Tensor, noise: Tensor) -> Tensor:
    """`(B,)` mean square of what is left of photos that their noise is not."""
    return (rest.square().flatten(1).mean(1) - noise.square()).clamp_min(0)


def _peaks(light: Tensor) -> Tensor:
    """The greatest light of the part that each pixel of an image `(H, W)` is in."""
    peaks, mask = torch.zeros_like(light), light > 0
    if bool(mask.any()):
        part = connected_parts(mask)
        zero = light.new_zeros(int(part.max()) + 1)
        peaks[mask] = zero.scatter_reduce(0, part, light[mask], "amax")[part]
    return peaks
