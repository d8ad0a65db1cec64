"""The part of a photo that is measured.

What tells a blur lies at its sharpest edges, which may be a face before a soft background, and a
few megapixels of them say as much as fifty.
"""

from __future__ import annotations

from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor

from d2ir_pl.operators.orientation import stored, upright, upright_place

LARGE = 4_000_000
"""Pixels above which a photo is measured on a part of it."""
SIDE = 1536
"""Side in pixels of that part, as far as the photo has them."""
GRID = 16
"""Pixels to whose multiples it begins, as blocks of a JPEG file do."""


class TellingPart(NamedTuple):
    """A part of a photo.

    Attributes:
        y: `(3, h, w)`, its pixels.
        observed: `(1, h, w)`, which of them are observed; None where all are.
        middle: where its middle lies, in shares of the photo's height and width.
    """

    y: Tensor
    observed: Tensor | None
    middle: tuple[float, float] = (0.5, 0.5)


def telling_part(y: Tensor, observed: Tensor | None, orientation: int = 1) -> TellingPart:
    """The part of a photo with the strongest edges; the photo itself where it is not large.

    Args:
        y: `(3, H, W)` in [-1, 1], upright.
        observed: `(1, H, W)`, 0 where a pixel is no part of the photo; None where all are.
        orientation: as EXIF has it, how its file stores it.
    """
    if y[0].numel() <= LARGE:
        return TellingPart(y, observed)
    return strongest_part(y, observed, orientation, SIDE)


def strongest_part(y: Tensor, observed: Tensor | None, orientation: int, side: int) -> TellingPart:
    """The square of a photo with the strongest edges, which begins at a block of its file.

    Args:
        y: `(3, H, W)` in [-1, 1], upright.
        observed: `(1, H, W)`, 0 where a pixel is no part of the photo; None where all are.
        orientation: as EXIF has it, how its file stores it.
        side: its side in pixels, a multiple of `GRID`; less where the photo has less.
    """
    own = stored(y, orientation)
    seen = None if observed is None else stored(observed, orientation)
    grey = own.mean(0, keepdim=True)
    slope = grey[:, 1:, 1:].sub(grey[:, 1:, :-1]).square_()
    slope += grey[:, 1:, 1:].sub(grey[:, :-1, 1:]).square_()
    if seen is not None:  # nor where one of the neighbours is none
        slope *= seen[:, 1:, 1:] * seen[:, 1:, :-1] * seen[:, :-1, 1:]
    blocks = F.avg_pool2d(slope, GRID)
    window = [min(side // GRID, n) for n in blocks.shape[-2:]]
    sums = F.avg_pool2d(blocks, window, [max(1, n // 8) for n in window])[0]
    row, column = divmod(int(sums.argmax()), sums.shape[1])
    top, left = (GRID * n * max(1, w // 8) for n, w in zip((row, column), window, strict=True))
    place = ..., slice(top, top + side), slice(left, left + side)
    cut = own[place]
    middle = (
        (top + cut.shape[-2] / 2) / own.shape[-2],
        (left + cut.shape[-1] / 2) / own.shape[-1],
    )
    return TellingPart(
        upright(cut, orientation).contiguous(),
        None if seen is None else upright(seen[place], orientation),
        upright_place(middle, orientation),
    )
