"""Linear maps that act on every pixel by itself; see `LinearOperator` for their methods."""

from __future__ import annotations

import torch
from torch import Tensor

from d2ir_pl.operators.conditioning import Conditioning


def luminance(x: Tensor, weights: Tensor) -> Tensor:
    """Weighted sum of the channels, w . x, at every pixel, in three equal channels.

    Args:
        x: `(B, 3, H, W)`.
        weights: `(B, 3)`, w.
    """
    return torch.einsum("bc,bchw->bhw", weights, x)[:, None].expand_as(x)


class IdentityOperator:
    """A = 1: images stay as they are.

    Attributes:
        enough: number of iterations of conjugate gradients that leave nothing to gain, as in all
            operators here whose `precondition` is exact.
    """

    enough = 1
    colours_alike = True

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
        mask: m, of a shape that broadcasts to `(B, 3, H, W)`.
        conditioning: what is known of m, such as that it is at most 1.
    """

    enough = 1

    def __init__(self, mask: Tensor, conditioning: Conditioning | None = None) -> None:
        self._mask = mask
        self.colours_alike = mask.shape[-3] == 1
        self.conditioning = conditioning

    def forward(self, x: Tensor) -> Tensor:
        return self._mask * x

    def adjoint(self, r: Tensor) -> Tensor:
        return self._mask * r

    def precondition(self, g: Tensor, rho: Tensor) -> Tensor:
        """(m^2 + rho)^-1 g, exact."""
        return g / (self._mask.square() + rho)


class StackOperator:
    """A x = (diag(m_1) x, .., diag(m_S) x): several images of one, each with weights of its own.

    Args:
        weights: `(B, S, 3, H, W)`, m_s.
    """

    enough = 1

    def __init__(self, weights: Tensor) -> None:
        self._weights = weights
        self._gain = weights.square().sum(1)

    def forward(self, x: Tensor) -> Tensor:
        return self._weights * x[:, None]

    def adjoint(self, r: Tensor) -> Tensor:
        return (self._weights * r).sum(1)

    def precondition(self, g: Tensor, rho: Tensor) -> Tensor:
        """(sum_s m_s^2 + rho)^-1 g, exact."""
        return g / (self._gain + rho)


class GrayscaleOperator:
    """A = 1 w^T at every pixel: three equal channels with a weighted sum of the channels.

    Args:
        weights: `(B, 3)`, w.
    """

    enough = 1

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
