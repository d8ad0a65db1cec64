"""Differentiable degradations y = D_phi(x) + n with parameters phi of their own per image."""

from d2ir_pl.degradations.base import Degradation, LinearDegradation
from d2ir_pl.degradations.blur import Blur
from d2ir_pl.degradations.compose import Compose
from d2ir_pl.degradations.downsampling import Downsampling
from d2ir_pl.degradations.exposures import Exposures
from d2ir_pl.degradations.fading import Fading
from d2ir_pl.degradations.frame import Frame
from d2ir_pl.degradations.gaussian_blur import GaussianBlur
from d2ir_pl.degradations.grayscale import Grayscale
from d2ir_pl.degradations.identity import Identity
from d2ir_pl.degradations.jpeg import Jpeg
from d2ir_pl.degradations.light import Light
from d2ir_pl.degradations.mask import Mask
from d2ir_pl.degradations.parametric_blur import DefocusBlur, MotionBlur
from d2ir_pl.degradations.phi import Phi
from d2ir_pl.degradations.varying_blur import VaryingBlur
from d2ir_pl.operators.convolution import ConvolutionOperator
from d2ir_pl.operators.linear import LinearOperator

__all__ = [
    "Blur",
    "Compose",
    "ConvolutionOperator",
    "DefocusBlur",
    "Degradation",
    "Downsampling",
    "Exposures",
    "Fading",
    "Frame",
    "GaussianBlur",
    "Grayscale",
    "Identity",
    "Jpeg",
    "Light",
    "LinearDegradation",
    "LinearOperator",
    "Mask",
    "MotionBlur",
    "Phi",
    "VaryingBlur",
]
