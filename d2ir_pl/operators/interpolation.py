"""Cubic interpolation as a matrix."""

from __future__ import annotations

import torch
from torch import Tensor

from d2ir_pl.operators.padding import pad_index


def cubic(t: Tensor, a: float = -0.5) -> Tensor:
    """Keys' cubic convolution kernel; the one with a = -1/2 reproduces quadratics.

    Source: Keys, Cubic convolution interpolation for digital image processing, 1981, eq. 15.
    """
    t = t.abs()
    near = (a + 2) * t**3 - (a + 3) * t**2 + 1
    far = a * t**3 - 5 * a * t**2 + 8 * a * t - 4 * a
    return torch.where(t < 1, near, torch.where(t < 2, far, 0.0))


def cubic_interpolation(position: Tensor, m: int) -> Tensor:
    """Matrix `(n, m)` of the cubic through m samples, which are mirrored, at n positions.

    Args:
        position: `(n,)` in units of samples, 0 at the first and m - 1 at the last.
        m: number of samples.
    """
    neighbour = position.floor().long()[:, None] + torch.arange(-1, 3)
    weight = cubic(position[:, None] - neighbour)
    before = max(0, -int(neighbour.min()))
    after = max(0, int(neighbour.max()) + 1 - m)
    mirrored = pad_index(m, before, after, "reflect")[neighbour + before]
    return torch.zeros(len(position), m, dtype=weight.dtype).scatter_add(1, mirrored, weight)
