"""Equations on the coefficients of JPEG, which are solved in each macroblock by itself.

A macroblock is the part of an image that one block of each chrominance stands for: its luminance
has v times h blocks. No coefficient depends on the pixels of two of them. With T the map from the
pixels of one to its K = 64 (v h + 2) coefficients, and W the diagonal of their weights,

    (W T T^T W + rho) u = r

is one matrix for all whole macroblocks of an image, and another one for those at the lower and the
right border whose missing pixels repeat the border.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from d2ir_pl.operators.constants import kept
from d2ir_pl.operators.jpeg_transform import BLOCK, blocks, colour_matrix, dct_matrix, whole_blocks
from d2ir_pl.operators.linear import Map, Size, joined
from d2ir_pl.operators.subsampling import Factors, coarse_size, shrink
from d2ir_pl.operators.whole_macroblocks import whole_solver

AT_ONCE = 8192
"""Macroblocks that are solved for at once: a large photo would fill the memory."""


def solved(weights: Tensor, rho: Tensor, r: Tensor, size: Size, factors: Factors) -> Tensor:
    """The solution u of (W T T^T W + rho) u = r, with T of images in [-1, 1].

    Computed in double precision where the device has it: with little noise the eigenvalues of the
    matrix lie a million times apart.

    Args:
        weights: `(B, 2, 64)` weights of the coefficients of luminance and chrominances.
        rho: `(B, 1, 1, 1)` positive.
        r: `(B, n)` weighted coefficients: `(h, w, 64)` of the luminance, then `(2, h', w', 64)`.
        size: height and width of the images.
        factors: subsampling of the chrominances.
    """
    exact = r.dtype if r.device.type == "mps" else torch.float64
    grid, (tall, wide) = _grid(size, factors), (BLOCK * f for f in factors)
    values = _gathered(r, size, factors).unflatten(1, grid)
    weights, rho, rows = weights.to(exact), rho.flatten(1).to(exact), []
    for (top, bottom), height in _sections(size[0], tall):
        parts = []
        for (left, right), width in _sections(size[1], wide):
            part = values[:, top:bottom, left:right]
            # Of a GPU, one large factorisation asks less than the parts of a small one.
            whole = (height, width) == (tall, wide) and not r.is_cuda
            solve = (
                whole_solver(weights, rho, factors)
                if whole
                else _solver(weights, rho, (height, width), factors)
            )
            some = part.flatten(1, 2).split(AT_ONCE, 1)
            found = [solve(few.to(exact)).to(r) for few in some]
            parts.append(joined(found, 1).view_as(part))
        rows.append(joined(parts, 2))
    return _scattered(joined(rows, 1).flatten(1, 2), r, size, factors)


def _solver(weights: Tensor, rho: Tensor, size: Size, factors: Factors) -> Map:
    """`whole_solver` of macroblocks of which so many pixels are there, by their matrix."""
    luma, chroma = weights.unbind(1)
    w = torch.cat([luma.repeat(1, factors[0] * factors[1]), chroma.repeat(1, 2)], 1)
    gram, diagonal = _gram(w, *size, *factors), rho[:, :, None] * _eye(w, w.shape[1])
    factor = torch.linalg.cholesky_ex(w[:, :, None] * gram * w[:, None] + diagonal)[0]
    return lambda r: torch.cholesky_solve(r.mT, factor).mT


def _grid(size: Size, factors: Factors) -> Size:
    """How many macroblocks lie below and beside each other."""
    height, width = coarse_size(size, factors)
    return -(-height // BLOCK), -(-width // BLOCK)


def _sections(length: int, side: int) -> list[tuple[tuple[int, int], int]]:
    """Which macroblocks along an axis have the same number of pixels, and that number."""
    whole, rest = divmod(length, side)
    found = [((0, whole), side)] if whole else []
    return [*found, ((whole, whole + 1), rest)] if rest else found


def _gathered(r: Tensor, size: Size, factors: Factors) -> Tensor:
    """`(B, number, K)`: the coefficients of each macroblock, with zeros for blocks that lack."""
    (rows, columns), (v, h) = _grid(size, factors), factors
    height, width = (-(-n // BLOCK) for n in size)
    ends = BLOCK**2 * height * width, BLOCK**2 * rows * columns * 2
    luma = r[:, : ends[0]].unflatten(1, (height, width, BLOCK**2))
    luma = F.pad(luma, (0, 0, 0, columns * h - width, 0, rows * v - height))
    luma = luma.unflatten(2, (columns, h)).unflatten(1, (rows, v)).transpose(2, 3)
    chroma = r[:, ends[0] : sum(ends)].unflatten(1, (2, rows * columns, BLOCK**2))
    return torch.cat([luma.flatten(3).flatten(1, 2), chroma.transpose(1, 2).flatten(2)], 2)


def _scattered(values: Tensor, like: Tensor, size: Size, factors: Factors) -> Tensor:
    """The inverse of `_gathered`, with zeros to the length of another one."""
    (rows, columns), (v, h) = _grid(size, factors), factors
    height, width = (-(-n // BLOCK) for n in size)
    luma, chroma = values.split([BLOCK**2 * v * h, BLOCK**2 * 2], 2)
    fine = luma.view(len(values), rows, columns, v, h, BLOCK**2).transpose(2, 3)
    fine = fine.flatten(3, 4).flatten(1, 2)[:, :height, :width]
    coarse = chroma.unflatten(2, (2, BLOCK**2)).transpose(1, 2)
    found = torch.cat([fine.flatten(1), coarse.flatten(1)], 1)
    return F.pad(found, (0, like.shape[1] - found.shape[1]))


@kept
def _eye(count: int) -> Tensor:
    return torch.eye(count, dtype=torch.float64)


@kept
def _gram(height: int, width: int, v: int, h: int) -> Tensor:
    """The matrix T T^T of a macroblock of which so many pixels are there."""
    unit = torch.eye(3 * height * width, dtype=torch.float64).view(-1, 3, height, width)
    planes = torch.einsum("dc,nchw->ndhw", 127.5 * colour_matrix(unit), unit)
    chroma = shrink(planes[:, 1:], (v, h))
    parts = [
        (blocks(whole_blocks(plane)) @ dct_matrix(unit)).flatten(1)
        for plane in (planes[:, 0], chroma)
    ]
    size = height, width
    t = _gathered(torch.cat(parts, 1), size, (v, h))[:, 0]
    return t.mT @ t
