"""The standard deviation of the noise in an image, estimated from the image itself."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

# High-pass filter of the Daubechies wavelet with two vanishing moments (db2).
_DB2_HIGH_PASS = (-0.4829629131445341, 0.8365163037378079, -0.2241438680420134, -0.1294095225512604)
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
    taps = torch.tensor(_DB2_HIGH_PASS, dtype=y.dtype, device=y.device)
    band = F.conv2d(y.flatten(0, 1)[:, None], torch.outer(taps, taps)[None, None], stride=1)
    magnitude = band.abs().view(*y.shape[:2], -1)
    magnitude = torch.where(magnitude > 0, magnitude, torch.nan)
    return (magnitude.nanmedian(2).values.nan_to_num() / NORMAL_MAD).mean(1)


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
    return (y == y[:, :1]).flatten(1).all(1)


MIN_SIGMA = 2 * 0.002
"""Least noise that is assumed, in [-1, 1]: about half a grey level, the rounding of 8 bits."""
