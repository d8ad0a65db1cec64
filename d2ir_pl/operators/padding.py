"""Extending an image past its borders by any amount, and the adjoint of that."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from d2ir_pl.operators.constants import kept

PadMode = Literal["reflect", "replicate", "circular"]


def pad_index(n: int, before: int, after: int, mode: PadMode) -> Tensor:
    """The index of the sample that stands at each of the positions -before .. n + after - 1.

    `reflect` mirrors without repeating the edge sample, as often as needed: the margin may be
    larger than the signal.
    """
    i = torch.arange(-before, n + after)
    if mode == "replicate" or n == 1:
        return i.clamp(0, n - 1)
    if mode == "circular":
        return i % n
    if mode == "reflect":
        i = i % (2 * n - 2)
        return torch.minimum(i, 2 * n - 2 - i)
    raise ValueError(f"border {mode!r} is unknown: use 'reflect', 'replicate' or 'circular'")


def pad(x: Tensor, rows: tuple[int, int], columns: tuple[int, int], mode: PadMode) -> Tensor:
    """Extend `(..., H, W)` by (top, bottom) rows and (left, right) columns."""
    if rows != (0, 0):
        x = x.index_select(-2, _kept_index(x, x.shape[-2], *rows, mode))
    if columns != (0, 0):
        x = x.index_select(-1, _kept_index(x, x.shape[-1], *columns, mode))
    return x


def pad_adjoint(
    g: Tensor, rows: tuple[int, int], columns: tuple[int, int], mode: PadMode
) -> Tensor:
    """The transpose of `pad`, which adds what lies in the margins back to where it came from."""
    for dim, (before, after) in ((-2, rows), (-1, columns)):
        if (before, after) == (0, 0):
            continue
        n = g.shape[dim] - before - after
        shape = list(g.shape)
        shape[dim] = n
        index = _kept_index(g, n, before, after, mode)
        g = g.new_zeros(shape).index_add_(g.ndim + dim, index, g)
    return g


def shifted(x: Tensor, offset: Tensor) -> Tensor:
    """The images x(u + offset), with the border repeated.

    Args:
        x: `(B, h, w)`.
        offset: `(B, 2)` whole pixels along x and y.
    """
    height, width = x.shape[-2:]
    rows = (_steps(x, height) + offset[:, 1:]).clamp(0, height - 1)
    columns = (_steps(x, width) + offset[:, :1]).clamp(0, width - 1)
    index = rows[:, :, None] * width + columns[:, None]
    return x.flatten(1).gather(1, index.flatten(1)).view_as(x)


@kept
def _steps(n: int) -> Tensor:
    return torch.arange(n)


_kept_index = kept(pad_index)
