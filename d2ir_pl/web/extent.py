"""How much of a photo is restored: the whole, a smaller copy of it, or a part."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Literal

import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from d2ir_pl.diagnosis.large import GRID, LARGE
from d2ir_pl.image_io import Photo, resized
from d2ir_pl.web.liveliest import liveliest
from d2ir_pl.web.painting import part_of

Extent = Literal["whole", "overview", "part"]
"""The whole photo; a copy of `OVERVIEW` pixels where it is large; or `PART` pixels square of it."""

OVERVIEW = 2_000_000
"""Pixels of the smaller copy of a large photo."""

PART = 384
"""Side in pixels of the part of a photo on which a restoration is tried."""

FILLING = ("inpainting", "inpainting_sparse")
"""Configs that fill in missing pixels."""

ENLARGING = (
    "old_photo",
    "super_resolution_x4",
    "super_resolution_aliased",
    "super_resolution_blind",
)
"""Configs whose result is larger than the photo, of which a smaller copy shows nothing."""

SCALED = (
    "Blur, noise and traces of JPEG are {:.1f} times smaller here than in the photo, and partly "
    "gone before anything is restored: Try a part first shows how well they go."
)
"""What is said of a smaller copy of a photo whose damage has a size in pixels."""

OF_ANY_SIZE = ("Mask", "Grayscale")
"""Degradations that look the same in a smaller copy."""


def extent_of(photo: Photo, asked: Extent, task: str, mask: Image.Image | None) -> Extent:
    """How much of a photo is restored where this much was asked for.

    Args:
        photo: the photo.
        asked: what was asked for; what is small needs no smaller copy.
        task: the name of the config.
        mask: white where alone the photo is restored; None for everywhere.
    """
    if asked != "overview":
        return asked
    height, width = photo.size
    left, top, right, bottom = (mask and mask.getbbox()) or (0, 0, width, height)
    if (right - left) * (bottom - top) <= LARGE:
        return "whole"
    return "part" if task in ENLARGING and mask is None else "overview"


def smaller(photo: Photo, exact: bool = False) -> Photo:
    """A copy of a photo that has about `OVERVIEW` pixels.

    Args:
        photo: a larger photo.
        exact: whether its pixels are some of the photo's, rather than averages. Averages of black
            pixels, which are missing, and others would pass for pixels that are there.
    """
    height, width = photo.size
    factor = math.sqrt(OVERVIEW / (height * width))
    size = round(factor * height), round(factor * width)

    def made(plane: Tensor | None, exact: bool) -> Tensor | None:
        if plane is None:
            return None
        return F.interpolate(plane[None], size)[0] if exact else resized(plane, size)

    pixels = made(photo.pixels, exact)
    assert pixels is not None
    return replace(
        photo,
        pixels=pixels,
        alpha=made(photo.alpha, exact),
        mask=made(photo.mask, True),
        # Its pixels are no longer those that were compressed.
        tables=None,
        codec="",
        step=None,
    )


def part(photo: Photo, mask: Image.Image | None) -> tuple[Photo, Image.Image | None]:
    """A part of a photo that says most of its restoration, and the same part of a mask of it."""
    size = photo.size
    height, width = (min(PART, side) for side in size)
    corner = liveliest(photo.pixels, (height, width)) if mask is None else part_of(mask, PART)
    top, left = (at // GRID * GRID for at in corner)  # where blocks of JPEG begin
    if mask is not None:
        mask = mask.crop((left, top, left + width, top + height))

    def cut(plane: Tensor | None) -> Tensor | None:
        return None if plane is None else plane[:, top : top + height, left : left + width].clone()

    pixels = cut(photo.pixels)
    assert pixels is not None
    return replace(photo, pixels=pixels, alpha=cut(photo.alpha), mask=cut(photo.mask)), mask
