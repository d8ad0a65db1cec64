"""After how many iterations of conjugate gradients nothing is left to gain."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeVar

from torch import Tensor

Number = TypeVar("Number", float, Tensor)

LEFT = 0.01
"""Share of the way to a solution that conjugate gradients may leave."""


@dataclass(frozen=True)
class Conditioning:
    """What is known of A and of its `precondition` P, an approximation of (A^T A + rho)^-1.

    The eigenvalues of A^T A lie between 0 and a number g, the `gain`, and those of 1 / P - rho
    between 0 and 1. So those of P (A^T A + rho) lie between rho / (1 + rho) and (g + rho) / rho; if
    1 / P is nowhere less than A^T A + rho (`above`), none is greater than 1. With kappa the
    greatest over the least, n iterations leave at most 2 exp(-2 n asinh(1 / sqrt(kappa - 1))) of
    the way to the solution.

    Args:
        gain: g, 1 where A makes nothing brighter.
        above: whether that is known of P, or fails along few directions alone, which conjugate
            gradients find by themselves.

    Source: Saad, Iterative Methods for Sparse Linear Systems, 2003, eq. 6.123.
    """

    gain: float = 1.0
    above: bool = False

    def enough(self, rho: float) -> int:
        """Iterations that leave at most `LEFT` of the way, for a positive rho."""
        return math.ceil(math.log(2 / LEFT) / (2 * math.asinh(math.sqrt(self._slack(rho)))))

    def enough_of(self, rho: Tensor) -> Tensor:
        """The same for the weights `(B,)` of several images, each by itself, as numbers."""
        return (math.log(2 / LEFT) / (2 * self._slack(rho).sqrt().asinh())).ceil()

    def _slack(self, rho: Number) -> Number:
        """1 / (kappa - 1)."""
        return rho if self.above else rho * rho / ((self.gain + 1) * rho + self.gain)
