"""A linear map of whose values some are not observed."""

from __future__ import annotations

from torch import Tensor

from d2ir_pl.operators.linear import LinearOperator


class WeightedOperator:
    """diag(w) A: the values of A x that have a weight w of 0 say nothing about x.

    Args:
        operator: A.
        weight: `(B, 1, h, w)` weights of 0 and 1, for values of the size of A x.
    """

    def __init__(self, operator: LinearOperator, weight: Tensor) -> None:
        self._operator = operator
        self._weight = weight

    def forward(self, x: Tensor) -> Tensor:
        return self._weight * self._operator.forward(x)

    def adjoint(self, r: Tensor) -> Tensor:
        return self._operator.adjoint(self._weight * r)

    def precondition(self, g: Tensor, rho: Tensor) -> Tensor:
        """That of A, as if everything were observed."""
        return self._operator.precondition(g, rho)
