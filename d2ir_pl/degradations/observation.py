"""What a camera stores of an image that is degraded."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Generator, Tensor

from d2ir_pl.degradations.base import Degradation
from d2ir_pl.degradations.compose import Compose
from d2ir_pl.degradations.jpeg import Jpeg
from d2ir_pl.degradations.phi import Phi


def shot_noise(x: Tensor, photons: float, generators: Sequence[Generator]) -> Tensor:
    """The noise of light itself: n = 2 (K / N - v), K from the Poisson distribution of mean N v.

    v is the intensity in [0, 1] of a value, and its noise has the variance v / N of that scale.

    Args:
        x: `(B, ...)` images in [-1, 1].
        photons: N, the photons that a white pixel collects.
        generators: CPU generators, one for each image.

    Source: Foi, Trimeche, Katkovnik and Egiazarian, Practical Poissonian-Gaussian noise modeling
    and fitting for single-image raw-data, 2008, section II.
    """
    v = ((x.float().cpu() + 1) / 2).clamp(0, 1)
    images = zip(v, generators, strict=True)
    counts = torch.stack([torch.poisson(photons * image, generator=g) for image, g in images])
    return (2 * (counts / photons - v)).to(x)


def observe(
    degradation: Degradation, x: Tensor, phi: Phi, noise: Callable[[Tensor], Tensor]
) -> Tensor:
    """The degraded image with noise at its place: what a camera would have stored.

    The sensor adds its noise after the optics, and cannot show more than white. What happens to the
    stored photo, such as JPEG compression, happens to its noise as well.

    Args:
        degradation: family of degradations.
        x: `(B, 3, H, W)` clean images.
        phi: parameters.
        noise: function that draws the noise of an image, of the same shape; it may depend on it.
    """
    parts = [(degradation, phi)]
    if isinstance(degradation, Compose):
        parts = degradation.split(phi)
    compressed = [i for i, (part, _) in enumerate(parts) if isinstance(part, Jpeg)]
    last = compressed[0] if compressed else len(parts)
    if last == 0:
        x = (x + noise(x)).clamp(-1, 1)
    for i, (part, own) in enumerate(parts, 1):
        x = part(x, own)
        if i == last:
            n = noise(x)
            # Where the image says nothing, as in a hole, there is no noise either.
            x = (x + part.residual(n, torch.zeros_like(n), own)).clamp(-1, 1)
    return x
