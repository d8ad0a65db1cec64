"""The derivative of a linear map of light, as files store its images."""

from __future__ import annotations

from torch import Tensor

from d2ir_pl.operators.conditioning import Conditioning
from d2ir_pl.operators.convolution import ConvolutionOperator
from d2ir_pl.operators.encoding import from_light, slope_of_light, to_light
from d2ir_pl.operators.linear import Map
from d2ir_pl.operators.noise_shape import NoiseShape


class InLight:
    """The derivative at x of y = e(A l(x)), where l decodes stored values to light, and e encodes.

    That is diag(1 / l'(y)) A diag(l'(x)), for stored values in [-1, 1].

    Args:
        operator: A, which acts on light.
        x: `(B, 3, H, W)` the image at which the derivative is taken.

    Attributes:
        value: y, of the size of A x.
        slowness: how many times as many iterations of conjugate gradients it takes as A does, whose
            inverse knows nothing of the slopes at edges (docs/experiments.md).
        conditioning: what their number follows from where rho is not small, by trying.
    """

    slowness = 2
    conditioning = Conditioning(above=True)

    def __init__(self, operator: ConvolutionOperator, x: Tensor) -> None:
        self._operator = operator
        stored = (x + 1) / 2
        light = operator.forward(to_light(stored))
        value = from_light(light)
        self.value: Tensor = 2 * value - 1
        self._before, self._after = slope_of_light(stored), 1 / slope_of_light(value)

    def forward(self, x: Tensor) -> Tensor:
        return self._after * self._operator.forward(self._before * x)

    def adjoint(self, r: Tensor) -> Tensor:
        return self._before * self._operator.adjoint(self._after * r)

    def precondition(self, g: Tensor, rho: Tensor) -> Tensor:
        """That of A: where an image is smooth, the two slopes cancel each other."""
        return self._operator.precondition(g, rho)

    def dual_precondition(self, rho: Tensor, shape: NoiseShape | None = None) -> Map:
        """That of A, which is near: the slopes of x are blurred from both sides there."""
        return self._operator.dual_precondition(rho, shape)
