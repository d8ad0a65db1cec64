"""Linear maps on images, without parameters of a degradation."""

from d2ir_pl.operators.conditioning import Conditioning
from d2ir_pl.operators.convolution import Border, ConvolutionOperator
from d2ir_pl.operators.linear import Jacobian, LinearOperator, Size, size_of
from d2ir_pl.operators.noise_shape import NoiseShape
from d2ir_pl.operators.pointwise import GrayscaleOperator, IdentityOperator, MaskOperator
from d2ir_pl.operators.separable import SeparableOperator
from d2ir_pl.operators.svd import SVD, Circulant, Diagonal, Grey, Separable

__all__ = [
    "SVD",
    "Border",
    "Circulant",
    "Conditioning",
    "ConvolutionOperator",
    "Diagonal",
    "GrayscaleOperator",
    "Grey",
    "IdentityOperator",
    "Jacobian",
    "LinearOperator",
    "MaskOperator",
    "NoiseShape",
    "Separable",
    "SeparableOperator",
    "Size",
    "size_of",
]
