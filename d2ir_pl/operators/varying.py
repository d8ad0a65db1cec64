"""Correlation with kernels that change across the photo, as a linear operator."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from d2ir_pl.operators.conditioning import Conditioning
from d2ir_pl.operators.constants import kept
from d2ir_pl.operators.convolution import Border, ConvolutionOperator
from d2ir_pl.operators.linear import Size
from d2ir_pl.operators.spectral import Margins, OnSpectra

AT_ONCE = 2**25
"""Values of the images of tiles that are computed together, at most."""


class VaryingOperator(ConvolutionOperator):
    """A x = sum_t w_t (k_t * x): what each tile's kernel makes of x, blended from tile to tile.

    w_t is 1 in the middle of its tile and falls to 0 at the middles of its neighbours, along rows
    and columns; at each pixel of y the weights sum to 1. So A is a correlation with a kernel that
    is interpolated between those of the tiles. `precondition` is that of the mean of the kernels.

    Args:
        kernels: `(B, rows, columns, k, k)`, k odd.
        image_size: (H, W) of x.
        observed: (H, W) of y.
        border: what lies outside, see `ConvolutionOperator`.

    Source: Nagy and O'Leary, Restoring images degraded by spatially variant blur, 1998, section 2.
    """

    slowness = 3

    def __init__(self, kernels: Tensor, image_size: Size, observed: Size, border: Border) -> None:
        super().__init__(kernels.mean((1, 2)), image_size, observed, border)
        rows, columns = kernels.shape[1:3]
        if self.conditioning is not None:  # as |sum_t w_t a_t|^2 is at most sum_t w_t |a_t|^2
            self.conditioning = Conditioning(rows * columns * self.conditioning.gain)
        down = _blending(kernels, observed[0], rows)[:, None, None, :, None]
        across = _blending(kernels, observed[1], columns)[:, None, None]
        together = max(1, AT_ONCE // (3 * len(kernels) * math.prod(image_size)))
        groups = zip(
            kernels.flatten(1, 2).split(together, 1),
            (down * across).flatten(0, 1).split(together),
            strict=True,
        )
        self._tiles = [_Tiles(*group, image_size, observed, border) for group in groups]

    def forward(self, x: Tensor) -> Tensor:
        return _sum([tiles.forward(x) for tiles in self._tiles])

    def adjoint(self, r: Tensor) -> Tensor:
        return _sum([tiles.adjoint(r) for tiles in self._tiles])

    def on_spectra(self) -> OnSpectra | None:
        if self._mode is not None:
            return None
        tiles = [tiles.on_spectra() for tiles in self._tiles]
        margins = self._pads, self._margins
        return _OnSpectra(self._transfer, self.circle, *margins, tiles, self.conditioning)


class _Tiles(ConvolutionOperator):
    """The same for some of the tiles, all at once.

    Args:
        kernels: `(B, T, k, k)`.
        weights: `(T, 1, h, w)`, w_t.
    """

    def __init__(
        self, kernels: Tensor, weights: Tensor, image_size: Size, observed: Size, border: Border
    ) -> None:
        super().__init__(kernels, image_size, observed, border)
        self._weights = weights

    def forward(self, x: Tensor) -> Tensor:
        return (self._weights * super().forward(x[:, None])).sum(1)

    def adjoint(self, r: Tensor) -> Tensor:
        return self._gathered(self._spread(self._weights * r[:, None]).sum(1))

    def on_spectra(self) -> _TilesOnSpectra:
        margins = self._pads, self._margins
        return _TilesOnSpectra(self._transfer, self.circle, *margins, self._weights)


class _TilesOnSpectra(OnSpectra):
    """`_Tiles` for spectra."""

    def __init__(
        self, transfer: Tensor, circle: Size, image: Margins, seen: Margins, weights: Tensor
    ) -> None:
        super().__init__(transfer, circle, image, seen)
        self.transfer = None
        self._weights = weights

    def _correlated(self, spectrum: Tensor) -> Tensor:
        return (self._weights * super()._correlated(spectrum[:, None])).sum(1)

    def _transposed(self, r: Tensor) -> Tensor:
        return super()._transposed(self._weights * r[:, None]).sum(1)


class _OnSpectra(OnSpectra):
    """`VaryingOperator` for spectra."""

    def __init__(
        self,
        mean: Tensor,
        circle: Size,
        image: Margins,
        seen: Margins,
        tiles: Sequence[_TilesOnSpectra],
        known: Conditioning | None,
    ) -> None:
        super().__init__(mean, circle, image, seen)
        self.transfer = None
        self._tiles, self._known = tiles, known

    @property
    def conditioning(self) -> Conditioning | None:
        return None if self._weight is not None else self._known

    def _correlated(self, spectrum: Tensor) -> Tensor:
        return _sum([tiles.forward(spectrum) for tiles in self._tiles])

    def _transposed(self, r: Tensor) -> Tensor:
        return _sum([tiles.adjoint(r) for tiles in self._tiles])


def _sum(parts: Sequence[Tensor]) -> Tensor:
    return torch.stack([*parts]).sum(0) if len(parts) > 1 else parts[0]


def blending(n: int, tiles: int) -> Tensor:
    """`(tiles, n)`: how much each of several tiles in a row counts at each of n pixels.

    Between the middles of two tiles their weights change linearly; before the first middle and
    behind the last there is one tile alone.
    """
    place = (torch.arange(n, dtype=torch.float64) + 0.5) * tiles / n - 0.5
    place = place.clamp(0, tiles - 1)
    return (1 - (place - torch.arange(tiles)[:, None]).abs()).clamp_min(0)


_blending = kept(blending)
