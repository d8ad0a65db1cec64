"""What all blurs by a kernel have in common."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

from torch import Tensor

from d2ir_pl.degradations.base import LinearDegradation
from d2ir_pl.degradations.frame import Frame
from d2ir_pl.degradations.phi import Phi
from d2ir_pl.operators.convolution import Border, ConvolutionOperator, require_border
from d2ir_pl.operators.kernels import kernel_covariance, principal_widths
from d2ir_pl.operators.linear import Size
from d2ir_pl.operators.svd import SEPARABLE, SVD, Circulant, Separable, correlation_matrix


class ConvolutionalBlur(LinearDegradation):
    """What free and parametric blurs share; see `ConvolutionOperator` for the equation."""

    uniform = True
    phi_settings: ClassVar[tuple[str, ...]] = ("kernel_size",)

    def __init__(self, kernel_size: int, border: Border) -> None:
        super().__init__()
        if kernel_size < 3 or kernel_size % 2 == 0:
            raise ValueError(f"kernel_size {kernel_size} must be odd and at least 3, such as 21")
        require_border(border)
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
        kernel = self.kernel(phi)
        if self.border == "extend":  # a known kernel may have a margin that holds nothing
            outside = self.kernel_size // 2 - self.frame.before
            inner = slice(outside, self.kernel_size - outside)
            kernel = kernel[:, inner, inner]
        return ConvolutionOperator(kernel, image_size, observed, self.border)

    def svd(self, phi: Phi, image_size: Size) -> SVD:
        kernel = self.kernel(phi)
        if self.border == "circular":
            return Circulant(kernel, image_size)
        rows, columns = kernel.sum(2), kernel.sum(1)
        excess = (kernel - rows[:, :, None] * columns[:, None, :]).abs().amax()
        if float(excess) > SEPARABLE * float(kernel.amax()):
            raise ValueError(
                f"a kernel that is no product of a row and a column has singular values with "
                f"border 'circular' only, not {self.border!r}: set that, or use an isotropic "
                f"Gaussian"
            )
        return Separable(
            correlation_matrix(rows, image_size[0], self.border),
            correlation_matrix(columns, image_size[1], self.border),
        )

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
                    # Nine digits tell every float32 from its neighbours.
                    "kernel": [[float(f"{v:.9g}") for v in row] for row in kernel.tolist()],
                }
            )
        return rows
