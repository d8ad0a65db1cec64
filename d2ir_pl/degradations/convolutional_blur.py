"""What all blurs by a kernel have in common."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar, Literal, get_args

from torch import Tensor

from d2ir_pl.degradations.base import LinearDegradation
from d2ir_pl.degradations.frame import Frame
from d2ir_pl.degradations.phi import Phi
from d2ir_pl.operators.convolution import Border, ConvolutionOperator, require_border
from d2ir_pl.operators.encoding import from_light, slope_of_light, to_light
from d2ir_pl.operators.in_light import InLight
from d2ir_pl.operators.kernels import kernel_covariance, principal_widths
from d2ir_pl.operators.linear import LinearOperator, Size, size_of
from d2ir_pl.operators.svd import SEPARABLE, SVD, Circulant, Separable, correlation_matrix

Response = Literal["linear", "srgb"]
"""How a camera has stored light: as it is, or by the curve of sRGB; see `ConvolutionalBlur`."""


class ConvolutionalBlur(LinearDegradation):
    """What free and parametric blurs share; see `ConvolutionOperator` for the equation.

    A blur happens to light. With response `linear` the values of a file are taken for light, in
    which the blur is linear: y = A x + n. That is nearly right but at strong edges. With `srgb`
    they are taken for what the curve of sRGB makes of light, y = e(A l(x)) + n, where l decodes the
    values of a file and e encodes them (`operators/encoding.py`), and the data step follows the
    derivative of that.
    """

    uniform = True
    phi_settings: ClassVar[tuple[str, ...]] = ("kernel_size", "response")

    def __init__(self, kernel_size: int, border: Border, response: Response = "linear") -> None:
        super().__init__()
        if kernel_size < 3 or kernel_size % 2 == 0:
            raise ValueError(f"kernel_size {kernel_size} must be odd and at least 3, such as 21")
        require_border(border)
        if response not in get_args(Response):
            raise ValueError(f"response {response!r} is unknown: use 'linear' or 'srgb'")
        self.kernel_size = kernel_size
        self.border: Border = border
        self.response: Response = response
        self.linear = response == "linear"
        radius = kernel_size // 2
        self.frame = Frame(margins=((radius, radius),) if border == "extend" else ())

    @abstractmethod
    def kernel(self, phi: Phi) -> Tensor:
        """`(B, k, k)` blur kernels: not negative, with sum 1."""

    def init_rounded(self, y: Tensor, sigma_y: Tensor) -> Phi:
        """A first guess of phi where a compression has rounded detail below sigma_y away.

        Args:
            y: `(B, 3, H, W)` compressed photos in [-1, 1].
            sigma_y: `(B,)` size of the rounding in the units of y.
        """
        return self.init(y, sigma_y)

    def operator(self, phi: Phi, image_size: Size) -> ConvolutionOperator:
        return self._correlation(self.kernel(phi), image_size)

    def _correlation(self, kernel: Tensor, image_size: Size) -> ConvolutionOperator:
        """The correlation of images of a size with kernels of `kernel_size`."""
        margin = self.frame.before + self.frame.after
        observed = (image_size[0] - margin, image_size[1] - margin)
        if min(observed) < 1:
            raise ValueError(
                f"an image of {image_size[0]}x{image_size[1]} pixels is smaller than the kernel of "
                f"{self.kernel_size}x{self.kernel_size}: use border 'reflect' or a smaller kernel"
            )
        if self.border == "extend":  # a known kernel may have a margin that holds nothing
            outside = self.kernel_size // 2 - self.frame.before
            inner = slice(outside, self.kernel_size - outside)
            kernel = kernel[:, inner, inner]
        return ConvolutionOperator(kernel, image_size, observed, self.border)

    def forward(self, x: Tensor, phi: Phi) -> Tensor:
        if self.linear:
            return super().forward(x, phi)
        return InLight(self.operator(phi, size_of(x)), x).value

    def linearize(self, y: Tensor, x: Tensor, phi: Phi) -> tuple[LinearOperator, Tensor]:
        if self.linear:
            return super().linearize(y, x, phi)
        derivative = InLight(self.operator(phi, size_of(x)), x)
        return derivative, self.residual(y, derivative.value, phi)

    def tangents(self, x: Tensor, near: Phi, weights: Tensor) -> tuple[Tensor, list[Tensor]]:
        """D_phi(x), and its derivatives by P parameters, cheaper than by autograd.

        Args:
            x: `(B, 3, H, W)` images.
            near: n parameters of each image that lie close together, one after the other.
            weights: `(1 + P, n)` factors that make sums of functions of them what they are at phi,
                and their derivatives.
        """
        kernels = self.kernel(near).view(len(x), -1, self.kernel_size**2)
        sums = (weights @ kernels).to(x).unflatten(-1, (self.kernel_size, self.kernel_size))
        light = x if self.linear else to_light((x + 1) / 2)
        value, *changes = (
            self._correlation(kernel, size_of(x)).forward_of_many(light)
            for kernel in sums.unbind(1)
        )
        if self.linear:
            return value, changes
        value = from_light(value)
        slope = 2 / slope_of_light(value)
        return 2 * value - 1, [slope * change for change in changes]

    def light(self, y: Tensor, sigma_y: Tensor) -> tuple[Tensor, Tensor]:
        """The values in which the blur is linear, in [-1, 1], and their noise in the mean.

        Args:
            y: `(B, 3, H, W)` images in [-1, 1].
            sigma_y: `(B,)` standard deviation of their noise in the units of y.
        """
        if self.linear:
            return y, sigma_y
        stored = (y + 1) / 2
        slope = slope_of_light(stored).square().flatten(1).mean(1).sqrt()
        return 2 * to_light(stored) - 1, slope.to(sigma_y) * sigma_y

    def svd(self, phi: Phi, image_size: Size) -> SVD:
        if not self.linear:
            raise ValueError(
                "a blur with response 'srgb' is not linear, and has no singular values: set "
                "response 'linear', or use another method"
            )
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
                    "response": self.response,
                    "width_major_px": round(major, 4),
                    "width_minor_px": round(minor, 4),
                    "angle_rad": round(angle, 4),
                    # Nine digits tell every float32 from its neighbours.
                    "kernel": [[float(f"{v:.9g}") for v in row] for row in kernel.tolist()],
                }
            )
        return rows
