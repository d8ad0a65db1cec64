"""Blur by a Gaussian kernel."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Generator, Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from d2ir_pl.degradations.convolutional_blur import ConvolutionalBlur, Response
from d2ir_pl.degradations.phi import Phi
from d2ir_pl.degradations.ranges import require_range
from d2ir_pl.estimators.spectrum import gaussian_covariance
from d2ir_pl.estimators.widths import LOG_WIDTH_SCATTER, MAX_WIDTH, MIN_WIDTH
from d2ir_pl.operators.constants import kept
from d2ir_pl.operators.convolution import Border
from d2ir_pl.operators.covariances import principal_axes
from d2ir_pl.operators.kernels import kernel_of_precision


class GaussianBlur(ConvolutionalBlur):
    """Blur by a Gaussian kernel with the same or with different widths along two axes.

    y = k * x + n (correlation), k(v) proportional to exp(-v^T S^-1 v / 2), S = R diag(w^2) R^T,
    R the rotation by `angle` from the x axis toward the y axis, which points down.
    phi: `log_width` `(B, 1)` or `(B, 2)`, natural logarithm of w in pixels; `angle` `(B,)` in
    radians (anisotropic only).

    Unknown widths start from the power spectrum of y (see `spectrum.py`).

    Args:
        kernel_size: side of the kernel in pixels, odd; widths much above a quarter of it are cut.
        isotropic: one width in all directions.
        border: see `Blur`.
        width: the known width in pixels, or [major, minor]; it is then not estimated.
        angle: direction of the major axis in radians, for a known anisotropic blur.
        draw_width: range from which widths are drawn to degrade clean images.
        response: how the camera has stored light, `linear` or `srgb`; see `ConvolutionalBlur`.

    Raises:
        ValueError: for widths that are not positive, or do not fit `isotropic`.
    """

    phi_settings = ("kernel_size", "response", "isotropic")

    def __init__(
        self,
        kernel_size: int = 21,
        isotropic: bool = True,
        border: Border = "extend",
        width: float | list[float] | None = None,
        angle: float = 0.0,
        draw_width: tuple[float, float] = (0.8, 2.5),
        response: Response = "linear",
    ) -> None:
        super().__init__(kernel_size, border, response)
        require_range("draw_width", draw_width, above=0)
        self.isotropic = isotropic
        self.draw_width = draw_width
        if width is not None:
            self._tell(_known(width, isotropic, angle))

    def covariance(self, phi: Phi) -> Tensor:
        """Covariances `(B, 2, 2)` of the kernels in pixels^2, order (x, y)."""
        s_xx, s_xy, s_yy = self._quadratic(phi, 2.0).expand(-1, 3).unbind(1)
        if self.isotropic:
            s_xy = torch.zeros_like(s_xy)
        return torch.stack([s_xx, s_xy, s_xy, s_yy], 1).view(-1, 2, 2)

    def kernel(self, phi: Phi) -> Tensor:
        return kernel_of_precision(self._quadratic(phi, -2.0), self.kernel_size)

    def init(self, y: Tensor, sigma_y: Tensor) -> Phi:
        covariance = gaussian_covariance(*self.light(y, sigma_y), self.isotropic)
        return self._from_covariance(covariance)

    def init_rounded(self, y: Tensor, sigma_y: Tensor) -> Phi:
        covariance = gaussian_covariance(*self.light(y, sigma_y), self.isotropic, rounded=True)
        return self._from_covariance(covariance)

    def draw(self, generators: Sequence[Generator], like: Tensor) -> Phi:
        u = torch.stack([torch.rand(3, generator=g) for g in generators]).to(like)
        low, high = self.draw_width
        log_width = (low + (high - low) * u[:, : 1 if self.isotropic else 2]).log()
        if self.isotropic:
            return Phi(log_width=log_width)
        log_width = log_width.sort(1, descending=True).values
        return Phi(log_width=log_width, angle=math.pi * u[:, 2])

    def anchor(self, phi: Phi, start: Phi) -> Tensor:
        """Change of log width in units of the spectrum's scatter, mean square over the two axes."""
        # Half of C = S_then^-1/2 S_now S_then^-1/2 - 1 is the change of log width to first order.
        if self.isotropic:
            change = torch.expm1(2 * (phi["log_width"] - start["log_width"]))[:, 0]
            return (change / 2 / LOG_WIDTH_SCATTER).square()
        then, metric = self._metric(start)
        change = (self._quadratic(phi, 2.0) - then)[:, None]
        return (change @ metric @ change.mT)[:, 0, 0]

    def canonicalize(self, phi: Phi) -> Phi:
        """Keep the widths where a spectrum can tell them."""
        bounds = math.log(MIN_WIDTH), math.log(MAX_WIDTH)
        return phi.replace(log_width=phi["log_width"].clamp(*bounds))

    def _from_covariance(self, covariance: Tensor) -> Phi:
        if self.isotropic:
            return Phi(log_width=covariance[:, 0, :1].log() / 2)
        variances, angle = principal_axes(covariance)
        return Phi(log_width=variances.flip(1).log() / 2, angle=angle % math.pi)

    def _quadratic(self, phi: Phi, power: float) -> Tensor:
        """The entries xx, xy and yy of R diag(w^power) R^T, `(B, 3)`; `(B, 1)` where isotropic."""
        along = (power * phi["log_width"]).exp()
        if self.isotropic:
            return along
        mean, half = (along @ _halves(along)).split(1, 1)
        turn = torch.add(_phases(along), phi["angle"][:, None], alpha=2).cos()
        return torch.addcmul(mean * _trace(along), half, turn)

    def _metric(self, start: Phi) -> tuple[Tensor, Tensor]:
        """The covariance `(B, 3)` at the start, and the metric `(B, 3, 3)` of changes of it.

        The squares of the entries of C, see `anchor`, have the sum tr (S_then^-1 D)^2, which is
        quadratic in D = S_now - S_then.
        """
        key, angle = start["log_width"], start["angle"]
        if key not in _METRICS or _METRICS[key][0] is not angle:
            p_xx, p_xy, p_yy = self._quadratic(start, -2.0).unbind(1)
            precision = torch.stack([p_xx, p_xy, p_xy, p_yy], 1).view(-1, 1, 2, 2)
            mixed = precision @ _entries(key)
            metric = (mixed[:, :, None] * mixed[:, None].mT).sum((3, 4))
            metric = metric / 8 / LOG_WIDTH_SCATTER**2
            _METRICS[key] = angle, self._quadratic(start, 2.0), metric
        _, then, found = _METRICS[key]
        return then, found


