"""Correlation with kernels that change across the photo, as a linear operator."""

from __future__ import annotations

import torch
from torch import Tensor

from d2ir_pl.operators.convolution import Border, ConvolutionOperator
from d2ir_pl.operators.linear import Size


class VaryingOperator:
    """A x = sum_t w_t (k_t * x): what each tile's kernel makes of x, blended from tile to tile.

    w_t is 1 in the middle of its tile and falls to 0 at the middles of its neighbours, along rows
    and columns; at each pixel of y the weights sum to 1. So A is a correlation with a kernel that
    is interpolated between those of the tiles.

    Args:
        kernels: `(B, rows, columns, k, k)`, k odd.
        image_size: (H, W) of x.
        observed: (H, W) of y.
        border: what lies outside, see `ConvolutionOperator`.

    Source: Nagy and O'Leary, Restoring images degraded by spatially variant blur, 1998, section 2.
    """

    slowness = 3

    def __init__(self, kernels: Tensor, image_size: Size, observed: Size, border: Border) -> None:
        rows, columns = kernels.shape[1:3]
        down = blending(observed[0], rows).to(kernels)
        across = blending(observed[1], columns).to(kernels)
        self._tiles = [
            (
                torch.outer(down[i], across[j]),
                ConvolutionOperator(kernels[:, i, j], image_size, observed, border),
            )
            for i in range(rows)
            for j in range(columns)
        ]
        self._mean = ConvolutionOperator(kernels.mean((1, 2)), image_size, observed, border)

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([w * tile.forward(x) for w, tile in self._tiles]).sum(0)

    def adjoint(self, r: Tensor) -> Tensor:
        return torch.stack([tile.adjoint(w * r) for w, tile in self._tiles]).sum(0)

    def precondition(self, g: Tensor, rho: Tensor) -> Tensor:
        """The approximate inverse of the correlation with the mean of the kernels."""
        return self._mean.precondition(g, rho)


def blending(n: int, tiles: int) -> Tensor:
    """`(tiles, n)`: how much each of several tiles in a row counts at each of n pixels.

    Between the middles of two tiles their weights change linearly; before the first middle and
    behind the last there is one tile alone.
    """
    place = (torch.arange(n, dtype=torch.float64) + 0.5) * tiles / n - 0.5
    place = place.clamp(0, tiles - 1)
    return (1 - (place - torch.arange(tiles)[:, None]).abs()).clamp_min(0)
