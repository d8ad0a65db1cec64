"""No degradation but noise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Generator, Tensor

from d2ir_pl.degradations.base import LinearDegradation, Phi
from d2ir_pl.operators.linear import Size
from d2ir_pl.operators.svd import SVD, Diagonal


class IdentityOperator:
    """A = 1; see `LinearOperator` for the methods."""

    def forward(self, x: Tensor) -> Tensor:
        return x

    def adjoint(self, r: Tensor) -> Tensor:
        return r

    def precondition(self, g: Tensor, rho: Tensor) -> Tensor:
        """(1 + rho)^-1 g, exact."""
        return g / (1 + rho)


class Identity(LinearDegradation):
    """Noise alone, y = x + n: the degradation of denoising.

    There is nothing to estimate. phi: `none` `(B, 0)`, an empty row per image.
    """

    estimated = False

    def init(self, y: Tensor, sigma_y: Tensor) -> Phi:
        return Phi(none=y.new_empty(len(y), 0))

    def draw(self, generators: Sequence[Generator], like: Tensor) -> Phi:
        return Phi(none=like.new_empty(len(generators), 0))

    def operator(self, phi: Phi, image_size: Size) -> IdentityOperator:
        return IdentityOperator()

    def svd(self, phi: Phi, image_size: Size) -> SVD:
        return Diagonal(phi["none"].new_ones(1, 1, 1, 1))

    def describe(self, phi: Phi) -> list[dict[str, Any]]:
        return [{"kind": "Identity"} for _ in range(phi.count)]