_METRICS: Any = WeakTensorKeyDictionary()
"""What `anchor` needs of the parameters at the start, by their widths."""


@kept
def _halves() -> Tensor:
    """What makes (a + b) / 2 and (a - b) / 2 of (a, b)."""
    return torch.tensor([[0.5, 0.5], [0.5, -0.5]], dtype=torch.float64)


@kept
def _phases() -> Tensor:
    """The angles whose cosines are cos, sin and -cos."""
    return torch.tensor([0, -math.pi / 2, math.pi], dtype=torch.float64)


@kept
def _trace() -> Tensor:
    """The entries xx, xy and yy of the unit matrix."""
    return torch.tensor([1.0, 0.0, 1.0], dtype=torch.float64)


@kept
def _entries() -> Tensor:
    """`(3, 2, 2)`: symmetric matrices that have one of the entries xx, xy and yy."""
    xx, xy, yy = [[1.0, 0], [0, 0]], [[0, 1.0], [1.0, 0]], [[0, 0], [0, 1.0]]
    return torch.tensor([xx, xy, yy], dtype=torch.float64)


def _known(width: float | list[float], isotropic: bool, angle: float) -> Phi:
    """The parameters of one image, checked."""
    widths = torch.as_tensor(width, dtype=torch.float32).reshape(1, -1)
    if not bool((widths > 0).all()) or widths.shape[1] > 2:
        raise ValueError(f"width {width} must be one or two positive numbers of pixels")
    if isotropic:
        if widths.shape[1] == 2:
            raise ValueError(f"width {width} has two axes: set isotropic to false, or give one")
        return Phi(log_width=widths.log())
    return Phi(log_width=widths.log().expand(-1, 2), angle=torch.tensor([angle]))
