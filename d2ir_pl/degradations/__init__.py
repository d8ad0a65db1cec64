"""Differentiable degradations y = D_phi(x) + n with parameters phi of their own per image."""

from d2ir_pl.degradations.base import Degradation, LinearDegradation, LinearOperator, Phi
from d2ir_pl.degradations.blur import Blur, GaussianBlur
from d2ir_pl.degradations.convolution import ConvolutionOperator

__all__ = [
    "Blur",
    "ConvolutionOperator",
    "Degradation",
    "GaussianBlur",
    "LinearDegradation",
    "LinearOperator",
    "Phi",
]
