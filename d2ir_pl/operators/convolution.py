"""Correlation with a kernel per image as a linear operator, by FFT, at any border."""

from __future__ import annotations

import math
from functools import cached_property, reduce
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from d2ir_pl.compat import changes
from d2ir_pl.operators.conditioning import Conditioning
from d2ir_pl.operators.constants import kept
from d2ir_pl.operators.freed_memory import one_by_one
from d2ir_pl.operators.linear import Map, Size, joined
from d2ir_pl.operators.noise_shape import NoiseShape
from d2ir_pl.operators.opponent import from_opponent, to_opponent
from d2ir_pl.operators.padding import PadMode, pad, pad_adjoint
from d2ir_pl.operators.spectral import OnSpectra
from d2ir_pl.operators.spectral import trimmed as _trim

Border = Literal["extend", "reflect", "replicate", "circular"]
"""What is assumed about the surroundings of an image; see `ConvolutionOperator`."""


def require_border(border: str) -> None:
    """Raise a ValueError that lists the known borders unless this is one of them."""
    if border not in get_args(Border):
        raise ValueError(
            f"border {border!r} is unknown: use 'extend', 'reflect', 'replicate' or 'circular'"
        )


class ConvolutionOperator:
    """A: correlation of every channel with one kernel per image, `(A x)(u) = sum_v k(v) x(u + v)`.

    With border `extend`, x is larger than y by the kernel's radius on each side (at least): y is
    the part of the correlation in which the kernel stays inside x, so nothing is assumed about
    what lies outside the photo. With the others x has the size of y and is continued past its
    border as named.

    Everything runs by FFT, on a circle large enough that it never wraps into y.

    Args:
        kernel: `(B, k, k)`, k odd.
        image_size: (H, W) of x.
        observed: (H, W) of y.
        border: what lies outside.

    Attributes:
        circle: (H, W) of that circle.
        conditioning: what is known of it where the kernel has weights of at least 0 and sum 1.
    """

    colours_alike = True

    def __init__(self, kernel: Tensor, image_size: Size, observed: Size, border: Border) -> None:
        radius = kernel.shape[-1] // 2
        self._mode: PadMode | None = None if border == "extend" else border
        # How far x is continued at its top and left; with `extend` it is large enough itself.
        before = 0 if border == "extend" else radius
        height, width = (4 * fast_size(math.ceil((n + 2 * before) / 4)) for n in image_size)
        self.circle = height, width  # multiples of 4: odd lengths take an FFT twice as long
        self._pads = _margins(self.circle, image_size, before)
        # Where y lies on the circle: a kernel's radius from the top and left.
        self._margins = _margins(self.circle, observed, radius)
        self._transfer = kernel_spectrum(kernel, self.circle)[..., None, :, :]
        self._inverse: tuple[Tensor, Tensor] | None = None
        self.conditioning = _CONDITIONING.get(border)

    def forward(self, x: Tensor) -> Tensor:
        return self._forward(x, self._transfer.requires_grad)

    def forward_of_many(self, x: Tensor) -> Tensor:
        """The same for an x to which other kernels follow: its spectrum is kept as long as x."""
        return self._forward(x, True)

    def adjoint(self, r: Tensor) -> Tensor:
        return self._gathered(self._spread(r))

    def by_kernel(self, x: Tensor, r: Tensor, side: int) -> Tensor:
        """The derivative `(B, side^2)` of the inner product (r, A x) by a kernel's entries.

        It is the correlation of r with x, c(v) = sum_u r(u) x(u + v), at the offsets v of entries.

        Args:
            x: `(B, C, H, W)`, whose spectrum is kept as by `forward_of_many`.
            r: of the size of y.
            side: of the kernel.
        """
        spectra = (
            torch.fft.rfft2(_zero_pad(part, *self._margins)).conj()
            * self._spectrum(plane, plane is x)
            for plane, part in zip(one_by_one(x), one_by_one(r), strict=True)
        )
        seen = reduce(torch.add, (spectrum.sum(1) for spectrum in spectra))
        correlation = self._image(seen).flatten(1)
        return correlation.index_select(1, _places(correlation, side, *self.circle))

    def precondition(self, g: Tensor, rho: Tensor, shape: NoiseShape | None = None) -> Tensor:
        """The inverse for periodic images, close to the exact one away from the borders.

        Args:
            g: `(B, C, H, W)`.
            rho: `(B, 1, 1, 1)`.
            shape: that of the noise, by which A is whitened; A alone if None.
        """
        if self._inverse is None or self._inverse[0] is not rho:
            seen = self._back.abs() ** 2
            seen = seen if shape is None else seen * shape.weight(self.circle)
            self._inverse = rho, 1 / (seen + rho)
        g = g if shape is None else to_opponent(g)
        x = _trim(self._filter(_zero_pad(g, *self._pads), self._inverse[1]), *self._pads)
        return x if shape is None else from_opponent(x)

    def dual_precondition(self, rho: Tensor, shape: NoiseShape | None = None) -> Map:
        """About (A A^T + rho)^-1: the inverse on the circle, where y is surrounded by zeros.

        Args:
            rho: `(B, 1, 1, 1)`.
            shape: that of the noise, by which A is whitened; A alone if None.
        """
        seen = self._back.abs() ** 2
        inverse = 1 / (seen + rho if shape is None else seen * shape.weight(self.circle) + rho)

        def apply(r: Tensor) -> Tensor:
            r = _zero_pad(r if shape is None else to_opponent(r), *self._margins)
            u = _trim(self._filter(r, inverse), *self._margins)
            return u if shape is None else from_opponent(u)

        return apply

    def on_spectra(self) -> OnSpectra | None:
        """The same for spectra on the circle; None where x is continued past its border."""
        if self._mode is not None:
            return None
        return OnSpectra(self._transfer, self.circle, self._pads, self._margins)

    @cached_property
    def _back(self) -> Tensor:
        """The factor of the convolution, the conjugate of the correlation's, made once."""
        return self._transfer.conj().resolve_conj()

    def _forward(self, x: Tensor, keep: bool) -> Tensor:
        """A x, of one colour of a large photo after the other."""
        spectra = (
            self._spectrum(plane, keep and plane is x) * self._transfer for plane in one_by_one(x)
        )
        return joined([_trim(self._image(s), *self._margins) for s in spectra], 1)

    def _spread(self, r: Tensor) -> Tensor:
        """The spectrum of r on the circle, correlated backwards."""
        spectrum: Tensor = torch.fft.rfft2(_zero_pad(r, *self._margins))
        return spectrum * self._back

    def _gathered(self, spectrum: Tensor) -> Tensor:
        """The image whose spectrum on the circle this is, where x lies, with what continues it."""
        x = self._image(spectrum)
        if self._mode is None:
            return _trim(x, *self._pads)
        return pad_adjoint(x, *self._pads, self._mode)

    def _spectrum(self, x: Tensor, keep: bool) -> Tensor:
        """The spectrum of x on the circle, kept as long as x if that is asked for."""
        key = self.circle, self._pads, self._mode
        known = _SPECTRA.get(x)
        if known is not None and known[0] == (*key, changes(x)):
            kept_spectrum: Tensor = known[1]
            return kept_spectrum
        whole = _zero_pad(x, *self._pads) if self._mode is None else pad(x, *self._pads, self._mode)
        spectrum: Tensor = torch.fft.rfft2(whole)
        if keep and not (x.requires_grad or x.is_inference()):
            _SPECTRA[x] = (*key, changes(x)), spectrum
        return spectrum

    def _image(self, spectrum: Tensor) -> Tensor:
        image: Tensor = torch.fft.irfft2(spectrum, s=self.circle)
        return image

    def _filter(self, x: Tensor, transfer: Tensor) -> Tensor:
        return self._image(torch.fft.rfft2(x) * transfer)


