"""How a blurred image and the anchor change with a free kernel, without autograd."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from d2ir_pl.degradations.convolutional_blur import ConvolutionalBlur
from d2ir_pl.degradations.phi import Phi
from d2ir_pl.estimators.widths import LOG_WIDTH_SCATTER
from d2ir_pl.operators.constants import kept
from d2ir_pl.operators.convolution import ConvolutionOperator
from d2ir_pl.operators.encoding import from_light, slope_of_light, to_light
from d2ir_pl.operators.kernels import covariance_of, kernel_moments, monomials
from d2ir_pl.operators.linear import Transposed, size_of

# Variance in pixels^2 that a kernel counts as having at least: that of a single entry is 0.
LEAST_VARIANCE = 1e-4


class FreeKernel:
    """The `KernelFit` of a blur by k = softmax(logits).

    Args:
        blur: family of blurs with phi `logits`.
        x: `(B, 3, H, W)` images.
        start: parameters of the anchor.
    """

    def __init__(self, blur: ConvolutionalBlur, x: Tensor, start: Phi) -> None:
        self._blur = blur
        self._light = x if blur.linear else to_light((x + 1) / 2)
        then = _variances(kernel_moments(blur.kernel(start)))
        self._start = then, then[:, :1, :1] * then[:, 1:, 1:] / 2

    def at(self, y: Tensor, phi: Phi) -> tuple[Transposed, Tensor]:
        """See `KernelFit`."""
        transposed, value = self.value(phi)
        return transposed, self._blur.residual(y, value, phi)

    def value(self, phi: Phi) -> tuple[Transposed, Tensor]:
        """The transpose of the derivative of D_phi(x) by the kernel, and D_phi(x)."""
        operator, factor = self._blur.operator(phi, size_of(self._light)), None
        value = operator.forward_of_many(self._light)
        if not self._blur.linear:
            value = from_light(value)
            factor, value = 2 / slope_of_light(value), 2 * value - 1
        return _ByKernel(operator, self._light, factor, self._blur.kernel_size), value

    def slope(self, phi: Phi, by_kernel: Tensor, anchor: float) -> Tensor:
        """See `KernelFit`."""
        kernel = self._blur.kernel(phi)
        if anchor:
            terms = _anchor_slope(kernel_moments(kernel), *self._start)
            powers = monomials(kernel, self._blur.kernel_size)[:, 1:]
            by_kernel = torch.addmm(by_kernel, terms, powers.mT, alpha=anchor)
        kernel = kernel.flatten(1)
        weighed = kernel * by_kernel
        return torch.addcmul(weighed, kernel, weighed.sum(1, keepdim=True), value=-1)


class _ByKernel:
    """The transpose of the derivative of a blurred image by the entries of its kernel."""

    def __init__(
        self, operator: ConvolutionOperator, x: Tensor, factor: Tensor | None, side: int
    ) -> None:
        self._operator, self._x, self._factor, self._side = operator, x, factor, side

    def adjoint(self, r: Tensor) -> Tensor:
        r = r if self._factor is None else self._factor * r
        return self._operator.by_kernel(self._x, r, self._side)


def anchor(kernel: Tensor, start: Tensor) -> Tensor:
    """Change `(B,)` of the logarithm of kernels' covariances, in units of the spectrum's scatter.

    It holds the size and direction of the kernel that the spectrum shows, and leaves its shape
    free.

    Args:
        kernel: `(B, k, k)` kernels with sum 1.
        start: those at which they are anchored.
    """
    now, then = (_variances(kernel_moments(k)) for k in (kernel, start))
    widths, first = (c.diagonal(dim1=1, dim2=2) for c in (now, then))
    turned = (now[:, :1, 1] - then[:, :1, 1]) / first.prod(1, keepdim=True).sqrt()
    change = torch.cat([(widths / first).log() / 2, turned], 1) / LOG_WIDTH_SCATTER
    return change.square().sum(1)


def _variances(moments: Tensor) -> Tensor:
    """Covariances `(B, 2, 2)` with variances of at least `LEAST_VARIANCE`."""
    covariance = covariance_of(moments)
    return torch.maximum(covariance, _least(covariance))


def _anchor_slope(moments: Tensor, start: Tensor, half: Tensor) -> Tensor:
    """The derivative of `anchor` by the entries of a kernel, as `(B, 6)` factors of powers of v.

    With C the covariance, c the centroid and G the derivative by C, it is v^T G v - 2 (G c)^T v.
    The powers are x, y, x^2, x y, x y and y^2.

    Args:
        moments: of the kernels.
        start: `_variances` of those at which they are anchored.
        half: half of the product of their two variances, `(B, 1, 1)`.
    """
    covariance = covariance_of(moments)
    least = _least(covariance)
    now = torch.maximum(covariance, least)
    along, across = (now / start).log() / now, (now - start) / half
    by = torch.where(_diagonal(now), along, across) * (covariance > least)
    linear = (by @ moments[:, 1:3, None])[..., 0]
    return torch.cat([-2 * linear, by.flatten(1)], 1) / (2 * LOG_WIDTH_SCATTER**2)


@kept
def _least() -> Tensor:
    """`(2, 2)` what the entries of a covariance count as being at least."""
    return torch.full((2, 2), -math.inf).fill_diagonal_(LEAST_VARIANCE)


@kept
def _diagonal() -> Tensor:
    return torch.eye(2).bool()
