"""What a camera stores of an image that is degraded."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from d2ir_pl.degradations.base import Degradation
from d2ir_pl.degradations.compose import Compose
from d2ir_pl.degradations.jpeg import Jpeg
from d2ir_pl.degradations.phi import Phi


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
        noise: function that draws the noise of an image, of the same shape.
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
