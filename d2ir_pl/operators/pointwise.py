"""Linear maps that act on every pixel by itself; see `LinearOperator` for their methods."""

from __future__ import annotations

import torch
from torch import Tensor

BT601 = (0.299, 0.587, 0.114)
"""Luma of R'G'B' values (ITU-R BT.601, section 2.5.1), which most programs convert with."""


def luminance(x: Tensor, weights: Tensor) -> Tensor:
    """Weighted sum of the channels, w . x, at every pixel, in three equal channels.

    Args:
        x: `(B, 3, H, W)`.
        weights: `(B, 3)`, w.
    """
    return torch.einsum("bc,bchw->bhw", weights, x)[:, None].expand_as(x)


class IdentityOperator:
    """A = 1: images stay as they are."""

    def forward(self, x: Tensor) -> Tensor:
        return x

    def adjoint(self, r: Tensor) -> Tensor:
        return r

    def precondition(self, g: Tensor, rho: Tensor) -> Tensor:
        """(1 + rho)^-1 g, exact."""
        return g / (1 + rho)


class MaskOperator:
    """A = diag(m): every pixel has a weight.

    Args:
        mask: `(B, 1, H, W)`, m.
    """

    def __init__(self, mask: Tensor) -> None:
        self._mask = mask

    def forward(self, x: Tensor) -> Tensor:
        return self._mask * x

    def adjoint(self, r: Tensor) -> Tensor:
        return self._mask * r

    def precondition(self, g: Tensor, rho: Tensor) -> Tensor:
        """(m^2 + rho)^-1 g, exact."""
        return g / (self._mask.square() + rho)


class GrayscaleOperator:
    """A = 1 w^T at every pixel: three equal channels with a weighted sum of the channels.

    Args:
        weights: `(B, 3)`, w.
    """

    def __init__(self, weights: Tensor) -> None:
        self._weights = weights

    def forward(self, x: Tensor) -> Tensor:
        return luminance(x, self._weights)

    def adjoint(self, r: Tensor) -> Tensor:
        return self._weights[:, :, None, None] * r.sum(1, keepdim=True)

    def precondition(self, g: Tensor, rho: Tensor) -> Tensor:
        """(3 w w^T + rho)^-1 g, exact: along w divided by 3 |w|^2 + rho, across it by rho."""
        w = self._weights[:, :, None, None]
        square = w.square().sum(1, keepdim=True)
        along = w * (w * g).sum(1, keepdim=True) / square
        return along / (3 * square + rho) + (g - along) / rho
