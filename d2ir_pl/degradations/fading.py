"""Fading: the colours of an old print, whose dyes have lost a part of their range."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Generator, Tensor

from d2ir_pl.degradations.base import LinearDegradation
from d2ir_pl.degradations.phi import Phi
from d2ir_pl.degradations.ranges import require_range
from d2ir_pl.operators.linear import LinearOperator, Size
from d2ir_pl.operators.order import kth_smallest

# 1st and 99th percentile of the intensities of photographs: their medians over the training set.
BLACK, WHITE = 0.07, 0.90
# Half of what tells the channels of a photo apart is taken for the colour of the scene.
COLOUR = 0.5
# Scatter of the logarithm of a contrast and of an offset in intensities, and the least contrast.
LOG_CONTRAST_SCATTER, OFFSET_SCATTER = 0.15, 0.05
MIN_CONTRAST = 0.1


class Fading(LinearDegradation):
    """Fading: y = a_c x + b_c + n in intensities from 0 to 1, a and b for each channel c.

    Dyes fade each at a pace of their own: blacks become brown or grey, whites yellow, and the
    contrast is lost. phi: `log_contrast` `(B, 3)`, the logarithm of a; `offset` `(B, 3)`, b.

    They start where the 1st and the 99th percentile of each channel of x have the values that they
    have in photographs, but for half of what tells the bright parts of the channels apart: that may
    be the scene's own colour.

    Args:
        draw_contrast: range from which the contrasts of clean images are drawn.
        draw_offset: range from which the offsets are drawn.

    Raises:
        ValueError: for ranges that are none, or contrasts that are not positive.
    """

    def __init__(
        self,
        draw_contrast: tuple[float, float] = (0.35, 0.6),
        draw_offset: tuple[float, float] = (0.15, 0.35),
    ) -> None:
        super().__init__()
        require_range("draw_contrast", draw_contrast, above=0, remedy="such as 0.5")
        require_range("draw_offset", draw_offset, 0, remedy="such as 0.2")
        self.draw_contrast = draw_contrast
        self.draw_offset = draw_offset

    def init(self, y: Tensor, sigma_y: Tensor) -> Phi:  # noqa: ARG002
        black, white = (_percentile(y, share) for share in (0.01, 0.99))
        # Blacks have no colour; of that of the bright parts, a part is the scene's own.
        high = (WHITE + COLOUR * (white - white.mean(1, keepdim=True))).clamp(BLACK + 0.2, 1)
        contrast = ((white - black) / (high - BLACK)).clamp(MIN_CONTRAST, 1.0)
        return Phi(log_contrast=contrast.log(), offset=black - contrast * BLACK)

    def draw(self, generators: Sequence[Generator], like: Tensor) -> Phi:
        u = torch.stack([torch.rand(2, 3, generator=g) for g in generators]).to(like)
        (low, high), (least, most) = self.draw_contrast, self.draw_offset
        contrast = low + (high - low) * u[:, 0]
        return Phi(log_contrast=contrast.log(), offset=least + (most - least) * u[:, 1])

    def operator(self, phi: Phi, image_size: Size) -> LinearOperator:  # noqa: ARG002
        return _Scale(phi["log_contrast"].exp()[:, :, None, None])

    def offset(self, phi: Phi) -> Tensor:
        """The part of y in [-1, 1] that x does not change: a + 2 b - 1."""
        return (phi["log_contrast"].exp() + 2 * phi["offset"] - 1)[:, :, None, None]

    def lift(self, y: Tensor, phi: Phi) -> Tensor:
        """Give y its range and colours back: the inverse of the degradation, clipped."""
        contrast = phi["log_contrast"].exp()[:, :, None, None]
        return ((y - self.offset(phi)) / contrast).clamp(-1, 1)

    def anchor(self, phi: Phi, start: Phi) -> Tensor:
        """The mean squares of both changes, in units of the scatter among photographs."""
        contrast = (phi["log_contrast"] - start["log_contrast"]) / LOG_CONTRAST_SCATTER
        offset = (phi["offset"] - start["offset"]) / OFFSET_SCATTER
        return contrast.square().mean(1) + offset.square().mean(1)

    def describe(self, phi: Phi) -> list[dict[str, Any]]:
        rows = zip(phi["log_contrast"].exp().tolist(), phi["offset"].tolist(), strict=True)
        return [
            {
                "kind": type(self).__name__,
                "contrast": [round(v, 4) for v in contrast],
                "offset": [round(v, 4) for v in offset],
            }
            for contrast, offset in rows
        ]


class _Scale(LinearOperator):
    """The product of each channel with its contrast; `precondition` is exact."""

    enough = 1

    def __init__(self, contrast: Tensor) -> None:
        self.contrast = contrast

    def forward(self, x: Tensor) -> Tensor:
        return self.contrast * x

    def adjoint(self, r: Tensor) -> Tensor:
        return self.contrast * r

    def precondition(self, g: Tensor, rho: Tensor) -> Tensor:
        return g / (self.contrast.square() + rho)


def _percentile(y: Tensor, share: float) -> Tensor:
    """`(B, C)` intensities that a share of each channel's pixels stay below."""
    values = ((y + 1) / 2).flatten(2)
    count = values.shape[2]
    return kth_smallest(values, min(count, max(1, round(share * count))), 2)
