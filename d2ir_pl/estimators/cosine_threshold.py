"""The structure of an image without its noise, by thresholds on cosine transforms of blocks."""

from __future__ import annotations

import math
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

BLOCK, STRIDE = 8, 2
"""Side in pixels of the blocks, and the distance of neighbouring ones."""
ROWS = 512
"""Rows that are worked on at a time, so that memory does not grow with the photo."""
_MARGIN = BLOCK - STRIDE


def thresholded(x: Tensor, threshold: float) -> Tensor:
    """An image of the coefficients that are larger than a threshold, averaged over blocks.

    Noise of any colour whose coefficients stay below the threshold is gone, and so is texture as
    weak as that; edges stay. It costs little beside one evaluation of a network.

    Args:
        x: `(1, C, h, w)`, any range.
        threshold: least absolute value of a coefficient of an orthonormal transform that is kept.

    Source: Donoho, De-noising by soft-thresholding, 1995, for thresholds; Coifman and Donoho,
    Translation-invariant de-noising, 1995, for the mean over shifted blocks.
    """
    height, width = x.shape[-2:]
    padding = (_MARGIN, _MARGIN + width % STRIDE, _MARGIN, _MARGIN + height % STRIDE)
    mode = "reflect" if min(height, width) > _MARGIN + 1 else "replicate"
    wide = F.pad(x, padding, mode=mode).transpose(0, 1)
    parts = []
    for top in range(0, height, ROWS):
        rows = min(ROWS, height - top)
        even = rows + rows % STRIDE
        part = _of_blocks(wide[:, :, top : top + even + 2 * _MARGIN], threshold)
        parts.append(part[:, :, _MARGIN : _MARGIN + rows, _MARGIN : _MARGIN + width])
    return torch.cat(parts, 2).transpose(0, 1)


def _of_blocks(x: Tensor, threshold: float) -> Tensor:
    """The same of `(C, 1, h, w)` without its border, weighing a block by how sparse it is."""
    basis = _basis().to(x)
    coefficients = F.conv2d(x, basis, stride=STRIDE)
    kept = coefficients.abs() > threshold
    kept[:, 0] = True
    weight = 1 / kept.sum(1, keepdim=True).to(x)
    total = F.conv_transpose2d(coefficients * kept * weight, basis, stride=STRIDE)
    count = F.conv_transpose2d(weight, basis.new_ones(1, 1, BLOCK, BLOCK), stride=STRIDE)
    return total / count


@cache
def _basis() -> Tensor:
    """`(BLOCK^2, 1, BLOCK, BLOCK)` functions of the orthonormal cosine transform."""
    n = torch.arange(BLOCK, dtype=torch.float64)
    rows = torch.cos((n + 0.5) * n[:, None] * math.pi / BLOCK) * math.sqrt(2 / BLOCK)
    rows[0] /= math.sqrt(2)
    return torch.einsum("ui,vj->uvij", rows, rows).reshape(BLOCK**2, 1, BLOCK, BLOCK)
