"""The coefficients of JPEG as a linear operator, each in units of its rounding error."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from d2ir_pl.degradations.phi import Phi
from d2ir_pl.operators.constants import kept, on_host
from d2ir_pl.operators.jpeg_transform import (
    BLOCK,
    Coefficients,
    analyze,
    blocks,
    colour_matrix,
    dct_matrix,
    mix,
    unshrink,
    whole_blocks,
)
from d2ir_pl.operators.linear import Size, back_in_order, size_of
from d2ir_pl.operators.macroblocks import solved
from d2ir_pl.operators.orientation import stored, stored_size, upright
from d2ir_pl.operators.subsampling import Factors, coarse_size, shrink

Rows = tuple[int, ...]
"""Positions of images in a batch."""


class WhitenedCoefficients:
    """The map A to the coefficients of an image in units of their rounding errors, times sigma.

    (A x)_k = sigma / s_k (C x)_k, `(B, 1, 1, n)`, C without its constants, where s_k^2 is the
    `coefficient_variance`. An image whose chrominances are subsampled has fewer coefficients than
    others of its size; zeros follow.

    Args:
        phi: parameters of `Jpeg`.
        sigma: `(B,)` RMS rounding error of the pixels.
        size: (H, W) of x.
    """

    def __init__(self, phi: Phi, sigma: Tensor, size: Size) -> None:
        weights = sigma[:, None, None, None] / coefficient_variance(phi).to(sigma).sqrt()
        self._phi, self._groups = phi, alike(phi)
        self._parts = [
            _Alike(chosen(weights, rows), size, factors, orientation)
            for rows, factors, orientation in self._groups
        ]

    def data(self, y: Tensor) -> Tensor:
        """The coefficients of a decoded photo y as `forward` has those of x, without constants."""
        tables = self._phi["tables"].to(y)
        return by_group(
            self._groups,
            lambda i, rows, image: self._parts[i].data(image, chosen(tables, rows)),
            y,
        )[:, None, None]

    def forward(self, x: Tensor) -> Tensor:
        found = by_group(self._groups, lambda i, _, image: self._parts[i].forward(image), x)
        return found[:, None, None]

    def adjoint(self, r: Tensor) -> Tensor:
        return by_group(self._groups, lambda i, _, row: self._parts[i].adjoint(row), r.flatten(1))

    def seen(self, observed: Tensor) -> Tensor:
        """`(B, 1, 1, n)`, 1 for coefficients of blocks all of whose pixels are observed.

        Args:
            observed: `(B, 1, h, w)`, 1 where a pixel is observed, and 0 elsewhere.
        """
        found = by_group(self._groups, lambda i, _, mask: self._parts[i].seen(mask), observed)
        return found[:, None, None]

    def dual(self, r: Tensor, rho: Tensor) -> Tensor:
        """See `LinearOperator`."""
        found = by_group(
            self._groups,
            lambda i, rows, row: self._parts[i].dual(row, chosen(rho, rows)),
            r.flatten(1),
        )
        return found[:, None, None]

    def precondition(self, g: Tensor, rho: Tensor) -> Tensor:
        """Exact, by Woodbury's identity: (g - A^T (A A^T + rho)^-1 A g) / rho."""
        return (g - self.adjoint(self.dual(self.forward(g), rho))) / rho


