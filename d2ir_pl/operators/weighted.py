"""A linear map whose values are observed not at all, or with noise of some shape."""

from __future__ import annotations

from torch import Tensor

from d2ir_pl.operators.convolution import ConvolutionOperator
from d2ir_pl.operators.linear import LinearOperator, Map, colours_alike, conditioning, slowness
from d2ir_pl.operators.noise_shape import NoiseShape
from d2ir_pl.operators.spectral import OnSpectra


class WeightedOperator:
    """diag(w) A: the values of A x that have a weight w of 0 say nothing about x.

    Args:
        operator: A.
        weight: `(B, 1, h, w)` weights of 0 and 1, for values of the size of A x.
    """

    def __init__(self, operator: LinearOperator, weight: Tensor) -> None:
        self.operator = operator
        self.slowness, self.conditioning = slowness(operator), conditioning(operator)
        self.colours_alike = colours_alike(operator) and weight.shape[-3] == 1
        self._weight = weight

    def forward(self, x: Tensor) -> Tensor:
        return self._weight * self.operator.forward(x)

    def adjoint(self, r: Tensor) -> Tensor:
        return self.operator.adjoint(self._weight * r)

    def precondition(self, g: Tensor, rho: Tensor) -> Tensor:
        """That of A, as if everything were observed."""
        return self.operator.precondition(g, rho)

    def dual_precondition(self, rho: Tensor, shape: NoiseShape | None = None) -> Map | None:
        """That of A, of what is observed."""
        inner = dual_precondition(self.operator, rho, shape)
        return None if inner is None else lambda r: self._weight * inner(self._weight * r)

    def on_spectra(self) -> OnSpectra | None:
        """The same for spectra, where A is a convolution that has such a form."""
        inner = on_spectra(self.operator)
        return None if inner is None else inner.followed(self._weight.mul)


class WhitenedOperator:
    """W A, where W makes the noise n of y = A x + n white (`NoiseShape.whiten`).

    Args:
        operator: A.
        shape: that of the noise.
    """

    def __init__(self, operator: LinearOperator, shape: NoiseShape) -> None:
        self._operator, self._shape = operator, shape
        self.slowness = slowness(operator)

    def forward(self, x: Tensor) -> Tensor:
        return self._shape.whiten(self._operator.forward(x))

    def adjoint(self, r: Tensor) -> Tensor:
        return self._operator.adjoint(self._shape.whiten(r))

    def precondition(self, g: Tensor, rho: Tensor) -> Tensor:
        """About (A^T W W A + rho)^-1 g; without the W where A is no convolution."""
        inner = self._operator
        if isinstance(inner, WeightedOperator):
            inner = inner.operator
        if isinstance(inner, ConvolutionOperator):
            return inner.precondition(g, rho, self._shape)
        return inner.precondition(g, rho)

    def dual_precondition(self, rho: Tensor) -> Map | None:
        """About (W A A^T W + rho)^-1, where such a map is known."""
        return dual_precondition(self._operator, rho, self._shape)

    def on_spectra(self) -> OnSpectra | None:
        """The same for spectra, where A is a convolution that has such a form."""
        inner, shape = on_spectra(self._operator), self._shape
        if inner is None:
            return None
        return inner.followed(shape.whiten, shape.weight(inner.circle))


def coefficients_beside(operator: LinearOperator, observed: Tensor | None) -> Tensor | None:
    """Which values of A x are of observed pixels alone, where they are no pixels themselves.

    Args:
        operator: A, which says so by a method `seen`; None is returned for one that has none.
        observed: `(B, 1, h, w)`, 1 where a pixel is observed, and 0 elsewhere; None where all are.
    """
    seen = getattr(operator, "seen", None)
    found: Tensor | None = None if seen is None or observed is None else seen(observed)
    return found


def on_spectra(operator: LinearOperator) -> OnSpectra | None:
    """The form of an operator for spectra; None if it has none."""
    found = getattr(operator, "on_spectra", None)
    form: OnSpectra | None = None if found is None else found()
    return form


def dual_precondition(
    operator: LinearOperator, rho: Tensor, shape: NoiseShape | None = None
) -> Map | None:
    """About (A A^T + rho)^-1, by which conjugate gradients take few iterations; None if unknown.

    Args:
        operator: A.
        rho: `(B, 1, 1, 1)`.
        shape: that of the noise, by which A is whitened; A alone if None.
    """
    make = getattr(operator, "dual_precondition", None)
    if make is None:
        return None
    found: Map | None = make(rho) if shape is None else make(rho, shape)
    return found
