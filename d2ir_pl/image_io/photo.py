"""What an image file holds, once decoded."""

from dataclasses import dataclass
from io import BytesIO

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageCms
from torch import Tensor

from d2ir_pl.image_io.jpeg import FileTables

ORIENTATION_TAG = 274

# Axes (of height, width, channel) to flip for an EXIF orientation, after the transposition that the
# orientations from 5 on also need.
FLIPS: dict[int, tuple[int, ...]] = {2: (1,), 3: (0, 1), 4: (0,), 6: (1,), 7: (0, 1), 8: (0,)}


class RefusedError(Exception):
    """The rest of an `ImageError`'s sentence, from where the file's name is not known."""


@dataclass(frozen=True)
class Photo:
    """An image file's contents, upright.

    Attributes:
        pixels: (3, H, W) float32 in [-1, 1].
        alpha: (1, H, W) float32 in [0, 1], 1 being opaque; None where the file has none.
        bit_depth: 8 or 16, the bits a channel with which to write the photo again.
        grey: the file had one luminance channel; the three channels of `pixels` are equal.
        icc_profile: the colour space of `pixels`, to be written with them; None means sRGB.
        notes: what the user should be told, such as "animated: the first of 12 frames is used".
        tables: how the file was compressed, if it is a JPEG of grey or YCbCr pixels.
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
    """Samples (H, W, C) in [0, white] as stored; C is 1 or 3, one more with alpha."""

    samples: NDArray
    white: float
    bit_depth: int
    orientation: int
    icc_profile: bytes | None
    notes: tuple[str, ...]
    tables: FileTables | None = None


def check_size(height: int, width: int, max_pixels: int | None) -> None:
    if min(height, width) < 1:
        raise RefusedError("has no pixels; export it again as a PNG file")
    if max_pixels is not None and height * width > max_pixels:
        raise RefusedError(
            f"has {height} x {width} = {height * width} pixels (H x W), over the limit of "
            f"{max_pixels}; make it smaller or raise max_pixels"
        )


def to_photo(raster: Raster, sha256: str) -> Photo:
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


def cmyk_to_srgb(image: Image.Image, profile: bytes | None) -> tuple[NDArray, str]:
    """The sRGB values (H, W, 3), uint8, of a CMYK image, and a note on how they were obtained."""
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
