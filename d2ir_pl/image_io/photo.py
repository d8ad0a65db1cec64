"""The contents of an image file, once decoded."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageCms
from torch import Tensor

from d2ir_pl.image_io.jpeg import FileTables

ORIENTATION_TAG = 274
"""Number of the EXIF and TIFF tag that says how the stored pixels are turned."""

FLIPS: dict[int, tuple[int, ...]] = {2: (1,), 3: (0, 1), 4: (0,), 6: (1,), 7: (0, 1), 8: (0,)}
"""The axes (of height, width, channel) to flip for an EXIF orientation. The orientations from 5 on
need a transposition before that."""


class RefusedError(Exception):
    """A file is refused; the message follows the file's name in the sentence of an `ImageError`."""


@dataclass(frozen=True)
class Photo:
    """An image file's contents, upright.

    Attributes:
        pixels: `(3, H, W)` float32 in [-1, 1].
        alpha: `(1, H, W)` float32 in [0, 1], where 1 is opaque; None if the file has no alpha.
        bit_depth: number of bits a channel, 8 or 16, with which to write the photo again.
        grey: whether the file has one luminance channel; the channels of `pixels` are then equal.
        icc_profile: colour space of `pixels`, to be written with them; None means sRGB.
        notes: sentences for the user, such as "animated: the first of 12 frames is used".
        tables: quantisation tables of a JPEG file of grey or YCbCr pixels; None for other files.
        sha256: digest of the file in hexadecimal.
    """

    pixels: Tensor
    alpha: Tensor | None
    bit_depth: int
    grey: bool
    icc_profile: bytes | None
    notes: tuple[str, ...]
    tables: FileTables | None = None
    sha256: str = ""


@dataclass(frozen=True)
class Raster:
    """An image as it is stored, before it is turned upright.

    Attributes:
        samples: `(H, W, C)` in [0, white]; C is 1 or 3, and one more with alpha.
        white: value of white.
        bit_depth: number of bits a channel, 8 or 16, with which to write the photo again.
        orientation: EXIF orientation, 1 to 8.
        icc_profile: colour space of the samples; None means sRGB.
        notes: sentences for the user.
        tables: quantisation tables of a JPEG file; None for other files.
    """

    samples: NDArray[Any]
    white: float
    bit_depth: int
    orientation: int
    icc_profile: bytes | None
    notes: tuple[str, ...]
    tables: FileTables | None = None


def check_size(height: int, width: int, max_pixels: int | None) -> None:
    """Check that an image has pixels, and not too many.

    Args:
        height: height in pixels.
        width: width in pixels.
        max_pixels: largest number of pixels; None for any number.

    Raises:
        RefusedError: if it has none, or too many.
    """
    if min(height, width) < 1:
        raise RefusedError("has no pixels; export it again as a PNG file")
    if max_pixels is not None and height * width > max_pixels:
        raise RefusedError(
            f"has {height} x {width} = {height * width} pixels (H x W), over the limit of "
            f"{max_pixels}; make it smaller or raise max_pixels"
        )


def to_photo(raster: Raster, sha256: str) -> Photo:
    """Turn an image upright, and scale it to [-1, 1].

    Args:
        raster: the image as it is stored.
        sha256: digest of the file in hexadecimal.
    """
    samples = raster.samples
    if raster.orientation >= 5:
        samples = samples.swapaxes(0, 1)
    samples = np.flip(samples, FLIPS.get(raster.orientation, ()))
    planes = torch.from_numpy(np.array(np.moveaxis(samples, -1, 0), np.float32, order="C"))
    planes /= raster.white
    colours = 1 if len(planes) < 3 else 3
    return Photo(
        pixels=(planes[:colours] * 2 - 1).expand(3, -1, -1).contiguous(),
        alpha=planes[colours:].clone() if len(planes) > colours else None,
        bit_depth=raster.bit_depth,
        grey=colours == 1,
        icc_profile=raster.icc_profile,
        notes=raster.notes,
        tables=raster.tables,
        sha256=sha256,
    )


def cmyk_to_srgb(image: Image.Image, profile: bytes | None) -> tuple[NDArray[Any], str]:
    """Convert a CMYK image to sRGB.

    Args:
        image: the CMYK image.
        profile: ICC profile of its colours; None if there is none.

    Returns:
        The values `(H, W, 3)` uint8, and a note for the user on how they were obtained.
    """
    note = "CMYK without an ICC profile: converted to sRGB approximately"
    if profile:
        try:
            source = ImageCms.ImageCmsProfile(BytesIO(profile))
            target = ImageCms.createProfile("sRGB")
            rgb = ImageCms.profileToProfile(image, source, target, outputMode="RGB")
            return np.asarray(rgb), "CMYK: converted to sRGB through its ICC profile"
        except (ImageCms.PyCMSError, OSError):
            note = "CMYK with an unusable ICC profile: converted to sRGB approximately"
    return np.asarray(image.convert("RGB")), note
