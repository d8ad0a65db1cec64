"""Which pixels of a file belong to the photo."""

from __future__ import annotations

import torch
from torch import Tensor

from d2ir_pl.estimators.impulses import impulses
from d2ir_pl.estimators.observed_pixels import pull_push
from d2ir_pl.image_io import Photo


def observed_pixels(photo: Photo, y: Tensor) -> tuple[Tensor | None, tuple[str, ...]]:
    """Which pixels are observed: neither transparent nor impulses, such as dead pixels.

    Args:
        photo: contents of the file.
        y: `(3, H, W)`, its pixels in [-1, 1].

    Returns:
        `(1, H, W)`, 1 where a pixel is observed and 0 elsewhere, or None where all are; and
        sentences on what was found.
    """
    visible = photo.visible
    if visible is not None:
        visible = visible.to(y)
        y = torch.where(visible == 1, y, pull_push(y[None] * visible, visible[None])[0])
    found = impulses(y)
    if found is None:
        return visible, ()
    observed = 1 - found if visible is None else visible * (1 - found)
    return observed, (
        f"impulses: {float(found.mean()):.2%} of the pixels stand out from all around them, as "
        f"dead pixels or salt and pepper do; they are taken for missing",
    )
