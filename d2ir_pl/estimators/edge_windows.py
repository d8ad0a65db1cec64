"""The parts of a photo whose edges say most about its blur.

A kernel is the same all over a photo, or nearly so, and a few hundred pixels of edges in all
directions are enough to find it. Sky and lawn only add noise and time, and what the camera could
not hold, white lights and black shadows, is no blurred edge: it was cut off.

Source: Hu and Yang, Good regions to deblur, 2012 (that parts of a photo are better than all of it).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

CLIPPED = 0.02
"""Distance from black and white, in [0, 1], within which a pixel may have been cut off."""
STEP = 4
"""Parts of their side by which windows are apart."""


def edge_windows(grey: Tensor, side: int, count: int, seen: Tensor | None = None) -> Tensor:
    """Square windows with the most edges that are not saturated, best first.

    The strength of a window is the smaller eigenvalue of the mean of grad g grad g^T over its
    pixels that are not clipped, counting clipped ones as 0: edges in one direction alone say
    nothing of the blur along them.

    Args:
        grey: `(H, W)` photo in [0, 1].
        side: side of the windows in pixels; a photo that is smaller one way is taken whole that
            way.
        count: number of windows that do not overlap by more than half a side, at most.
        seen: `(H, W)`, 0 where a pixel is no part of the photo; None where all are.

    Returns:
        `(N, 2)` top and left of the windows, N at least 1 and at most `count`.
    """
    return torch.tensor([place for place, _ in windows_of_edges(grey, side, count, seen)])


def windows_of_edges(
    grey: Tensor, side: int, count: int, seen: Tensor | None = None
) -> list[tuple[tuple[int, int], float]]:
    """The windows of `edge_windows`, each with its strength, in squares of [0, 1] a pixel."""
    height, width = grey.shape
    size = min(side, height), min(side, width)
    steps = [max(1, n // STEP) for n in size]
    # Differences of means of 3x3 pixels reach two pixels far.
    valid = ((grey > CLIPPED) & (grey < 1 - CLIPPED)).float()
    if seen is not None:
        valid = valid * seen
    valid = -F.max_pool2d(-valid[None, None], 5, 1, 2)[0, 0]
    # Means show the edges of a blurred photo and little of its noise.
    smooth = F.avg_pool2d(grey[None, None], 3, 1, 1, count_include_pad=False)[0, 0]
    d_x = F.pad(smooth.diff(dim=1), (0, 1)) * valid
    d_y = F.pad(smooth.diff(dim=0), (0, 0, 0, 1)) * valid
    products = torch.stack([d_x * d_x, d_x * d_y, d_y * d_y])[None]
    xx, xy, yy = F.avg_pool2d(products, size, steps)[0]
    strength = (xx + yy) / 2 - (((xx - yy) / 2) ** 2 + xy**2).sqrt()
    found: list[tuple[tuple[int, int], float]] = []
    for place in strength.flatten().argsort(descending=True).tolist():
        top, left = (place // strength.shape[1]) * steps[0], (place % strength.shape[1]) * steps[1]
        if all(abs(top - t) > size[0] // 2 or abs(left - m) > size[1] // 2 for (t, m), _ in found):
            found.append(((top, left), float(strength.flatten()[place])))
        if len(found) == count:
            break
    return found
