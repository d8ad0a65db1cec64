"""Pixels of a file that tell nothing of the scene: frames around a photo, and saturated areas.

A frame is a letterbox, a border or the mount of a slide: rows or columns at opposite sides that
have one colour, and end all at once. What is saturated was at least as bright as it shows, and
nothing more is known of it.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

LEVEL = 2 / 255
"""A grey level of 8 bits in [-1, 1]."""

# A row of a frame has FRAMED of its pixels within TOLERANCE of one colour, or within SPREADS
# standard deviations of its noise, up to NOISIEST. EDGE rows further at most ENDED of them do.
# A frame has at least NARROWEST rows, and at most WIDEST of the side's length.
FRAMED, ENDED = 0.97, 0.5
TOLERANCE, NOISIEST = 10 * LEVEL, 12 * LEVEL
SPREADS = 3.5
EDGE = 3
NARROWEST, WIDEST = 3, 0.4
# Frames around frames are looked for so often.
FRAMES = 3
# Saturated pixels have at least this value in all channels, and areas of them hold a square of
# SQUARE pixels; a photo has some where they are LEAST of it.
WHITE = 1 - 3 * LEVEL
SQUARE = 5
LEAST = 5e-4


def frame(y: Tensor) -> tuple[int, int, int, int]:
    """Rows and columns of a photo's frame at the top, the bottom, the left and the right.

    Args:
        y: `(3, H, W)` in [-1, 1].
    """
    y, sides = y.cpu(), [0, 0, 0, 0]  # there is little to compute
    for _ in range(FRAMES):
        top, bottom, left, right = sides
        inner = y[:, top : y.shape[1] - bottom, left : y.shape[2] - right]
        rows = [_rows(inner), _rows(inner.flip(1))]
        within = inner[:, rows[0] : inner.shape[1] - rows[1]].transpose(1, 2)
        found = [*rows, _rows(within), _rows(within.flip(1))]
        if not any(found):
            break
        sides = [a + b for a, b in zip(sides, found, strict=True)]
    top, bottom, left, right = sides
    # At one side alone it may be sky, or a wall.
    if not (min(top, bottom) or min(left, right)):
        return 0, 0, 0, 0
    return top, bottom, left, right


def framed(y: Tensor) -> Tensor | None:
    """`(1, H, W)`, 1 on the frame of a photo `(3, H, W)`; None if it has none."""
    top, bottom, left, right = frame(y)
    if not (top or bottom or left or right):
        return None
    mask = torch.ones_like(y[:1])
    mask[:, top : y.shape[1] - bottom, left : y.shape[2] - right] = 0
    return mask


def saturated(y: Tensor) -> Tensor | None:
    """`(1, H, W)`, 1 in the saturated areas of a photo `(3, H, W)`; None if there are none."""
    if min(y.shape[-2:]) < SQUARE:
        return None
    white = (y.amin(0, keepdim=True) >= WHITE).to(y)[None]
    # What an erosion and a dilation leave are the areas, without single pixels that noise clips.
    core = F.avg_pool2d(white, SQUARE, 1, SQUARE // 2) >= 1 - 1e-6
    areas = F.max_pool2d(core.to(y), SQUARE, 1, SQUARE // 2)[0] * white[0]
    return areas if float(areas.mean()) >= LEAST else None


def _rows(y: Tensor) -> int:
    """How many rows at the top of `(3, H, W)` have one colour; 0 if they do not end at once."""
    limit = int(WIDEST * y.shape[1])
    if y.shape[2] < 2 * NARROWEST or limit < NARROWEST + EDGE:
        return 0
    outermost = y[:, 0]
    colour = outermost.median(1, keepdim=True).values
    spread = float((outermost - colour).abs().median(1).values.max()) * 1.4826
    if spread > NOISIEST:
        return 0
    near = (y[:, : limit + EDGE] - colour[..., None]).abs().amax(0) <= max(
        TOLERANCE, SPREADS * spread
    )
    share = near.float().mean(1)
    outside = (share[:limit] < FRAMED).nonzero()
    if len(outside) == 0:
        return 0
    count = int(outside[0, 0])
    if count < NARROWEST or float(share[count : count + EDGE].amin()) > ENDED:
        return 0
    # The row between is part of both.
    return count + 1 if float(share[count]) > ENDED else count
