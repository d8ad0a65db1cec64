"""Noise without any other degradation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Generator, Tensor

from d2ir_pl.degradations.base import LinearDegradation
from d2ir_pl.degradations.phi import Phi
from d2ir_pl.estimators.noise_level import sigma_without_texture
from d2ir_pl.operators.linear import Size
from d2ir_pl.operators.pointwise import IdentityOperator
from d2ir_pl.operators.svd import SVD, Diagonal


class Identity(LinearDegradation):
    """Noise alone, y = x + n: the degradation of denoising.

    There is nothing to estimate. phi: `none` `(B, 0)`, an empty row per image.

    The noise is taken to be no stronger than in the flattest tenth of the photo, and in the
    differences of its colours: what is more than that elsewhere is texture.
    """

    estimated = False

    def init(self, y: Tensor, sigma_y: Tensor) -> Phi:  # noqa: ARG002
        return Phi(none=y.new_empty(len(y), 0))

    def draw(self, generators: Sequence[Generator], like: Tensor) -> Phi:
        return Phi(none=like.new_empty(len(generators), 0))

    def estimate_sigma(self, y: Tensor) -> Tensor:
        return sigma_without_texture(y)

    def operator(self, phi: Phi, image_size: Size) -> IdentityOperator:  # noqa: ARG002
        return IdentityOperator()

    def svd(self, phi: Phi, image_size: Size) -> SVD:  # noqa: ARG002
        return Diagonal(phi["none"].new_ones(1, 1, 1, 1))

    def describe(self, phi: Phi) -> list[dict[str, Any]]:
        return [{"kind": "Identity"} for _ in range(phi.count)]
