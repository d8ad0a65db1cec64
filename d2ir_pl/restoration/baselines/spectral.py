"""Singular value decompositions of the linear degradations that have a cheap one."""

from __future__ import annotations

from functools import singledispatch

import torch

from d2ir_pl.degradations import Degradation, Phi
from d2ir_pl.degradations.blur import ConvolutionalBlur
from d2ir_pl.degradations.downsampling import Downsampling
from d2ir_pl.degradations.grayscale import Grayscale
from d2ir_pl.degradations.identity import Identity
from d2ir_pl.degradations.mask import Mask
from d2ir_pl.operators.linear import Size
from d2ir_pl.operators.svd import (
    SEPARABLE,
    SVD,
    Circulant,
    Diagonal,
    Grey,
    Separable,
    correlation_matrix,
)


@singledispatch
def spectral(degradation: Degradation, phi: Phi, image_size: Size) -> SVD:
    """The decomposition of a linear degradation at phi, for images of the given size.

    Raises:
        ValueError: if none is known, with the remedy.
    """
    raise ValueError(
        f"the singular values of {type(degradation).__name__} are not known: use a mask, loss of "
        f"colour, downsampling or a blur, or another method"
    )


@spectral.register
def _(degradation: Identity | Mask, phi: Phi, image_size: Size) -> SVD:
    like = next(iter(phi.values()))
    return Diagonal(phi.get("mask", like.new_ones(1, 1, 1, 1)))


@spectral.register
def _(degradation: Grayscale, phi: Phi, image_size: Size) -> SVD:
    return Grey(phi["weights"])


@spectral.register
def _(degradation: Downsampling, phi: Phi, image_size: Size) -> SVD:
    return Separable(*degradation.matrices(phi, image_size))


@spectral.register
def _(degradation: ConvolutionalBlur, phi: Phi, image_size: Size) -> SVD:
    kernel = degradation.kernel(phi)
    if degradation.border == "circular":
        return Circulant(kernel, image_size)
    rows, columns = kernel.sum(2), kernel.sum(1)
    excess = (kernel - rows[:, :, None] * columns[:, None, :]).abs().amax()
    if float(excess) > SEPARABLE * float(kernel.amax()):
        raise ValueError(
            f"a kernel that is no product of a row and a column has singular values with border "
            f"'circular' only, not {degradation.border!r}: set that, or use an isotropic Gaussian"
        )
    return Separable(
        correlation_matrix(rows, image_size[0], degradation.border),
        correlation_matrix(columns, image_size[1], degradation.border),
    )


def require_svd(degradation: Degradation) -> None:
    """Raise the ValueError of `spectral` before there is an image, where it is certain to come."""
    if isinstance(degradation, ConvolutionalBlur):
        # Its own kernel where that is known, and otherwise several that it may become.
        generators = [torch.Generator().manual_seed(seed) for seed in range(8)]
        phi = degradation.draw(generators, torch.zeros(1))
        spectral(degradation, phi, degradation.frame.image_size((8, 8)))
    elif spectral.dispatch(type(degradation)) is spectral.dispatch(Degradation):
        spectral(degradation, Phi(), (1, 1))


def known_svd(degradation: Degradation, phi: Phi, image_size: Size) -> SVD | None:
    """`spectral`, or None where the decomposition is not known."""
    try:
        return spectral(degradation, phi, image_size)
    except ValueError:
        return None
