"""The colours of parts that are next to black, which the error of a black level makes."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from d2ir_pl.operators.jpeg_transform import colour_matrix

UNSURE = 2 / 255
"""Luminance in [0, 1] at which half of a colour is believed (docs/experiments.md)."""
SIDE = 5
"""Side in pixels of the squares whose mean luminance counts."""


_known = WeakTensorKeyDictionary()
"""What photos that are in use look like: every step of a restoration asks again."""


def faded_shadows(y: Tensor) -> Tensor:
    """An image whose colours fade where it is next to black.

    A camera subtracts what it takes for black, and is wrong by parts of a level of 8 bits, in each
    channel by another one. With g the luminance of a pixel and L its mean around,

        y' = g + (1 - 2^(-L^2 / s^2)) (y - g),    s = UNSURE.

    Args:
        y: `(B, 3, H, W)` stored values in [-1, 1], which nothing changes in place.
    """
    known: Tensor | None = _known.get(y)
    if known is None:
        known = _known[y] = _faded(y)
    return known


def _faded(y: Tensor) -> Tensor:
    stored = (y + 1) / 2
    grey = torch.einsum("c,bchw->bhw", colour_matrix(stored)[0], stored)[:, None]
    mean = F.avg_pool2d(grey, SIDE, 1, SIDE // 2, count_include_pad=False)
    share = 1 - torch.exp2(-(mean / UNSURE).square())
    return 2 * (grey + share * (stored - grey)) - 1
