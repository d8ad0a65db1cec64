"""Images that were made smaller: super-resolution, with a known or an unknown blur."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, get_args

import torch
from torch import Generator, Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from d2ir_pl.degradations.base import LinearDegradation
from d2ir_pl.degradations.frame import Frame
from d2ir_pl.degradations.phi import Phi
from d2ir_pl.degradations.ranges import require_range
from d2ir_pl.errors import require
from d2ir_pl.estimators.spectrum import gaussian_covariance
from d2ir_pl.operators.conditioning import Conditioning
from d2ir_pl.operators.constants import kept
from d2ir_pl.operators.convolution import Border, require_border
from d2ir_pl.operators.interpolation import cubic, cubic_interpolation
from d2ir_pl.operators.linear import Size
from d2ir_pl.operators.padding import pad_index
from d2ir_pl.operators.separable import SeparableOperator
from d2ir_pl.operators.svd import SVD, Separable

Kernel = Literal["bicubic", "area", "gaussian", "nearest", "bilinear_aliased", "bicubic_aliased"]

# How far each kernel reaches, in pixels of y, or of x if it is not widened by the factor.
_REACH: dict[Kernel, float] = {"bicubic": 2.0, "area": 0.5, "gaussian": 4.0}
_REACH_IN_X: dict[Kernel, float] = {"nearest": 1.0, "bilinear_aliased": 1.0, "bicubic_aliased": 2.0}
# Widths of a Gaussian in pixels of y that can be told apart: narrower blurs all leave y aliased
# alike, and wider ones mean that y itself is blurred.
LEAST_WIDTH, GREATEST_WIDTH = 0.3, 1.5
# Scatter of the logarithm of a width that is read off the spectrum of a small photograph, with its
# bias.
SMALL_LOG_WIDTH_SCATTER = 0.1


class Downsampling(LinearDegradation):
    """Every `factor`-th pixel of a blurred image: y(i) = sum_j k(factor i + c - j) x(j) + n.

    The same along rows and columns. k is a function of distance in pixels of x with sum 1, and c
    the place of y's first pixel in x. The user's image is `factor` times as large as y.

    - `bicubic`: what Pillow, MATLAB and `torch.nn.functional.interpolate(mode="bicubic",
      antialias=True)` shrink images with: Keys' cubic with a = -1/2, widened by the factor.
      c = (factor - 1) / 2, the middle of a block of factor x factor pixels.
    - `area`: the mean of that block.
    - `bicubic_aliased`, `bilinear_aliased`: samples of a curve through the pixels of x, whatever
      the factor, as `cv2.resize` and `interpolate` without `antialias` take them; the same c. The
      cubic has a = -3/4.
    - `nearest`: the first pixel of each block, as both take it; c = 0.
    - `gaussian`: k(d) proportional to exp(-d^2 / (2 w^2)), c = 0 (or the middle, if `centred`).

    phi: `log_width` `(B, 1)`, natural logarithm of w in pixels of x, for `gaussian`; for the
    others, which have nothing to estimate, `none` `(B, 0)`. An unknown w starts from the power
    spectrum of y (see `spectrum.py`), which shows w / factor: natural images have the same law at
    every scale. It is kept between LEAST_WIDTH and GREATEST_WIDTH pixels of y.

    Args:
        factor: how many times smaller y is along each side, a whole number of at least 2.
        kernel: one of these.
        border: what lies outside the image before it is shrunk: `extend` (nothing is assumed),
            `reflect`, `replicate` or `circular`.
        width: the known w in pixels of the large image; it is then not estimated.
        centred: place the pixels of y as `bicubic` does, for `gaussian`.
        draw_width: range of w to degrade clean images with; [0.5 factor, 1.1 factor] if null.

    Raises:
        ValueError: for settings outside their range.
    """

    uniform = True
    phi_settings = ("factor", "kernel", "centred")

    def __init__(
        self,
        factor: int = 4,
        kernel: Kernel = "bicubic",
        border: Border = "extend",
        width: float | None = None,
        centred: bool = False,
        draw_width: tuple[float, float] | None = None,
    ) -> None:
        super().__init__()
        _check(factor, kernel, border, width, draw_width)
        self.factor = factor
        self.kernel: Kernel = kernel
        self.border: Border = border
        self.centred = centred or kernel not in ("gaussian", "nearest")
        self.draw_width = draw_width or (0.5 * factor, 1.1 * factor)
        # Entries of the kernel before and after the pixel of x with which a block starts.
        reach = _REACH_IN_X[kernel] if kernel in _REACH_IN_X else _REACH[kernel] * factor
        self._before = max(0, math.ceil(reach - self._centre) - 1)
        self._after = max(factor, math.ceil(reach + self._centre)) - 1
        margin = (self._before, self._after + 1 - factor)
        self.frame = Frame(factor, (margin,) if border == "extend" else ())
        if kernel != "gaussian":
            self._tell(Phi(none=torch.empty(1, 0)))
        elif width is not None:
            self._tell(Phi(log_width=torch.tensor([[math.log(width)]])))

    def taps(self, phi: Phi) -> Tensor:
        """`(B, k)` weights with sum 1 along one axis; `(1, k)` where all images share them."""
        distance = _distances(next(iter(phi.values())), -self._before, self._after, self._centre)
        if self.kernel == "gaussian":
            return (-(distance**2) / 2 * (-2 * phi["log_width"]).exp()).softmax(1)
        if self.kernel == "area":
            return torch.full_like(distance, 1 / self.factor)
        if self.kernel == "bicubic":
            weights = cubic(distance / self.factor)
        elif self.kernel == "bicubic_aliased":
            weights = cubic(distance, -0.75)
        else:  # of integers, the nearest one alone is closer than 1
            weights = (1 - distance.abs()).clamp_min(0)
        return weights / weights.sum(1, keepdim=True)

    def matrices(self, phi: Phi, image_size: Size) -> tuple[Tensor, Tensor]:
        """The matrices R and C of y = R x C^T for images x of one size.

        Args:
            phi: parameters.
            image_size: (H, W) of x, such as `frame.image_size` gives.

        Returns:
            R `(B, h, H)` and C `(B, w, W)`, with leading dimension 1 where all images share them.

        Raises:
            ValueError: if H or W less the margin is not a positive multiple of the factor.
        """
        taps = self.taps(phi)
        rows = self._matrix(taps, image_size[0])
        return rows, rows if image_size[0] == image_size[1] else self._matrix(taps, image_size[1])

    def operator(self, phi: Phi, image_size: Size) -> SeparableOperator:
        values = next(iter(phi.values()))
        if values.requires_grad:  # an optimiser moves it
            return SeparableOperator(*self.matrices(phi, image_size), CONDITIONING)
        # Its decompositions take long, and phi is often the same from step to step.
        setting = self.factor, self.kernel, self.border, self.centred, image_size
        made: dict[Any, SeparableOperator] = _OPERATORS.setdefault(values, {})
        if setting not in made:
            made[setting] = SeparableOperator(*self.matrices(phi, image_size), CONDITIONING)
        return made[setting]

    def svd(self, phi: Phi, image_size: Size) -> SVD:
        return Separable(*self.matrices(phi, image_size))

    def init(self, y: Tensor, sigma_y: Tensor) -> Phi:
        variance = gaussian_covariance(y, sigma_y)[:, 0, :1]
        return self.canonicalize(Phi(log_width=variance.log() / 2 + math.log(self.factor)))

    def draw(self, generators: Sequence[Generator], like: Tensor) -> Phi:
        u = torch.stack([torch.rand(1, generator=g) for g in generators]).to(like)
        low, high = self.draw_width
        return Phi(log_width=(low + (high - low) * u).log())

    def lift(self, y: Tensor, phi: Phi) -> Tensor:  # noqa: ARG002
        """Interpolate y bicubically; it is mirrored where x reaches beyond it."""
        before, after = self.frame.before, self.frame.after
        setting = self.factor, before, after, self._centre
        rows, columns = (_interpolation(y, n, *setting) for n in y.shape[-2:])
        return rows @ y @ columns.mT

    def anchor(self, phi: Phi, start: Phi) -> Tensor:
        """Squared change of log width, in units of the spectrum's scatter."""
        if not self.estimated:
            return super().anchor(phi, start)
        change = (phi["log_width"] - start["log_width"])[:, 0]
        return (change / SMALL_LOG_WIDTH_SCATTER).square()

    def canonicalize(self, phi: Phi) -> Phi:
        """Keep the width where the pixels of y can tell it."""
        if not self.estimated:
            return phi
        bounds = math.log(LEAST_WIDTH * self.factor), math.log(GREATEST_WIDTH * self.factor)
        return Phi(log_width=phi["log_width"].clamp(*bounds))

    def describe(self, phi: Phi) -> list[dict[str, Any]]:
        row: dict[str, Any] = {"kind": "Downsampling", "factor": self.factor}
        row |= {"kernel": self.kernel, "border": self.border}
        if self.kernel != "gaussian":
            return [dict(row) for _ in range(phi.count)]
        widths = phi["log_width"][:, 0].exp().tolist()
        return [{**row, "width_px": round(width, 4)} for width in widths]

    def picture(self, phi: Phi) -> Tensor:
        """The kernels in pixels of x, each with a largest entry of 1; negative ones are black."""
        taps = self.taps(phi).expand(phi.count, -1)
        kernel = taps[:, :, None] * taps[:, None, :]
        return (kernel / kernel.amax((1, 2), keepdim=True)).clamp_min(0)

    @property
    def _centre(self) -> float:
        return (self.factor - 1) / 2 if self.centred else 0.0

    def _matrix(self, taps: Tensor, n: int) -> Tensor:
        """The matrix `(B, m, n)` with a row of taps for each of m samples.

        Weights of samples past the border go to the samples that stand there.
        """
        user = n - self.frame.before - self.frame.after
        m = user // self.factor
        if m < 1 or user % self.factor:
            raise ValueError(
                f"a side of {user} pixels is no multiple of the factor {self.factor}: crop it to "
                f"{max(1, m) * self.factor}"
            )
        index = _band(taps, n, m, taps.shape[1], self.factor, self._before, self.border)
        band = taps.new_zeros(len(taps), m * n)
        return band.index_add(1, index, taps.repeat(1, m)).view(-1, m, n)


