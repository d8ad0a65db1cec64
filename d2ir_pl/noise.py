"""Randomness that belongs to one image, and the noise level that an image carries."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

# High-pass filter of the Daubechies wavelet with two vanishing moments (db2).
_DB2_HIGH_PASS = (-0.4829629131445341, 0.8365163037378079, -0.2241438680420134, -0.1294095225512604)
# Median of the absolute value of a standard normal variable.
_NORMAL_MAD = 0.6744897501960817


def image_generator(seed: int, name: str, stream: str = "restore") -> Generator:
    """A CPU generator that depends on the run's seed and the image's name alone.

    The same image therefore draws the same noise alone, in a batch, and on any process.

    Args:
        seed: the run's seed.
        name: the image's path relative to the input folder.
        stream: the purpose; each has a stream of its own (`restore`, `degrade`).
    """
    text = f"{seed}\0{stream}\0{name}".encode("utf-8", "surrogateescape")
    digest = hashlib.blake2b(text, digest_size=8).digest()
    return Generator().manual_seed(int.from_bytes(digest, "big") >> 1)


def normal_like(x: Tensor, generators: Sequence[Generator]) -> Tensor:
    """Standard normal noise of x's shape; row b comes from `generators[b]`.

    Args:
        x: `(B, ...)`; its shape, dtype and device are taken.
        generators: B CPU generators.
    """
    rows = [torch.randn(x.shape[1:], generator=g, dtype=torch.float32) for g in generators]
    return torch.stack(rows).to(device=x.device, dtype=x.dtype)


def estimate_sigma(y: Tensor) -> Tensor:
    """Standard deviation of the white noise in each image, from its finest diagonal wavelet band.

    sigma = median |d| / 0.6745, d the db2 coefficients that are high-pass in both directions,
    averaged over the channels. Coefficients that are exactly zero (flat, clipped areas) are left
    out. The estimate has no lower bound: a noiseless synthetic image gives nearly 0.

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
    magnitude = band.abs().unflatten(0, y.shape[:2]).flatten(2)
    magnitude = torch.where(magnitude > 0, magnitude, torch.nan)
    return (magnitude.nanmedian(2).values.nan_to_num() / _NORMAL_MAD).mean(1)


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
