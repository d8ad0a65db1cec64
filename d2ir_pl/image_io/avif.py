"""What Pillow leaves out of AVIF files: more than 8 bits, and colours without an ICC profile.

Source: AV1 codec ISO media file format binding, section 2.3 (`av1C`); ISO/IEC 23008-12 (`colr`).
"""

from __future__ import annotations

from dataclasses import replace
from typing import BinaryIO

import imagecodecs
import numpy as np

from d2ir_pl.image_io.metadata import coded_colour
from d2ir_pl.image_io.photo import Raster

_HIGH, _TWELVE = 0x40, 0x20
"""Flags in the third byte of `av1C`: more than 8 bits, and 12 of them rather than 10."""
_HEAD = 2**16
"""Bytes at the beginning of a file in which its properties are looked for."""


def completed(raster: Raster, stream: BinaryIO) -> Raster:
    """What Pillow has read of an AVIF file, with all bits and the colour space.

    Args:
        raster: what Pillow has read.
        stream: the file.
    """
    stream.seek(0)
    data = stream.read()
    if raster.icc_profile is None:
        colour = coded_colour(*_numbers(data))
        raster = replace(raster, metadata=replace(raster.metadata, colour=colour))
    bits = _bits(data)
    if bits == 8:
        return raster
    samples = np.atleast_3d(imagecodecs.avif_decode(data, index=0))
    if samples.dtype != np.uint16 or samples.shape[:2] != raster.samples.shape[:2]:
        return raster
    return replace(raster, samples=samples, white=float(2**bits - 1), bit_depth=16)


def _bits(data: bytes) -> int:
    """Bits of a channel."""
    at = data.find(b"av1C", 0, _HEAD)
    flags = data[at + 6] if 0 <= at < len(data) - 6 else 0
    if not flags & _HIGH:
        return 8
    return 12 if flags & _TWELVE else 10


def _numbers(data: bytes) -> tuple[int, int]:
    """Numbers of primaries and curve (ITU-T H.273); 2, unspecified, where the file has none."""
    at = data.find(b"colrnclx", 0, _HEAD)
    if at < 0 or at + 12 > len(data):
        return 2, 2
    return int.from_bytes(data[at + 8 : at + 10]), int.from_bytes(data[at + 10 : at + 12])
