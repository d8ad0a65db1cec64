"""The lossless half of JPEG: colours, chroma subsampling, and the DCT of 8x8 blocks.

Everything is linear and in grey levels of 8 bits, centred: luminance less 128, chrominances about
0. Colours: JFIF 1.02 (Hamilton, 1992). Blocks and tables: ITU-T T.81 (1992), annexes A and K.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from d2ir_pl.operators.linear import Size
from d2ir_pl.operators.padding import pad, pad_adjoint
from d2ir_pl.operators.pointwise import BT601

BLOCK = 8
Factors = tuple[int, int]
"""The vertical and horizontal factors by which chrominances are coarser than the luminance."""

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
    """DCT coefficients of an image in grey levels, by block and frequency (vertical first).

    Attributes:
        luma: `(h, w, 8, 8)`.
        chroma: `(2, h', w', 8, 8)`, of Cb and Cr.
    """

    luma: Tensor
    chroma: Tensor

    def quantize(self, tables: Tensor) -> Coefficients:
        """The nearest multiples of the steps `(2, 8, 8)`, with the derivative of the identity."""
        return self.scale(1 / tables).round().scale(tables)

    def round(self) -> Coefficients:
        """The nearest whole numbers, with the derivative of the identity."""
        return Coefficients(round_straight_through(self.luma), round_straight_through(self.chroma))

    def scale(self, weights: Tensor) -> Coefficients:
        """Multiply by weights `(2, 8, 8)`, those of the luminance and of the chrominances."""
        return Coefficients(self.luma * weights[0], self.chroma * weights[1])


def round_straight_through(x: Tensor) -> Tensor:
    """Round to the nearest whole number, with a derivative of 1 (Bengio et al., 2013)."""
    return x + (x.round() - x).detach()


def clip_straight_through(x: Tensor) -> Tensor:
    """Clip to [-1, 1], with a derivative of 1, so that what is outside can come back."""
    return x + (x.clamp(-1, 1) - x).detach()


def analyze(
    x: Tensor, factors: Factors, whole: bool = False, decoded: bool = False
) -> Coefficients:
    """The coefficients of an image.

    Chrominances are shrunk by averaging, and what is missing to whole blocks repeats the border.

    Args:
        x: `(3, H, W)` in [-1, 1].
        factors: 1 or 2 each.
        whole: round the planes to whole grey levels, as an encoder does.
        decoded: whether x was made by `synthesize`. The blur of enlarging and shrinking its
            chrominances is then undone, so that the result is what x was made from.
    """
    planes = torch.einsum("dc,chw->dhw", colour_matrix(x), 127.5 * x)
    # 127.5 is the middle of [-1, 1], 128 that of the standard.
    luma, chroma = planes[:1] - 0.5, planes[1:]
    for axis, factor in zip((-2, -1), factors, strict=True):
        chroma = shrink(chroma, axis, factor)
        if decoded and factor == 2:
            chroma = unmix(chroma, axis)
    if whole:
        luma, chroma = round_straight_through(luma), round_straight_through(chroma)
    return Coefficients(block_dct(whole_blocks(luma))[0], block_dct(whole_blocks(chroma)))


def analyze_adjoint(coefficients: Coefficients, size: Size, factors: Factors) -> Tensor:
    """The transpose of `analyze` without rounding and constants: an image `(3, H, W)`."""
    coarse = coarse_size(size, factors)
    luma = _fold_blocks(block_idct(coefficients.luma[None]), size)
    chroma = _fold_blocks(block_idct(coefficients.chroma), coarse)
    for axis, factor, n in zip((-2, -1), factors, size, strict=True):
        chroma = chroma.repeat_interleave(factor, axis) / factor
        chroma = _fold_border(chroma, axis, -n % factor)
    planes = torch.cat([luma, chroma])
    return 127.5 * torch.einsum("dc,dhw->chw", colour_matrix(planes), planes)


def synthesize(coefficients: Coefficients, size: Size, factors: Factors) -> Tensor:
    """The image `(3, H, W)` of the coefficients; chrominances are interpolated linearly."""
    luma = block_idct(coefficients.luma[None])[:, : size[0], : size[1]]
    coarse = coarse_size(size, factors)
    chroma = block_idct(coefficients.chroma)[:, : coarse[0], : coarse[1]]
    for axis, factor in zip((-2, -1), factors, strict=True):
        chroma = enlarge(chroma, axis, factor)
    planes = torch.cat([luma + 0.5, chroma[:, : size[0], : size[1]]])
    return torch.einsum("cd,dhw->chw", colour_matrix(planes).inverse(), planes) / 127.5


def coarse_size(size: Size, factors: Factors) -> Size:
    """Size of the chrominances of an image."""
    return -(-size[0] // factors[0]), -(-size[1] // factors[1])


def shrink(planes: Tensor, axis: int, factor: int) -> Tensor:
    """Average `factor` neighbours along an axis (-1 or -2), with the border repeated."""
    if factor == 1:
        return planes
    planes = _repeat_border(planes, axis, -planes.shape[axis] % factor)
    groups = planes.shape[axis] // factor
    split = (groups, factor) if axis == -1 else (groups, factor, planes.shape[-1])
    return planes.reshape(*planes.shape[:axis], *split).mean(axis)


def enlarge(planes: Tensor, axis: int, factor: int) -> Tensor:
    """Double the samples along an axis (-1 or -2): 3/4 of the nearer and 1/4 of the farther one."""
    if factor == 1:
        return planes
    i = torch.arange(planes.shape[axis], device=planes.device)
    before = planes.index_select(axis, (i - 1).clamp_min(0))
    after = planes.index_select(axis, (i + 1).clamp_max(len(i) - 1))
    halves = torch.stack([(3 * planes + before) / 4, (3 * planes + after) / 4], axis)
    return halves.flatten(axis - 1, axis)


def whole_blocks(planes: Tensor) -> Tensor:
    """Continue planes downward and to the right to multiples of 8 by repeating the border."""
    for axis in (-2, -1):
        planes = _repeat_border(planes, axis, -planes.shape[axis] % BLOCK)
    return planes


def block_dct(planes: Tensor) -> Tensor:
    """Orthonormal DCT-II of each block: `(..., 8 h, 8 w)` to `(..., h, w, 8, 8)`."""
    dct = _dct_matrix(planes)
    *batch, height, width = planes.shape
    grid = planes.reshape(*batch, height // BLOCK, BLOCK, width // BLOCK, BLOCK)
    return dct @ grid.transpose(-3, -2) @ dct.mT


def block_idct(coefficients: Tensor) -> Tensor:
    """The inverse of `block_dct`, and its transpose."""
    dct = _dct_matrix(coefficients)
    blocks = dct.mT @ coefficients @ dct
    return blocks.transpose(-3, -2).flatten(-4, -3).flatten(-2, -1)


def colour_matrix(like: Tensor) -> Tensor:
    """The matrix `(3, 3)` that makes Y, Cb and Cr of R, G and B."""
    red, _, blue = BT601
    luma = torch.tensor(BT601, dtype=torch.float64)
    eye = torch.eye(3, dtype=torch.float64)
    cb, cr = (eye[2] - luma) / (2 - 2 * blue), (eye[0] - luma) / (2 - 2 * red)
    return torch.stack([luma, cb, cr]).to(like)


def unmix(planes: Tensor, axis: int) -> Tensor:
    """Solve planes = shrink(enlarge(p)) for p along an axis.

    The system's eigenvalues lie between 1/2 and 1, so that each of the iterations halves the error.
    """
    p = planes
    for _ in range(16):
        p = p + planes - shrink(enlarge(p, axis, 2), axis, 2)
    return p


def _repeat_border(planes: Tensor, axis: int, count: int) -> Tensor:
    return pad(planes, *_margins(axis, count), "replicate")


def _fold_border(planes: Tensor, axis: int, count: int) -> Tensor:
    """The transpose of `_repeat_border`."""
    return pad_adjoint(planes, *_margins(axis, count), "replicate")


def _fold_blocks(planes: Tensor, size: Size) -> Tensor:
    """The transpose of `whole_blocks`."""
    for axis, n in zip((-2, -1), size, strict=True):
        planes = _fold_border(planes, axis, -n % BLOCK)
    return planes


def _margins(axis: int, count: int) -> tuple[tuple[int, int], tuple[int, int]]:
    return ((0, count), (0, 0)) if axis == -2 else ((0, 0), (0, count))


def _dct_matrix(like: Tensor) -> Tensor:
    k = torch.arange(BLOCK, dtype=torch.float64)
    dct = torch.cos(math.pi / BLOCK * k[:, None] * (k + 0.5)) / math.sqrt(BLOCK / 2)
    dct[0] /= math.sqrt(2)
    return dct.to(like)
