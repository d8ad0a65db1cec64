"""Light that explains a blurred photo, with an upper bound or without.

A pixel that is saturated may have been brighter than it shows, so that its value y is a lower
bound:

    z = argmin_{0 <= z <= most} || w (y - A z) ||^2,    w = 0 where y is saturated and A z > y.

Source: Beck and Teboulle, A fast iterative shrinkage-thresholding algorithm for linear inverse
problems, 2009 (the accelerated projected gradients); Cho, Wang and Lee, Handling outliers in
non-blind image deconvolution, 2011 (that a saturated value is no equation).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from d2ir_pl.operators.freed_memory import one_by_one
from d2ir_pl.operators.linear import LinearOperator, joined


@dataclass(frozen=True, eq=False)
class BlurredLight:
    """A photo of light that a blur has spread.

    Attributes:
        operator: A, the blur.
        y: `(B, C, h, w)` what is seen of it, in whites.
        start: `(B, C, H, W)` a first guess of the light, not negative.
        saturated: `(B, C, h, w)` where y may have been brighter than it shows.
        observed: `(B, 1, h, w)`, 1 where y is a part of the photo; None where all of it is.
    """

    operator: LinearOperator
    y: Tensor
    start: Tensor
    saturated: Tensor
    observed: Tensor | None = None

    @property
    def brightest(self) -> BlurredLight:
        """The brightest of the colours, which takes a third of the time."""
        y, start, saturated = (x.amax(1, keepdim=True) for x in (self.y, self.start, self._full))
        return BlurredLight(self.operator, y, start, saturated > 0, self.observed)

    def explained(self, iterations: int, most: float = math.inf) -> Tensor:
        """The light `(B, C, H, W)` after so many iterations, a colour at a time in large photos.

        Args:
            iterations: number of them.
            most: upper bound of the light, in whites.
        """
        return joined([part._one(iterations, most) for part in self._parts()], 1)

    def left(self, z: Tensor) -> Tensor:
        """What light leaves unexplained of the photo, `(B, C, h, w)`."""
        residual = self.y - self.operator.forward(z)
        residual = torch.where(self.saturated, residual.clamp_min(0), residual)
        return residual if self.observed is None else self.observed * residual

    @property
    def _full(self) -> Tensor:
        return self.saturated.to(self.y)

    def _parts(self) -> Iterator[BlurredLight]:
        together = -(-self.start.shape[1] // len(one_by_one(self.start)))
        colours = (x.split(together, 1) for x in (self.y, self.start, self.saturated))
        for y, start, saturated in zip(*colours, strict=True):
            yield BlurredLight(self.operator, y, start, saturated, self.observed)

    def _one(self, iterations: int, most: float) -> Tensor:
        z = ahead = self.start.clamp_max(most)
        momentum = 1.0
        for _ in range(iterations):
            step = (ahead + self.operator.adjoint(self.left(ahead))).clamp(0, most)
            faster = (1 + math.sqrt(1 + 4 * momentum**2)) / 2
            ahead = step + (momentum - 1) / faster * (step - z)
            z, momentum = step, faster
            del step
        return z
