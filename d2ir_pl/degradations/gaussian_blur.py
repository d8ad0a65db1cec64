"""Blur by a Gaussian kernel."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Generator, Tensor

from d2ir_pl.degradations.convolutional_blur import ConvolutionalBlur
from d2ir_pl.degradations.phi import Phi
from d2ir_pl.degradations.ranges import require_range
from d2ir_pl.estimators.spectrum import gaussian_covariance
from d2ir_pl.estimators.widths import LOG_WIDTH_SCATTER, MAX_WIDTH, MIN_WIDTH
from d2ir_pl.operators.convolution import Border
from d2ir_pl.operators.kernels import gaussian_kernel


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

    Raises:
        ValueError: for widths that are not positive, or do not fit `isotropic`.
    """

    phi_settings = ("kernel_size", "isotropic")

    def __init__(
        self,
        kernel_size: int = 21,
        isotropic: bool = True,
        border: Border = "extend",
        width: float | list[float] | None = None,
        angle: float = 0.0,
        draw_width: tuple[float, float] = (0.8, 2.5),
    ) -> None:
        super().__init__(kernel_size, border)
        require_range("draw_width", draw_width, above=0)
        self.isotropic = isotropic
        self.draw_width = draw_width
        if width is not None:
            self._tell(_known(width, isotropic, angle))

    def covariance(self, phi: Phi) -> Tensor:
        """Covariances `(B, 2, 2)` of the kernels in pixels^2, order (x, y)."""
        variance = (2 * phi["log_width"]).exp()
        if self.isotropic:
            return torch.diag_embed(variance.expand(-1, 2))
        cos, sin = phi["angle"].cos(), phi["angle"].sin()
        rotation = torch.stack([cos, -sin, sin, cos], -1).view(-1, 2, 2)
        return rotation @ torch.diag_embed(variance) @ rotation.mT

    def kernel(self, phi: Phi) -> Tensor:
        return gaussian_kernel(self.covariance(phi), self.kernel_size)

    def init(self, y: Tensor, sigma_y: Tensor) -> Phi:
        covariance = gaussian_covariance(y, sigma_y, self.isotropic)
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
        now, then = self.covariance(phi), self.covariance(start)
        root = torch.linalg.cholesky(then)
        inner = torch.linalg.solve_triangular(root, now, upper=False)
        inner = torch.linalg.solve_triangular(root, inner.mT, upper=False)
        eye = torch.eye(2, device=now.device, dtype=now.dtype)
        # Half of S_then^-1/2 S_now S_then^-T/2 - 1 is the change of log width to first order.
        change: Tensor = (inner - eye) / 2 / LOG_WIDTH_SCATTER
        return change.square().sum((1, 2)) / 2

    def canonicalize(self, phi: Phi) -> Phi:
        """Keep the widths where a spectrum can tell them."""
        bounds = math.log(MIN_WIDTH), math.log(MAX_WIDTH)
        return phi.replace(log_width=phi["log_width"].clamp(*bounds))

    def _from_covariance(self, covariance: Tensor) -> Phi:
        if self.isotropic:
            return Phi(log_width=covariance[:, 0, :1].log() / 2)
        values, vectors = torch.linalg.eigh(covariance)
        angle = torch.atan2(vectors[:, 1, 1], vectors[:, 0, 1]) % math.pi
        return Phi(log_width=values.flip(1).log() / 2, angle=angle)


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
