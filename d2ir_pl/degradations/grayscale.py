"""Loss of colour: a grey photo as a weighted sum of the channels of a colour photo."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Generator, Tensor

from d2ir_pl.degradations.base import LinearDegradation
from d2ir_pl.degradations.phi import Phi
from d2ir_pl.image_io.colour import BT601
from d2ir_pl.operators.linear import Size
from d2ir_pl.operators.pointwise import GrayscaleOperator, luminance
from d2ir_pl.operators.svd import SVD, Grey


class Grayscale(LinearDegradation):
    """Loss of colour: y_c = w . x + n at every pixel, the same in the three channels c.

    n is one noise for the three channels, so a mean square residual of sigma_y^2 means explained
    to the noise, but the data term counts each grey value three times: a `data_weight` of 3 gives
    it the weight that one value has in other degradations. phi: `weights` `(B, 3)`.

    The weights have to be known. y alone does not tell them: at every pixel one number stands
    against two unknown colour coordinates, and to every w on the simplex belong images that explain
    y exactly, such as y itself.

    Of a photo y that is not quite grey (scanner noise, compression, a tint), w . y is used.

    Args:
        weights: w of red, green and blue, not negative; they are scaled to sum 1, so that white
            stays white. ITU-R BT.601 luma (0.299, 0.587, 0.114) if null.

    Raises:
        ValueError: for weights that are not three numbers of at least 0 with a positive sum.
    """

    estimated = False
    keeps_grey = False

    def __init__(self, weights: list[float] | None = None) -> None:
        super().__init__()
        given = BT601 if weights is None else weights
        if (
            len(given) != 3
            or not all(math.isfinite(w) and w >= 0 for w in given)
            or not sum(given) > 0
        ):
            raise ValueError(
                f"weights {weights} must be three numbers of at least 0, not all 0, "
                f"such as {list(BT601)}"
            )
        self.weights = weights
        known = torch.tensor(given, dtype=torch.float64)
        self._known = known / known.sum()

    def init(self, y: Tensor, sigma_y: Tensor) -> Phi:  # noqa: ARG002
        return self._phi(len(y), y)

    def draw(self, generators: Sequence[Generator], like: Tensor) -> Phi:
        return self._phi(len(generators), like)

    def operator(self, phi: Phi, image_size: Size) -> GrayscaleOperator:  # noqa: ARG002
        return GrayscaleOperator(phi["weights"])

    def svd(self, phi: Phi, image_size: Size) -> SVD:  # noqa: ARG002
        return Grey(phi["weights"])

    def residual(self, y: Tensor, prediction: Tensor, phi: Phi) -> Tensor:
        """The difference of w . y and the prediction, both grey: colour in y observes nothing."""
        return luminance(y - prediction, phi["weights"])

    def lift(self, y: Tensor, phi: Phi) -> Tensor:
        """The grey image w . y, without the colour of a photo that is not quite grey."""
        return luminance(y, phi["weights"])

    def estimate_sigma(self, y: Tensor) -> Tensor:
        return super().estimate_sigma(luminance(y, self.init(y, y.new_zeros(len(y)))["weights"]))

    def describe(self, phi: Phi) -> list[dict[str, Any]]:
        rows = phi["weights"].double().cpu().tolist()
        return [
            {"kind": "Grayscale", "weights": [round(weight, 4) for weight in row]} for row in rows
        ]

    def _phi(self, count: int, like: Tensor) -> Phi:
        return Phi(weights=self._known.to(like).expand(count, -1).clone())