# A mirrored image has each pixel at most twice along each axis, near its border. At a border that
# repeats itself one pixel may count as often as the kernel is wide.
_CONDITIONING = {
    "extend": Conditioning(),
    "circular": Conditioning(above=True),
    "reflect": Conditioning(4.0, above=True),
}

_SPECTRA: Any = WeakTensorKeyDictionary()
"""Spectra of images, with what else they depend on."""


def kernel_spectrum(kernel: Tensor, circle: Size) -> Tensor:
    """The factor `(..., H, W/2 + 1)` of a spectrum in a correlation with kernels.

    Products with the waves of few rows and columns: a Fourier transform of the whole circle, and
    still more its derivative, would take longer.

    Args:
        kernel: `(..., k, k)`, their middles at the origin of the circle.
        circle: (H, W).
    """
    side = kernel.shape[-1]
    down = torch.view_as_complex(_waves(kernel, side, circle[0], circle[0]))
    across = _waves(kernel, side, circle[1], circle[1] // 2 + 1).flatten(1)
    rows = (kernel @ across).unflatten(-1, (-1, 2))
    return down.mT @ torch.view_as_complex(rows)


@kept
def _waves(side: int, period: int, count: int) -> Tensor:
    """`(side, count, 2)`: real and imaginary parts of exp(2 pi i v u / period) at each offset v."""
    offset = torch.arange(side, dtype=torch.float64) - side // 2
    angle = 2 * math.pi / period * (offset[:, None] * torch.arange(count) % period)
    return torch.stack([angle.cos(), angle.sin()], -1)


def transfer_function(kernel: Tensor, circle: Size) -> Tensor:
    """The factor `(B, 1, H, W/2 + 1)` of a spectrum in a correlation with the kernel."""
    spectrum: Tensor = torch.fft.rfft2(wrapped(kernel, circle)[:, None])
    return spectrum.conj()


def wrapped(kernel: Tensor, circle: Size) -> Tensor:
    """`(B, H, W)`: kernels with their middles at the origin of a torus, folded where too large."""
    index = _places(kernel, kernel.shape[-1], *circle)
    canvas = kernel.new_zeros(len(kernel), circle[0] * circle[1])
    return canvas.index_add(1, index, kernel.flatten(1)).view(-1, *circle)


@kept
def _places(side: int, height: int, width: int) -> Tensor:
    """Where the entries of a kernel lie on a torus, `(side^2,)` of the positions in its rows."""
    offset = torch.arange(side) - side // 2
    return ((offset % height)[:, None] * width + offset % width).flatten()


def _margins(outer: Size, inner: Size, before: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """(top, bottom) and (left, right) margins of `inner` placed `before` into `outer`."""
    return (
        (before, outer[0] - inner[0] - before),
        (before, outer[1] - inner[1] - before),
    )


def _zero_pad(x: Tensor, rows: tuple[int, int], columns: tuple[int, int]) -> Tensor:
    return F.pad(x, (*columns, *rows)) if rows != (0, 0) or columns != (0, 0) else x


def fast_size(n: int) -> int:
    """The next length whose only prime factors are 2, 3, 5 and 7, for which FFTs are fast."""
    while True:
        m = n
        for p in (2, 3, 5, 7):
            while m % p == 0:
                m //= p
        if m == 1:
            return n
        n += 1
