"""Luminance and differences of colours, by an orthonormal matrix."""

from __future__ import annotations

import torch
from torch import Tensor

from d2ir_pl.operators.constants import kept

_OPPONENT = ((1.0, 1.0, 1.0), (1.0, 0.0, -1.0), (1.0, -2.0, 1.0))


def to_opponent(x: Tensor) -> Tensor:
    """Luminance and two differences of colours of `(..., 3, h, w)`, by an orthonormal matrix.

    Camera noise has most of its power in the first, and white noise is white in each.
    """
    return torch.einsum("ck,...khw->...chw", _matrix(x), x)


def from_opponent(x: Tensor) -> Tensor:
    """The inverse of `to_opponent`."""
    return torch.einsum("ck,...chw->...khw", _matrix(x), x)


@kept
def _matrix() -> Tensor:
    matrix = torch.tensor(_OPPONENT, dtype=torch.float64)
    orthonormal: Tensor = matrix / matrix.norm(dim=1, keepdim=True)
    return orthonormal
