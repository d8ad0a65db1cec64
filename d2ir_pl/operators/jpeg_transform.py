"""The lossless half of JPEG: colours, chroma subsampling, and the DCT of 8x8 blocks.

Everything is linear and in grey levels of 8 bits, centred: luminance less 128, chrominances about
0. Colours: JFIF 1.02 (Hamilton, 1992). Blocks and tables: ITU-T T.81 (1992), annexes A and K.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from d2ir_pl.image_io.colour import BT601
from d2ir_pl.operators.constants import kept
from d2ir_pl.operators.linear import Size
from d2ir_pl.operators.subsampling import (
    Factors,
    coarse_size,
    enlarge,
    fold_border,
    repeat_border,
    shrink,
    unmix,
)

BLOCK = 8
_LUMINANCE_50 = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
_CHROMINANCE_50 = (
    (17, 18, 24, 47, 99, 99, 99, 99),
    (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99),
    *((99,) * BLOCK for _ in range(4)),
)


def standard_tables(quality: Tensor) -> Tensor:
    """Quantisation steps in grey levels, `(..., 2, 8, 8)`: luminance, then chrominance.

    The tables of ITU-T T.81, annex K, times the percentage by which the Independent JPEG Group's
    software scales them: 5000 / quality below 50, 200 - 2 quality from there on; steps are whole
    numbers from 1 to 255. The first of the last two dimensions is the vertical frequency.

    Args:
        quality: whole numbers from 1 to 100, of any shape.
    """
    base = torch.tensor([_LUMINANCE_50, _CHROMINANCE_50], device=quality.device)
    quality = quality.long()[..., None, None, None]
    percent = torch.where(quality < 50, 5000 // quality.clamp_min(1), 200 - 2 * quality)
    return ((base * percent + 50) // 100).clamp(1, 255)


@dataclass(frozen=True)
class Coefficients:
    """DCT coefficients of images in grey levels, by block and frequency (vertical first).

    Attributes:
        luma: `(..., h, w, 8, 8)`.
        chroma: `(..., 2, h', w', 8, 8)`, of Cb and Cr.
    """

    luma: Tensor
    chroma: Tensor

    def quantize(self, tables: Tensor) -> Coefficients:
        """The nearest multiples of the steps, with the derivative of the identity.

        Args:
            tables: `(2, 8, 8)`, or `(B, 2, 8, 8)` for images `(B, ...)`.
        """
        return self.scale(1 / tables).round().scale(tables)

    def round(self) -> Coefficients:
        """The nearest whole numbers, with the derivative of the identity."""
        return Coefficients(round_straight_through(self.luma), round_straight_through(self.chroma))

    def scale(self, weights: Tensor) -> Coefficients:
        """Multiply by weights, those of the luminance and of the chrominances.

        Args:
            weights: `(2, 8, 8)`, or `(B, 2, 8, 8)` for images `(B, ...)`.
        """
        luma, chroma = weights.unbind(-3)
        return Coefficients(
            self.luma * luma[..., None, None, :, :],
            self.chroma * chroma[..., None, None, None, :, :],
        )


def round_straight_through(x: Tensor) -> Tensor:
    """Round to the nearest whole number, with a derivative of 1 (Bengio et al., 2013)."""
    return x + (x.round() - x).detach()


def clip_straight_through(x: Tensor) -> Tensor:
    """Clip to [-1, 1], with a derivative of 1, so that what is outside can come back."""
    return x + (x.clamp(-1, 1) - x).detach()


def analyze(
    x: Tensor, factors: Factors, whole: bool = False, decoded: bool = False
) -> Coefficients:
    """The coefficients of images.

    Chrominances are shrunk by averaging, and what is missing to whole blocks repeats the border.

    Args:
        x: `(..., 3, H, W)` in [-1, 1].
        factors: 1 or 2 each.
        whole: round the planes to whole grey levels, as an encoder does.
        decoded: whether x was made by `synthesize`. The blur of enlarging and shrinking its
            chrominances is then undone, so that the result is what x was made from.
    """
    planes = mix(colour_matrix(x), 127.5 * x)
    # 127.5 is the middle of [-1, 1], 128 that of the standard.
    luma, chroma = planes[..., 0, :, :] - 0.5, planes[..., 1:, :, :]
    chroma = shrink(chroma, factors)
    for axis, factor in zip((-2, -1), factors, strict=True):
        if decoded and factor == 2:
            chroma = unmix(chroma, axis)
    if whole:
        luma, chroma = round_straight_through(luma), round_straight_through(chroma)
    return Coefficients(block_dct(whole_blocks(luma)), block_dct(whole_blocks(chroma)))


def analyze_adjoint(coefficients: Coefficients, size: Size, factors: Factors) -> Tensor:
    """The transpose of `analyze` without rounding and constants: images `(..., 3, H, W)`."""
    share = 1 / math.prod(factors)
    planes = unshrink(
        coefficients.luma.flatten(-2) @ dct_matrix(coefficients.luma).mT,
        coefficients.chroma.flatten(-2) @ (share * dct_matrix(coefficients.chroma).mT),
        size,
        factors,
    )
    return mix(127.5 * colour_matrix(planes).mT, planes)


def unshrink(luma: Tensor, chroma: Tensor, size: Size, factors: Factors) -> Tensor:
    """Planes `(..., 3, H, W)`: the transpose of filling blocks and of summing neighbours.

    Args:
        luma: `(..., h, w, 64)` blocks.
        chroma: `(..., 2, h', w', 64)` blocks of the coarse planes.
        size: H and W.
        factors: how many neighbours are summed, down and across.
    """
    coarse = coarse_size(size, factors)
    if any(n % BLOCK for n in coarse):
        repeated = fold_blocks(from_blocks(chroma), coarse)
        for axis, factor in zip((-2, -1), factors, strict=True):
            repeated = repeated.repeat_interleave(factor, axis)
    else:
        repeated = from_blocks(chroma, factors)
    for axis, factor, n in zip((-2, -1), factors, size, strict=True):
        repeated = fold_border(repeated, axis, -n % factor)
    fine = fold_blocks(from_blocks(luma), size)
    return torch.cat([fine[..., None, :, :], repeated], -3)


def synthesize(coefficients: Coefficients, size: Size, factors: Factors) -> Tensor:
    """The images `(..., 3, H, W)` of the coefficients; chrominances are interpolated linearly."""
    luma = block_idct(coefficients.luma)[..., : size[0], : size[1]]
    coarse = coarse_size(size, factors)
    chroma = block_idct(coefficients.chroma)[..., : coarse[0], : coarse[1]]
    for axis, factor in zip((-2, -1), factors, strict=True):
        chroma = enlarge(chroma, axis, factor)
    planes = torch.cat([luma[..., None, :, :] + 0.5, chroma[..., : size[0], : size[1]]], -3)
    return mix(inverse_colours(planes), planes) / 127.5


def mix(matrix: Tensor, planes: Tensor) -> Tensor:
    """Linear combinations of the channels of images at every pixel.

    Args:
        matrix: `(D, C)`, or `(B, D, C)` for images `(B, C, H, W)`.
        planes: `(..., C, H, W)`.

    Returns:
        `(..., D, H, W)`.
    """
    flat = planes.flatten(-2).reshape(-1, planes.shape[-3], planes.shape[-2] * planes.shape[-1])
    mixed = torch.bmm(matrix.expand(len(flat), *matrix.shape[-2:]), flat)
    return mixed.view(*planes.shape[:-3], matrix.shape[-2], *planes.shape[-2:])


def whole_blocks(planes: Tensor) -> Tensor:
    """Continue planes downward and to the right to multiples of 8 by repeating the border."""
    for axis in (-2, -1):
        planes = repeat_border(planes, axis, -planes.shape[axis] % BLOCK)
    return planes


def block_dct(planes: Tensor) -> Tensor:
    """Orthonormal DCT-II of each block: `(..., 8 h, 8 w)` to `(..., h, w, 8, 8)`."""
    rows = blocks(planes) @ dct_matrix(planes)
    return rows.view(*rows.shape[:-1], BLOCK, BLOCK)


def block_idct(coefficients: Tensor) -> Tensor:
    """The inverse of `block_dct`, and its transpose."""
    return from_blocks(coefficients.flatten(-2) @ dct_matrix(coefficients).mT)


def blocks(planes: Tensor) -> Tensor:
    """The blocks of planes as rows of values: `(..., 8 h, 8 w)` to `(..., h, w, 64)`."""
    *batch, height, width = planes.shape
    grid = planes.reshape(*batch, height // BLOCK, BLOCK, width // BLOCK, BLOCK)
    return grid.transpose(-3, -2).flatten(-2)


def from_blocks(rows: Tensor, factors: Factors = (1, 1)) -> Tensor:
    """The inverse of `blocks`, each value several times down and across."""
    grid = rows.view(*rows.shape[:-1], BLOCK, BLOCK).transpose(-3, -2)  # (..., h, 8, w, 8)
    if factors != (1, 1):
        grid = grid[..., None, :, :, None]
        grid = grid.expand(*grid.shape[:-4], factors[0], *grid.shape[-3:-1], factors[1])
        return grid.flatten(-6, -4).flatten(-3, -1)
    return grid.flatten(-4, -3).flatten(-2, -1)


@kept
def colour_matrix() -> Tensor:
    """The matrix `(3, 3)` that makes Y, Cb and Cr of R, G and B."""
    red, _, blue = BT601
    luma = torch.tensor(BT601, dtype=torch.float64)
    eye = torch.eye(3, dtype=torch.float64)
    cb, cr = (eye[2] - luma) / (2 - 2 * blue), (eye[0] - luma) / (2 - 2 * red)
    return torch.stack([luma, cb, cr])


@kept
def inverse_colours() -> Tensor:
    """The inverse of `colour_matrix`."""
    return colour_matrix(torch.zeros((), dtype=torch.float64)).inverse()


def fold_blocks(planes: Tensor, size: Size) -> Tensor:
    """The transpose of `whole_blocks`."""
    for axis, n in zip((-2, -1), size, strict=True):
        planes = fold_border(planes, axis, -n % BLOCK)
    return planes


@kept
def dct_matrix() -> Tensor:
    """The DCT-II of a block as a matrix `(64, 64)` that is multiplied from the right."""
    k = torch.arange(BLOCK, dtype=torch.float64)
    dct = torch.cos(math.pi / BLOCK * k[:, None] * (k + 0.5)) / math.sqrt(BLOCK / 2)
    dct[0] /= math.sqrt(2)
    return torch.kron(dct, dct).mT.contiguous()