class _Alike:
    """`WhitenedCoefficients` of images whose files have one subsampling and one orientation.

    Args:
        weights: `(B, 2, 8, 8)`, sigma / s_k.
        size: (H, W) of x.
        factors: subsampling of the chrominances.
        orientation: EXIF orientation of the files.
    """

    def __init__(self, weights: Tensor, size: Size, factors: Factors, orientation: int) -> None:
        self._factors, self._orientation = factors, orientation
        self._size = stored_size(size, orientation)
        self._weights = weights.flatten(2)
        # The transform of a block and the weights of its coefficients in one product.
        weighed = dct_matrix(weights) * self._weights[:, :, None, :]
        self._luma, self._chroma = weighed.unbind(1)
        self._chroma_back = self._chroma.mT / math.prod(factors)
        coarse = coarse_size(self._size, factors)
        self._shapes = [tuple(-(-n // BLOCK) for n in plane) for plane in (self._size, coarse)]
        self._counts = [math.prod(self._shapes[0]), 2 * math.prod(self._shapes[1])]
        whole = math.prod(-(-n // (2 * BLOCK)) * 2 for n in size)
        rest = (3 * whole - sum(self._counts)) * BLOCK**2
        self._rest = weights.new_zeros(len(weights), rest)

    def data(self, y: Tensor, tables: Tensor) -> Tensor:
        file = stored(y, self._orientation)
        whole = analyze(file, self._factors, decoded=True).quantize(tables)
        centred = Coefficients(whole.luma - _middle(y), whole.chroma)
        scaled = centred.scale(self._weights.unflatten(2, (BLOCK, BLOCK)))
        return torch.cat([scaled.luma.flatten(1), scaled.chroma.flatten(1), self._rest], 1)

    def forward(self, x: Tensor) -> Tensor:
        planes = mix(_scaled_colours(x), stored(x, self._orientation))
        luma, chroma = planes[:, 0], shrink(planes[:, 1:], self._factors)
        rows = [
            torch.bmm(blocks(whole_blocks(plane)).flatten(1, -2), transform).flatten(1)
            for plane, transform in ((luma, self._luma), (chroma, self._chroma))
        ]
        return torch.cat([*rows, self._rest], 1)

    def seen(self, observed: Tensor) -> Tensor:
        missing = stored(1 - observed, self._orientation)
        luma = _touched(missing, self._shapes[0], (1, 1))
        chroma = _touched(missing, self._shapes[1], self._factors)
        return torch.cat([1 - luma, 1 - chroma, 1 - chroma, torch.ones_like(self._rest)], 1)

    def adjoint(self, r: Tensor) -> Tensor:
        split = [count * BLOCK**2 for count in self._counts]
        luma, chroma = r[:, : split[0]], r[:, split[0] : sum(split)]
        fine = torch.bmm(luma.unflatten(1, (-1, BLOCK**2)), self._luma.mT)
        coarse = torch.bmm(chroma.unflatten(1, (-1, BLOCK**2)), self._chroma_back)
        planes = unshrink(
            fine.unflatten(1, self._shapes[0]),
            coarse.unflatten(1, (2, *self._shapes[1])),
            self._size,
            self._factors,
        )
        return upright(mix(_scaled_colours(planes).mT, planes), self._orientation)

    def dual(self, r: Tensor, rho: Tensor) -> Tensor:
        return solved(self._weights, rho, r, self._size, self._factors)


def _touched(mask: Tensor, shape: Sequence[int], factors: Factors) -> Tensor:
    """`(B, n)`, 1 for all coefficients of the blocks of a plane that a mask touches.

    Args:
        mask: `(B, 1, h, w)` of 0 and 1.
        shape: rows and columns of blocks.
        factors: how many pixels, down and across, a value of the plane is the mean of.
    """
    sides = [BLOCK * factor for factor in factors]
    down, right = (n * side - m for n, side, m in zip(shape, sides, size_of(mask), strict=True))
    touched = F.max_pool2d(F.pad(mask, (0, right, 0, down)), sides)
    return touched.flatten(1).repeat_interleave(BLOCK**2, 1)


def noise_variance(noise: Tensor, factors: Tensor) -> Tensor:
    """`(B, 2)` variance that white noise before the compression adds to each coefficient.

    Args:
        noise: `(B,)` standard deviation of the noise of the luminance in grey levels; that of the
            colours is independent and of equal strength.
        factors: `(B, 2)` factors by which chrominances are shrunk, which averages their noise.
    """
    power = colour_matrix(noise).square().sum(1)
    chroma = power[1:].mean() / power[0] / factors.prod(1)
    return noise.square()[:, None] * torch.stack([torch.ones_like(chroma), chroma], 1)


def coefficient_variance(phi: Phi) -> Tensor:
    """`(B, 2, 8, 8)` error variance of the coefficients: q^2 / 12 + n^2, in squared grey levels."""
    rounding = phi["tables"].square() / 12
    return rounding + noise_variance(phi["noise"], phi["factors"])[..., None, None]


def compressions(phi: Phi) -> list[tuple[Tensor, Factors, int]]:
    """Tables `(2, 8, 8)`, chroma subsampling and EXIF orientation of each image."""
    factors = [(int(v), int(h)) for v, h in on_host(phi["factors"])]
    return list(zip(phi["tables"], factors, on_host(phi["orientation"]), strict=True))


def alike(phi: Phi) -> list[tuple[Rows | None, Factors, int]]:
    """The images whose files have one chroma subsampling and one orientation, and what these are.

    Returns:
        Groups with the positions of their images in the batch; None where it is all of them.
    """
    factors, orientations = on_host(phi["factors"]), on_host(phi["orientation"])
    kinds = [(v, h, o) for (v, h), o in zip(factors, orientations, strict=True)]
    groups: dict[tuple[int, int, int], list[int]] = {}
    for row, kind in enumerate(kinds):
        groups.setdefault(kind, []).append(row)
    whole = len(groups) == 1
    return [(None if whole else tuple(rows), (v, h), o) for (v, h, o), rows in groups.items()]


def chosen(values: Tensor, rows: Rows | None) -> Tensor:
    """The rows of some images of a batch; all if None."""
    return values if rows is None else values.index_select(0, _positions(values, *rows))


def by_group(
    groups: Sequence[tuple[Rows | None, Factors, int]],
    apply: Callable[[int, Rows | None, Tensor], Tensor],
    x: Tensor,
) -> Tensor:
    """Apply a function to each group of a batch.

    Args:
        groups: as `alike` returns them.
        apply: function of the number of a group, its rows, and the part of x that is theirs.
        x: `(B, ...)`.
    """
    parts = [apply(i, rows, chosen(x, rows)) for i, (rows, *_) in enumerate(groups)]
    if len(parts) == 1:
        return parts[0]
    order = [row for rows, *_ in groups for row in rows or ()]
    return chosen(torch.cat(parts), tuple(back_in_order(order)))


@kept
def _positions(*rows: int) -> Tensor:
    return torch.tensor(rows)


@kept
def _middle() -> Tensor:
    """The coefficients of a black block of the luminance."""
    return analyze(torch.zeros(3, BLOCK, BLOCK), (1, 1)).luma[0, 0]


@kept
def _scaled_colours() -> Tensor:
    """What makes planes in grey levels of colours in [-1, 1]."""
    return 127.5 * colour_matrix(torch.zeros((), dtype=torch.float64))
