"""Reading HEIC photos, through pillow-heif, which is an extra."""

from __future__ import annotations

import re
from typing import Any, BinaryIO

import numpy as np

from d2ir_pl.image_io.extras import library
from d2ir_pl.image_io.heif_step import heic_step
from d2ir_pl.image_io.metadata import Metadata, coded_colour
from d2ir_pl.image_io.photo import Raster, RefusedError, Stored, check_size

HEIF = re.compile(rb"....ftyp(?:hei[cxmsv]|hev[cxms]|mif1|msf1)", re.DOTALL)


def heif_size(stream: BinaryIO) -> tuple[int, int, int]:
    """The height and width of the upright photo, and the orientation 1, from the header only."""
    width, height = _opened(stream).size
    return height, width, 1


def read_heif(stream: BinaryIO, max_pixels: int) -> Raster:
    """Read the main photo of a HEIC file, turned upright as the file says.

    Args:
        stream: the file.
        max_pixels: largest number of pixels, checked before decoding.

    Raises:
        RefusedError: if it is too large or not of the size that its header says, or the extra is
            not installed.
    """
    file = _opened(stream)
    width, height = file.size
    check_size(height, width, max_pixels)
    samples = np.asarray(file)
    samples = samples.reshape(*samples.shape[:2], -1)
    if samples.shape[:2] != (height, width):
        held = f"{samples.shape[1]}x{samples.shape[0]}"
        raise RefusedError(
            f"is damaged: its header says {width}x{height} pixels, and it holds {held}; copy or "
            "download it again"
        )
    deep = samples.dtype == np.uint16
    bits = min(16, max(8, int(file.info.get("bit_depth", 8))))
    white = float((2**bits - 1) << (16 - bits)) if deep else 255.0
    if samples.shape[-1] > 4:
        raise RefusedError(f"has {samples.shape[-1]} channels; export it as a JPEG file")
    notes: tuple[str, ...] = ()
    if len(file.info.get("depth_images") or ()):
        notes = ("its depth map is left out",)
    profile = file.info.get("icc_profile") or None
    colour = () if profile else _coded(file.info.get("nclx_profile"))
    metadata = Metadata.of(file.info.get("exif"), file.info.get("xmp"), colour=colour)
    samples = np.minimum(samples, white) if deep else samples
    return Raster(
        samples,
        white,
        16 if deep else 8,
        1,
        profile,
        notes,
        metadata=metadata,
        stored=Stored("HEIF", lossless=False),
        codec="HEIC",
        step=heic_step(stream),
    )


def _opened(stream: BinaryIO) -> Any:
    heif = library("pillow_heif", "HEIC")
    return heif.open_heif(stream, convert_hdr_to_8bit=False)


def _coded(profile: Any) -> tuple[tuple[bytes, bytes], ...]:
    """The colour space of a file without ICC profile, as a PNG file has it."""
    if not isinstance(profile, dict):
        return ()
    numbers = profile.get("color_primaries"), profile.get("transfer_characteristics")
    try:
        return coded_colour(*(int(number) for number in numbers))  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return ()