CONDITIONING = Conditioning(1.5)
"""Of a mean of pixels it would be 1 and less; mirrored borders and negative weights add to it."""

_OPERATORS: Any = WeakTensorKeyDictionary()
"""Operators by their settings, for each tensor of parameters, for as long as it exists."""


@kept
def _distances(first: int, last: int, centre: float) -> Tensor:
    """`(1, k)` places of the entries of a kernel."""
    return (torch.arange(first, last + 1, dtype=torch.float64) - centre)[None]


@kept
def _band(n: int, m: int, length: int, factor: int, before: int, border: Border) -> Tensor:
    """Where the weights of m samples lie in a matrix of m rows and n columns, row by row."""
    column = torch.arange(m)[:, None] * factor + torch.arange(length)
    if border != "extend":
        column = pad_index(n, before, length - before - factor, border)[column]
    return (torch.arange(m)[:, None] * n + column).flatten()


@kept
def _interpolation(m: int, factor: int, before: int, after: int, centre: float) -> Tensor:
    """Matrix `(n, m)` of the cubic through m samples of y, at all pixels of x."""
    position = torch.arange(-before, factor * m + after, dtype=torch.float64)
    return cubic_interpolation((position - centre) / factor, m)


def _check(
    factor: int,
    kernel: str,
    border: str,
    width: float | None,
    draw_width: tuple[float, float] | None,
) -> None:
    if factor < 2 or factor != int(factor):
        raise ValueError(f"factor {factor} must be a whole number of at least 2, such as 4")
    if kernel not in get_args(Kernel):
        raise ValueError(f"kernel {kernel!r} is unknown: use {', '.join(get_args(Kernel))}")
    require_border(border)
    if width is not None and kernel != "gaussian":
        raise ValueError(f"width {width} belongs to kernel 'gaussian': {kernel!r} has none")
    greatest, remedy = GREATEST_WIDTH * factor, f"in pixels for factor {factor}"
    if width is not None:
        require("width", width, high=greatest, above=0, remedy=remedy)
    if draw_width is not None:
        require_range("draw_width", draw_width, high=greatest, above=0, remedy=remedy)
