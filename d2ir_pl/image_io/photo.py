"""The contents of an image file, once decoded."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from d2ir_pl.image_io.jpeg import FileTables
from d2ir_pl.image_io.metadata import Metadata

FLIPS: dict[int, tuple[int, ...]] = {2: (1,), 3: (0, 1), 4: (0,), 6: (1,), 7: (0, 1), 8: (0,)}
"""The axes (of height, width, channel) to flip for an EXIF orientation. The orientations from 5 on
need a transposition before that."""


class RefusedError(Exception):
    """A file is refused; the message follows the file's name in the sentence of an `ImageError`."""


@dataclass(frozen=True)
class Stored:
    """How a file stores a photo, so that it can be stored again in the same way.

    Attributes:
        kind: name of the format, such as `JPEG`; empty where there is no file.
        tables: all quantisation tables of a JPEG file, 64 steps each, in the order of the rows.
        subsampling: of the chrominances of a JPEG file: 0 for 4:4:4, 1 for 4:2:2, 2 for 4:2:0, and
            -1 for any other.
        lossless: whether its pixels are stored exactly.
    """

    kind: str = ""
    tables: tuple[tuple[int, ...], ...] = ()
    subsampling: int = -1
    lossless: bool = True


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
        sha256: digest of the file in hexadecimal; empty where the pixels come from no file.
        metadata: what else its file carries, such as camera, time, place and caption.
        stored: how its file stores it.
        mask: `(1, H, W)`, 1 where a pixel was observed and 0 where it is missing, if that is known
            beside the pixels.
        codec: the lossy format of a file whose compression is unknown: `WebP`, `AVIF` or `HEIC`,
            or a JPEG that rounds no YCbCr, `RGB JPEG`, `CMYK JPEG` or `JPEG`; empty for others.
        step: step with which that format rounds the luminance, in grey levels of an orthonormal
            transform; None where the file does not tell it.
    """

    pixels: Tensor
    alpha: Tensor | None = None
    bit_depth: int = 8
    grey: bool = False
    icc_profile: bytes | None = None
    notes: tuple[str, ...] = ()
    tables: FileTables | None = None
    sha256: str = ""
    metadata: Metadata = Metadata()
    stored: Stored = Stored()
    mask: Tensor | None = None
    codec: str = ""
    step: float | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.pixels.shape[-2], self.pixels.shape[-1]

    @property
    def visible(self) -> Tensor | None:
        """`(1, H, W)`, 0 where the photo is rather transparent than opaque; None if it is nowhere.

        Opacity counts relative to its maximum, because a whole photo may be translucent.
        """
        if self.alpha is None or float(self.alpha.min()) >= float(self.alpha.max()) / 2:
            return None
        return (self.alpha >= self.alpha.max() / 2).float()

    def restored(self, pixels: Tensor, keeps_grey: bool = True) -> Photo:
        """The photo once it is restored: other pixels, and all else as its file had it.

        Args:
            pixels: `(3, H, W)` float32 in [-1, 1], larger than before where a photo was enlarged;
                its transparency is then resized by bilinear interpolation.
            keeps_grey: whether a grey photo is still grey; False where it was given colours.
        """
        alpha = self.alpha
        if alpha is not None and alpha.shape[-2:] != pixels.shape[-2:]:
            alpha = F.interpolate(alpha[None], pixels.shape[-2:], mode="bilinear")[0]
        grey = self.grey and keeps_grey
        return replace(
            self,
            pixels=pixels,
            alpha=alpha,
            grey=grey,
            tables=None,
            sha256="",
            mask=None,
            codec="",
            step=None,
        )


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
        metadata: what else the file carries.
        stored: how the file stores it.
        codec: lossy format as `Photo` has it.
        step: its step as `Photo` has it.
    """

    samples: NDArray[Any]
    white: float
    bit_depth: int
    orientation: int
    icc_profile: bytes | None
    notes: tuple[str, ...]
    tables: FileTables | None = None
    metadata: Metadata = Metadata()
    stored: Stored = Stored()
    codec: str = ""
    step: float | None = None


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


def to_photo(raster: Raster, sha256: str = "") -> Photo:
    """Turn an image upright, and scale it to [-1, 1].

    Args:
        raster: the image as it is stored.
        sha256: digest of the file in hexadecimal; empty where there is no file.
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
        metadata=raster.metadata,
        stored=raster.stored,
        codec=raster.codec,
        step=raster.step,
    )
