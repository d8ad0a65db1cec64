"""Convolutional degradations: a free blur kernel, and a Gaussian one."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Generator, Tensor

from d2ir_pl.degradations.base import LinearDegradation, Phi
from d2ir_pl.degradations.frame import Frame
from d2ir_pl.estimators.edge_kernel import edge_kernel
from d2ir_pl.estimators.kernel_search import spectral_misfit
from d2ir_pl.estimators.spectrum import gaussian_covariance
from d2ir_pl.estimators.widths import MAX_WIDTH, MIN_WIDTH
from d2ir_pl.operators.convolution import Border, ConvolutionOperator
from d2ir_pl.operators.kernels import (
    gaussian_kernel,
    kernel_centroid,
    kernel_covariance,
    principal_widths,
    read_kernel,
    shake_kernel,
)
from d2ir_pl.operators.linear import Size
from d2ir_pl.operators.padding import pad

# Scatter of the logarithm of a width read off the spectrum (docs/experiments.md).
LOG_WIDTH_SCATTER = 0.08
# Width in pixels that spectra of sharp photos stay below, and those of camera shakes above: 0.30 to
# 0.72 for 820 sharp crops of photographs, 0.73 and more for 98 % of 200 shaken ones.
SHARP_WIDTH = 0.72
# Least weight of a kernel entry when a free kernel starts: a softmax cannot leave exact zero.
KERNEL_FLOOR = 1e-5


class ConvolutionalBlur(LinearDegradation):
    """What free and parametric blurs share; see `ConvolutionOperator` for the equation."""

    def __init__(self, kernel_size: int, border: Border) -> None:
        super().__init__()
        if kernel_size < 3 or kernel_size % 2 == 0:
            raise ValueError(f"kernel_size {kernel_size} must be odd and at least 3, such as 21")
        if border not in ("extend", "reflect", "replicate", "circular"):
            raise ValueError(
                f"border {border!r} is unknown: use 'extend', 'reflect', 'replicate' or 'circular'"
            )
        self.kernel_size = kernel_size
        self.border: Border = border
        radius = kernel_size // 2
        self.frame = Frame(margins=((radius, radius),) if border == "extend" else ())

    @abstractmethod
    def kernel(self, phi: Phi) -> Tensor:
        """`(B, k, k)` blur kernels: not negative, with sum 1."""

    def operator(self, phi: Phi, image_size: Size) -> ConvolutionOperator:
        margin = self.frame.before + self.frame.after
        observed = (image_size[0] - margin, image_size[1] - margin)
        if min(observed) < 1:
            raise ValueError(
                f"an image of {image_size[0]}x{image_size[1]} pixels is smaller than the kernel of "
                f"{self.kernel_size}x{self.kernel_size}: use border 'reflect' or a smaller kernel"
            )
        return ConvolutionOperator(self.kernel(phi), image_size, observed, self.border)

    def picture(self, phi: Phi) -> Tensor:
        """The kernels, each brightened so that its largest entry is 1."""
        kernel = self.kernel(phi)
        return kernel / kernel.amax((1, 2), keepdim=True)

    def describe(self, phi: Phi) -> list[dict[str, Any]]:
        kernels = self.kernel(phi).double().cpu()
        rows = []
        for kernel, covariance in zip(kernels, kernel_covariance(kernels), strict=True):
            major, minor, angle = principal_widths(covariance)
            rows.append(
                {
                    "kind": type(self).__name__,
                    "kernel_size": self.kernel_size,
                    "border": self.border,
                    "width_major_px": round(major, 4),
                    "width_minor_px": round(minor, 4),
                    "angle_rad": round(angle, 4),
                    "kernel": [[float(f"{v:.6g}") for v in row] for row in kernel.tolist()],
                }
            )
        return rows


class Blur(ConvolutionalBlur):
    """Blur by a free kernel of `kernel_size` x `kernel_size` non-negative entries with sum 1.

    y(u) = sum_v k(v) x(u + v) + n, with k = softmax(logits). phi: `logits` `(B, k, k)`.

    An unknown kernel starts as the anisotropic Gaussian that the power spectrum of y shows
    (`spectrum.py`) or, where the photo is blurred at all and that explains the spectrum better, as
    the kernel that the edges of y show (`edge_kernel.py`). A kernel on the simplex follows Fergus
    et al. 2006.

    Args:
        kernel_size: side of the kernel in pixels, odd. Ignored where `kernel` is given.
        border: `extend` (nothing is assumed about what lies outside the photo), `reflect`,
            `replicate` or `circular`.
        kernel: file with the known kernel, `.npy` (2-D, applied as correlation) or an image whose
            brightness is the weight. The kernel is then not estimated.
        start: where an unknown kernel starts: `edges`, or the Gaussian of the `spectrum` alone.

    Raises:
        ValueError: for an even or tiny size, or a kernel file that holds no kernel.
    """

    def __init__(
        self,
        kernel_size: int = 21,
        border: Border = "extend",
        kernel: str | None = None,
        start: Literal["edges", "spectrum"] = "edges",
    ) -> None:
        if start not in ("edges", "spectrum"):
            raise ValueError(f"start {start!r} must be 'edges' or 'spectrum'")
        known = None if kernel is None else read_kernel(Path(kernel))
        super().__init__(kernel_size if known is None else known.shape[-1], border)
        self.start = start
        self.estimated = known is None
        self.register_buffer("known", known, persistent=False)

    def kernel(self, phi: Phi) -> Tensor:
        return phi["logits"].flatten(1).softmax(1).view_as(phi["logits"])

    def init(self, y: Tensor, sigma_y: Tensor) -> Phi:
        if isinstance(self.known, Tensor):
            return _known_logits(self.known, len(y), y)
        covariance = gaussian_covariance(y, sigma_y, isotropic=False)
        kernel = gaussian_kernel(covariance, self.kernel_size)
        if self.start == "edges":
            blurred = torch.linalg.eigvalsh(covariance.cpu())[:, 1].to(y.device) > SHARP_WIDTH**2
            likely = self._more_likely(y[blurred], sigma_y[blurred], kernel[blurred])
            kernel = kernel.index_put((blurred,), likely)
        kernel = kernel + KERNEL_FLOOR
        return Phi(logits=(kernel / kernel.sum((1, 2), keepdim=True)).log())

    def _more_likely(self, y: Tensor, sigma_y: Tensor, gaussian: Tensor) -> Tensor:
        """Of the Gaussian `(B, k, k)` and the kernel of the edges, what suits each spectrum."""
        if not len(y):
            return gaussian
        edges = [edge_kernel(image, self.kernel_size) for image in y]
        rows = zip(gaussian, edges, strict=True)
        both = torch.stack([torch.stack([g, g if e is None else e.to(g)]) for g, e in rows])
        choice = spectral_misfit(y, sigma_y, both).argmin(1)
        return both[torch.arange(len(y), device=y.device), choice]

    def draw(self, generators: Sequence[Generator], like: Tensor) -> Phi:
        """The known kernel, or a random camera shake: a smooth path, slightly out of focus."""
        if isinstance(self.known, Tensor):
            return _known_logits(self.known, len(generators), like)
        kernels = torch.stack([shake_kernel(g, self.kernel_size) for g in generators]).to(like)
        return Phi(logits=(kernels + 1e-12).log())

    def anchor(self, phi: Phi, start: Phi) -> Tensor:
        """Change of the covariance's logarithm, in units of the spectrum's scatter.

        It holds the size and direction of the kernel that the spectrum shows, and leaves its
        shape free.
        """
        now, then = (kernel_covariance(self.kernel(p)) for p in (phi, start))
        change = torch.stack(
            [
                (now[:, 0, 0] / then[:, 0, 0]).log() / 2,
                (now[:, 1, 1] / then[:, 1, 1]).log() / 2,
                (now[:, 0, 1] - then[:, 0, 1]) / (then[:, 0, 0] * then[:, 1, 1]).sqrt(),
            ]
        )
        return (change / LOG_WIDTH_SCATTER).square().sum(0)

    def canonicalize(self, phi: Phi) -> Phi:
        """Re-centre: y cannot tell a shifted kernel from a shifted image."""
        kernel = self.kernel(phi)
        offset = kernel_centroid(kernel).nan_to_num().round().long()
        logits = phi["logits"]
        rows = []
        for image, (dx, dy) in zip(logits, offset.tolist(), strict=True):
            r = self.kernel_size // 2
            shifted = pad(image, (r, r), (r, r), "replicate")
            rows.append(shifted[r + dy : r + dy + image.shape[0], r + dx : r + dx + image.shape[1]])
        return Phi(logits=torch.stack(rows))


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
        known = None if width is None else torch.as_tensor(width, dtype=torch.float32).reshape(-1)
        if known is not None and (not bool((known > 0).all()) or len(known) > 2):
            raise ValueError(f"width {width} must be one or two positive numbers of pixels")
        if known is not None and len(known) == 2 and isotropic:
            raise ValueError(f"width {width} has two axes: set isotropic to false, or give one")
        if not 0 < draw_width[0] <= draw_width[1]:
            raise ValueError(f"draw_width {draw_width} must be two positive widths, small first")
        if known is not None and len(known) == 1 and not isotropic:
            known = known.expand(2).clone()
        self.isotropic = isotropic
        self.estimated = known is None
        self.angle = angle
        self.draw_width = draw_width
        self.register_buffer("known", known, persistent=False)

    def covariance(self, phi: Phi) -> Tensor:
        """`(B, 2, 2)` in pixels^2, order (x, y)."""
        variance = (2 * phi["log_width"]).exp()
        if self.isotropic:
            return torch.diag_embed(variance.expand(-1, 2))
        cos, sin = phi["angle"].cos(), phi["angle"].sin()
        rotation = torch.stack([cos, -sin, sin, cos], -1).unflatten(-1, (2, 2))
        return rotation @ torch.diag_embed(variance) @ rotation.mT

    def kernel(self, phi: Phi) -> Tensor:
        return gaussian_kernel(self.covariance(phi), self.kernel_size)

    def init(self, y: Tensor, sigma_y: Tensor) -> Phi:
        if isinstance(self.known, Tensor):
            return self._known(len(y), y)
        covariance = gaussian_covariance(y, sigma_y, self.isotropic)
        return self._from_covariance(covariance)

    def draw(self, generators: Sequence[Generator], like: Tensor) -> Phi:
        if isinstance(self.known, Tensor):
            return self._known(len(generators), like)
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
        return ((inner - eye) / 2 / LOG_WIDTH_SCATTER).square().sum((1, 2)) / 2

    def init_enlarged(self, y: Tensor, seen: Tensor, factor: float, sigma_y: Tensor) -> Phi:
        """Widths grow with the photo: natural images have the same statistics at every scale."""
        phi = self.init(seen, sigma_y)
        if not self.estimated:
            return phi
        return self.canonicalize(phi.replace(log_width=phi["log_width"] + math.log(factor)))

    def canonicalize(self, phi: Phi) -> Phi:
        """Keep the widths where a spectrum can tell them."""
        bounds = math.log(MIN_WIDTH), math.log(MAX_WIDTH)
        return phi.replace(log_width=phi["log_width"].clamp(*bounds))

    def _known(self, count: int, like: Tensor) -> Phi:
        assert isinstance(self.known, Tensor)
        log_width = self.known.to(like).log().expand(count, -1).clone()
        if self.isotropic:
            return Phi(log_width=log_width)
        return Phi(log_width=log_width, angle=torch.full_like(log_width[:, 0], self.angle))

    def _from_covariance(self, covariance: Tensor) -> Phi:
        if self.isotropic:
            return Phi(log_width=covariance[:, 0, :1].log() / 2)
        values, vectors = torch.linalg.eigh(covariance)
        angle = torch.atan2(vectors[:, 1, 1], vectors[:, 0, 1]) % math.pi
        return Phi(log_width=values.flip(1).log() / 2, angle=angle)


def _known_logits(kernel: Tensor, count: int, like: Tensor) -> Phi:
    # exp(-69) is 1e-30: a zero of the known kernel stays one to single precision.
    return Phi(logits=kernel.to(like).clamp_min(1e-30).log().expand(count, -1, -1).clone())
