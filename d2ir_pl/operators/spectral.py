"""Convolutions of images that are known by their spectra: half a pair of FFTs each way."""

from __future__ import annotations

from copy import copy
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from d2ir_pl.operators.conditioning import Conditioning
from d2ir_pl.operators.constants import kept
from d2ir_pl.operators.linear import Map, Size
from d2ir_pl.operators.opponent import from_opponent, to_opponent

Margins = tuple[tuple[int, int], tuple[int, int]]
"""(top, bottom) and (left, right)."""


class OnSpectra:
    """A correlation A of images on a circle, as a map of their spectra, and what is close to it.

    A spectrum is the orthonormal FFT of a real image on the circle as `(B, C, H, W // 2 + 1, 2)`
    real numbers, those that stand for two frequencies times sqrt 2: inner products of spectra are
    those of images. With x on the whole circle, more pixels are free than in an image that lies in
    it; A does not see them, so that (A^T A + rho)^-1 A^T r is zero there and the same elsewhere.

    Args:
        transfer: `(B, 1, H, W // 2 + 1)` factors of A.
        circle: (H, W).
        image: where the image lies on the circle.
        seen: where y lies on it.

    Attributes:
        transfer: these factors, of a correlation that nothing is done to; None of another map.
    """

    transfer: Tensor | None

    def __init__(self, transfer: Tensor, circle: Size, image: Margins, seen: Margins) -> None:
        self.circle = circle
        self._image, self.seen = image, seen
        self.transfer = self._factor = transfer
        self._after: list[Map] = []
        self._weight: Tensor | None = None
        self._inverse: tuple[Tensor, Tensor] | None = None

    @property
    def of_each_colour(self) -> bool:
        """Whether colours do not mix, so that each can be mapped by itself."""
        return self._weight is None

    @property
    def conditioning(self) -> Conditioning | None:
        """What is known of a correlation that makes nothing brighter, and of a part of its values.

        Nothing of noise that is not white.
        """
        return None if self._weight is not None else Conditioning(above=True)

    def followed(self, symmetric: Map, weight: Tensor | None = None) -> OnSpectra:
        """The same with a map done to A x.

        Args:
            symmetric: a map that is its own transpose.
            weight: `(B, 3, H, W // 2 + 1)` factors of luminance and differences of colours, by
                which the map multiplies the power of A's spectrum; None for 1.
        """
        other = copy(self)
        other._after = [*self._after, symmetric]
        other._weight = self._weight if weight is None else weight
        other.transfer = None
        return other

    def forward(self, spectrum: Tensor) -> Tensor:
        """A x, `(B, C, h, w)`, from the spectrum of x."""
        y = self._correlated(spectrum)
        for change in self._after:
            y = change(y)
        return y

    def adjoint(self, r: Tensor) -> Tensor:
        """The spectrum of A^T r."""
        for change in reversed(self._after):
            r = change(r)
        return self._transposed(r)

    def precondition(self, g: Tensor, rho: Tensor) -> Tensor:
        """About (A^T A + rho)^-1 of a spectrum, as if all of the circle were seen."""
        if self._inverse is None or self._inverse[0] is not rho:
            seen = self._power if self._weight is None else self._power * self._weight
            # Whole rows of numbers: a last dimension of one would be spread in each product.
            self._inverse = rho, (1 / (seen + rho))[..., None].repeat_interleave(2, -1)
        inverse = self._inverse[1]
        if self._weight is None:
            return g * inverse
        # Matrices of the three colours: the last two dimensions are no others for them.
        colours = to_opponent(g.flatten(-2)).view_as(g) * inverse
        return from_opponent(colours.flatten(-2)).view_as(g)

    def to_image(self, spectrum: Tensor) -> Tensor:
        """The image that has a spectrum, cut out of the circle."""
        return self.cut(self._values(spectrum, self._single))

    def cut(self, values: Tensor) -> Tensor:
        """The image that lies among values on the circle."""
        return trimmed(values, *self._image)

    @cached_property
    def _power(self) -> Tensor:
        return self._factor.abs() ** 2

    @cached_property
    def _single(self) -> Tensor:
        return 1 / _roots(self._power, self.circle[1])

    @cached_property
    def _forward(self) -> Tensor:
        return self._factor * self._single

    @cached_property
    def _adjoint(self) -> Tensor:
        return self._factor.conj() / self._single

    def _correlated(self, spectrum: Tensor) -> Tensor:
        """A x for `forward`."""
        return trimmed(self._values(spectrum, self._forward), *self.seen)

    def _transposed(self, r: Tensor) -> Tensor:
        """The spectrum of A^T r for `adjoint`."""
        rows, columns = self.seen
        spectrum = torch.fft.rfft2(F.pad(r, (*columns, *rows)), norm="ortho")
        return torch.view_as_real(spectrum * self._adjoint)

    def _values(self, spectrum: Tensor, factor: Tensor) -> Tensor:
        product = torch.view_as_complex(spectrum) * factor
        values: Tensor = torch.fft.irfft2(product, s=self.circle, norm="ortho")
        return values


def trimmed(x: Tensor, rows: tuple[int, int], columns: tuple[int, int]) -> Tensor:
    """Cut margins off."""
    h, w = x.shape[-2:]
    return x[..., rows[0] : h - rows[1], columns[0] : w - columns[1]]


@kept
def _roots(width: int) -> Tensor:
    """Roots of how many of the frequencies of a row each of its real transform stands for."""
    roots = torch.full((width // 2 + 1,), 2.0, dtype=torch.float64).sqrt()
    roots[0] = 1
    if width % 2 == 0:
        roots[-1] = 1
    return roots
