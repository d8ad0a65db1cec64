"""The standard deviation of the noise in an image, estimated from the image itself."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from d2ir_pl.estimators.noise_reading import read_spectrum
from d2ir_pl.estimators.noise_spectrum import COMMON
from d2ir_pl.operators.constants import kept
from d2ir_pl.operators.freed_memory import one_by_one
from d2ir_pl.operators.linear import joined, per_image
from d2ir_pl.operators.opponent import to_opponent
from d2ir_pl.operators.order import nanmedian

# High-pass filter of the Daubechies wavelet with two vanishing moments (db2).
_DB2_HIGH_PASS = (-0.4829629131445341, 0.8365163037378079, -0.2241438680420134, -0.1294095225512604)
BLOCK = 16
"""Side in pixels of the blocks among which the flattest are looked for."""
MARGIN = 0.06
"""Distance from black and white, in [-1, 1], within which the mean of a block counts as clipped."""
MOST_CLIPPED = 0.95
"""Share of the blocks within the noise of black or white above which these count as well."""
NORMAL_MAD = 0.6744897501960817
"""Median of the absolute value of a standard normal variable."""


def estimate_sigma(y: Tensor) -> Tensor:
    """Standard deviation of the white noise in each image, from its finest diagonal wavelet band.

    sigma = median |d| / 0.6745, d the db2 coefficients that are high-pass in both directions,
    averaged over the channels. Coefficients that are exactly zero (flat, clipped areas) are left
    out, and so are those of pixels that are NaN, which are not observed. The
    estimate has no lower bound: a noiseless synthetic image gives nearly 0.

    Args:
        y: `(B, C, H, W)`, any range; the result has the units of y.

    Returns:
        `(B,)` standard deviations. Images under 4 pixels in height or width give 0.

    Source: Donoho and Johnstone, Ideal spatial adaptation by wavelet shrinkage, 1994, section 4.
    """
    if min(y.shape[-2:]) < 4:
        return y.new_zeros(len(y))
    found = [_deviation(_finest_band(channel).flatten(2)) for channel in one_by_one(y)]
    return torch.stack(found).mean(0) if found[1:] else found[0]


def flat_sigma(y: Tensor, clipped: Tensor | None = None) -> Tensor:
    """`estimate_sigma` in the flattest tenth of an image, where there is no texture.

    How flat a block of `BLOCK` pixels is, is seen in the means of 4x4 pixels, which noise hardly
    changes: choosing the flattest blocks by the finest band itself would choose those with the
    least noise. Blocks near black or white in any channel are left out, because clipping cuts their
    noise: within `MARGIN` of them, and within the noise itself unless all of the photo is.

    Args:
        y: `(B, C, H, W)` in [-1, 1], NaN where a pixel is not observed.
        clipped: the photo's `clipped_blocks`, where y is made of its colours.

    Returns:
        `(B,)` standard deviations; infinity for images that are less than `BLOCK` pixels high or
        wide, and for those without a block of observed pixels that are not clipped.
    """
    if min(y.shape[-2:]) < BLOCK:
        return y.new_full((len(y),), math.inf)
    clipped = clipped_blocks(y) if clipped is None else clipped
    activity = torch.where(clipped[:, 0], math.inf, block_activity(y)).flatten(1)
    blocks = blocks_of_band(y).flatten(2, 3)
    flatness = activity.nan_to_num(math.inf)
    order = flatness.argsort(1)[:, : max(1, round(flatness.shape[1] / 10))]
    flattest = blocks.take_along_dim(order[:, None, :, None], 2)
    # Of coefficients that are exactly 0 none is counted.
    unseen = flatness.gather(1, order).isinf()[:, None, :, None]
    found = _deviation(flattest.masked_fill(unseen, 0).flatten(2))
    return torch.where(found > 0, found, math.inf)


def block_activity(y: Tensor) -> Tensor:
    """`(B, h, w)` variance of the means of 4x4 pixels in each block, which noise hardly changes."""
    side = BLOCK // 4
    cells = F.avg_pool2d(y.mean(1), 4).unfold(1, side, side).unfold(2, side, side)
    return cells.flatten(3).var(3)


def blocks_of_band(y: Tensor) -> Tensor:
    """`(B, C, h, w, BLOCK^2)` finest diagonal wavelet band by blocks, NaN beyond its end."""
    band = F.pad(_finest_band(y), (0, 3, 0, 3), value=math.nan)
    return band.unfold(2, BLOCK, BLOCK).unfold(3, BLOCK, BLOCK).flatten(4)


def clipped_blocks(y: Tensor, sigma: Tensor | None = None) -> Tensor:
    """`(B, 1, h, w)`, whether the noise of a block is cut by black or white in any channel."""
    distance = 1 - F.avg_pool2d(y, BLOCK).abs().amax(1, keepdim=True)
    near = distance < MARGIN + per_image(estimate_sigma(y) if sigma is None else sigma)
    everywhere = near.float().mean((1, 2, 3), keepdim=True) > MOST_CLIPPED
    return torch.where(everywhere, distance < MARGIN, near)


def sigma_without_texture(y: Tensor) -> Tensor:
    """Noise of a photo that nothing else was done to, however little of it is flat.

    It is that of the flattest tenth, and no more than that of the whole. White noise of channels
    of their own is as strong in the differences of colours as in the brightness, while texture is
    hardly seen in the former. Where they have less, the brightness counts only if its noise is
    white to the finest frequencies, as that of film that the channels share.

    Args:
        y: `(B, C, H, W)` in [-1, 1], NaN where a pixel is not observed.

    Returns:
        `(B,)` standard deviations of the noise of a channel.
    """
    if min(y.shape[-2:]) < BLOCK:
        return estimate_sigma(y)
    whole = estimate_sigma(y)
    clipped = clipped_blocks(y, whole)
    found = torch.minimum(whole, flat_sigma(y, clipped))
    if y.shape[1] != 3 or bool(y.isnan().any()):
        return found
    opponent = to_opponent(y)
    colour = (flat_sigma(opponent[:, 1:2], clipped) + flat_sigma(opponent[:, 2:], clipped)) / 2
    for b in torch.nonzero((colour < COMMON * found) & ~is_grey(y)).flatten().tolist():
        spectrum = read_spectrum(y[b : b + 1])
        if spectrum is None or not (spectrum.even or spectrum.coloured):
            found[b] = colour[b]
    return torch.minimum(found, torch.where(colour < COMMON * found, found, colour))


def luminance_sigma(y: Tensor) -> Tensor:
    """`(B,)` standard deviation of the luminance's noise, orthonormal: sqrt(3) of shared noise."""
    luminance = to_opponent(y)[:, :1]
    if min(y.shape[-2:]) < BLOCK:
        return estimate_sigma(luminance)
    return torch.minimum(estimate_sigma(luminance), flat_sigma(luminance, clipped_blocks(y)))


