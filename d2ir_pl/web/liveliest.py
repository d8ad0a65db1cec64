"""The part of a photo that says most of its restoration."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def liveliest(pixels: Tensor, size: tuple[int, int]) -> tuple[int, int]:
    """The corner of the part of a size that differs most from its own surroundings."""
    height, width = pixels.shape[-2:]
    grey = pixels.mean(0, keepdim=True)[None]
    scale = 8
    fine = (grey - F.avg_pool2d(grey, 3, 1, 1)).abs()
    small = F.avg_pool2d(fine, scale)
    window = tuple(max(1, min(s // scale, n)) for s, n in zip(size, small.shape[-2:], strict=True))
    sums = F.avg_pool2d(small, window, 1)[0, 0]
    row, column = divmod(int(sums.argmax()), sums.shape[1])
    return min(row * scale, height - size[0]), min(column * scale, width - size[1])
