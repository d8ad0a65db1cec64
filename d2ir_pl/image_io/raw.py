"""Developing the raw files of cameras, through rawpy (LibRaw), which is an extra.

The light that the sensor has counted is interpolated to three colours, balanced as the camera did,
and stored by the curve of sRGB: nothing is brightened, sharpened or smoothed.
"""

from __future__ import annotations

import contextlib
import io
import re
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from d2ir_pl.image_io import exif as exif_data
from d2ir_pl.image_io.extras import library
from d2ir_pl.image_io.metadata import Metadata
from d2ir_pl.image_io.photo import Raster, Stored, check_size
from d2ir_pl.image_io.tiff import packets
from d2ir_pl.image_io.tiff_writing import OF_PIXELS

RAW_EXTENSIONS = frozenset(
    {".dng", ".cr2", ".cr3", ".crw", ".nef", ".nrw", ".arw", ".sr2", ".srf", ".raf", ".orf"}
    | {".rw2", ".rwl", ".pef", ".srw", ".3fr", ".fff", ".erf", ".kdc", ".dcr", ".mos", ".mef"}
    | {".mrw", ".x3f", ".iiq"}
)
"""Suffixes of raw files: most of them are TIFF files by their first bytes."""

RAW = re.compile(
    rb"II\*\0....CR|....ftypcrx |FUJIFILMCCD-RAW|IIRO|IIRS|MMOR|IIU\0|FOVb|\0MRM", re.DOTALL
)
"""First bytes that only raw files have."""

_TURNS = {0: 1, 3: 3, 5: 8, 6: 6}
"""EXIF orientations by LibRaw's numbers."""


def raw_size(stream: BinaryIO) -> tuple[int, int, int]:
    """The height and width as stored, and the orientation, from the header only."""
    with library("rawpy", "RAW").imread(stream) as raw:
        sizes = raw.sizes
        return sizes.height, sizes.width, _TURNS.get(sizes.flip, 1)


def read_raw(stream: BinaryIO, max_pixels: int) -> Raster:
    """Develop a raw file to 16 bits in sRGB, with the camera's white balance and its exposure.

    Args:
        stream: the file.
        max_pixels: largest number of pixels, checked before decoding.

    Raises:
        RefusedError: if it is too large, or the extra is not installed.
    """
    rawpy = library("rawpy", "RAW")
    with rawpy.imread(stream) as raw:
        check_size(raw.sizes.height, raw.sizes.width, max_pixels)
        light = raw.postprocess(
            use_camera_wb=True,
            no_auto_bright=True,
            output_bps=16,
            gamma=(1, 1),
            output_color=rawpy.ColorSpace.sRGB,
        )
        thumbnail = _thumbnail(rawpy, raw)
    samples = _ENCODED[light]
    stream.seek(0)
    note = "raw: developed with the camera's white balance, in linear light"
    return Raster(
        samples,
        65535.0,
        16,
        1,
        None,
        (note,),
        metadata=Metadata.of(_exif(stream, thumbnail), *_packets(stream)),
        stored=Stored("RAW"),
    )


def _curve() -> Any:
    """The values of 16 bits in sRGB for light of 16 bits (IEC 61966-2-1)."""
    light = np.arange(2**16) / 65535
    values = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return np.rint(65535 * values).astype(np.uint16)


_ENCODED = _curve()


def _packets(stream: BinaryIO) -> tuple[bytes | None, bytes | None]:
    """XMP packet and IPTC records of raw files that are TIFF files, as most are."""
    with contextlib.suppress(Exception):  # it is not needed
        return packets(stream)
    return None, None


def _thumbnail(rawpy: Any, raw: Any) -> bytes:
    """The JPEG file that a camera puts into its raw files; empty if there is none."""
    with contextlib.suppress(Exception):  # it is not needed
        found = raw.extract_thumb()
        if found.format == rawpy.ThumbFormat.JPEG:
            return bytes(found.data)
    return b""


def _exif(stream: BinaryIO, thumbnail: bytes) -> bytes | None:
    """The EXIF data of the file, or of the JPEG file inside it."""
    found: bytes | None = None
    with contextlib.suppress(Exception):  # damaged EXIF data are left out
        exif = Image.Exif()
        exif.load_from_fp(stream)
        found = exif_data.without(exif, OF_PIXELS)
    if found is None and thumbnail:
        with contextlib.suppress(Exception):
            found = Image.open(io.BytesIO(thumbnail), formats=["JPEG"]).info.get("exif")
    return found