def _finest_band(y: Tensor) -> Tensor:
    """`(B, C, H - 3, W - 3)` coefficients that are high-pass in both directions."""
    filters, planes = _diagonal(y), y.flatten(0, 1)[None]
    # On CPUs a convolution may take eight times the memory of a plane for itself.
    band = joined([F.conv2d(part.transpose(0, 1), filters) for part in one_by_one(planes)])
    return band.view(*y.shape[:2], *band.shape[-2:])


@kept
def _diagonal() -> Tensor:
    """The filter of that band."""
    taps = torch.tensor(_DB2_HIGH_PASS, dtype=torch.float64)
    return torch.outer(taps, taps)[None, None]


def _deviation(band: Tensor) -> Tensor:
    """`(B,)` robust standard deviation of coefficients `(B, C, N)`, mean of the channels."""
    if band.shape[2] == 0:
        return band.new_zeros(len(band))
    magnitude = torch.where(band.abs() > 0, band.abs(), torch.nan)
    return (nanmedian(magnitude, 2).nan_to_num() / NORMAL_MAD).mean(1)


def grey_variance(y: Tensor, sigma_y: Tensor) -> Tensor:
    """`(B,)` variance, in float64, of the noise of the mean over an image's channels.

    The mean averages the noise of the channels: independent in a colour photo, one and the same in
    a grey one.

    Args:
        y: `(B, C, H, W)` images.
        sigma_y: `(B,)` standard deviation of the noise of one channel.
    """
    return sigma_y.double() ** 2 / torch.where(is_grey(y), 1, y.shape[1])


def is_grey(y: Tensor) -> Tensor:
    """`(B,)` whether all channels are one and the same, and with them their noise."""
    return (y == y[..., :1, :, :]).flatten(1).all(1)


MIN_SIGMA = 2 * 0.002
"""Least noise that is assumed, in [-1, 1]: about half a grey level, the rounding of 8 bits."""
