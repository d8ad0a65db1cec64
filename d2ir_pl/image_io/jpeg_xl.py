"""Reading JPEG XL photos, through imagecodecs.

Source: ISO/IEC 18181-1 (the size), 18181-2 (the boxes around the pixels).
"""

from __future__ import annotations

import contextlib
import re
import struct
from collections.abc import Iterator
from io import BytesIO
from typing import BinaryIO

import imagecodecs
import numpy as np

from d2ir_pl.image_io.extras import REMEDY
from d2ir_pl.image_io.metadata import Metadata
from d2ir_pl.image_io.photo import Raster, RefusedError, Stored, check_size

JPEG_XL = re.compile(rb"\xff\x0a|\0\0\0\x0cJXL \r\n\x87\n")
_BITS = (9, 13, 18, 30)
"""Numbers of bits in which a side is stored."""
_RATIOS = ((0, 0), (1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))
_MOST = 2**24
"""Bytes of a box with metadata at most."""


def jpeg_xl_size(stream: BinaryIO) -> tuple[int, int, int]:
    """The height and width as stored, and the orientation, from the header only.

    Raises:
        RefusedError: if the file is damaged.
    """
    bits = _Bits(_codestream(stream.read())[2:64])
    if bits(1):
        height = 8 * (bits(5) + 1)
        ratio = bits(3)
        width = 8 * (bits(5) + 1) if not ratio else 0
    else:
        height = bits(_BITS[bits(2)]) + 1
        ratio = bits(3)
        width = bits(_BITS[bits(2)]) + 1 if not ratio else 0
    if ratio:
        across, down = _RATIOS[ratio]
        width = height * across // down
    # All but the usual settings begin with a bit for the rest.
    orientation = bits(3) + 1 if not bits(1) and bits(1) else 1
    return height, width, orientation


def read_jpeg_xl(stream: BinaryIO, max_pixels: int) -> Raster:
    """Read a JPEG XL file, turned upright as the file says.

    Args:
        stream: the file.
        max_pixels: largest number of pixels, checked before decoding.

    Raises:
        RefusedError: if it is too large or of an unsupported kind.
    """
    height, width, _ = jpeg_xl_size(stream)
    check_size(height, width, max_pixels)
    stream.seek(0)
    data = stream.read()
    samples = imagecodecs.jpegxl_decode(data, index=0)
    samples = np.atleast_3d(samples)
    if samples.ndim != 3 or samples.shape[-1] > 4:
        raise RefusedError(f"has samples {samples.shape}; export it as a PNG file")
    if samples.dtype.kind == "f":
        samples, white = np.clip(samples.astype(np.float32), 0, 1), 1.0
    else:
        white = float(np.iinfo(samples.dtype).max)
    profile, notes = _profile(data)
    boxes = dict(_boxes(data, (b"Exif", b"xml ")))
    exif = boxes.get(b"Exif", b"")
    # A number before them says where they begin; some programs leave it out.
    exif = exif if exif.startswith((b"II*\0", b"MM\0*")) else exif[4:]
    metadata = Metadata.of(exif, boxes.get(b"xml "))
    return Raster(
        samples,
        white,
        8 if samples.dtype == np.uint8 else 16,
        1,
        profile,
        notes,
        metadata=metadata,
        stored=Stored("JXL", lossless=False),
    )


def _profile(data: bytes) -> tuple[bytes | None, tuple[str, ...]]:
    """The ICC profile of a file, and what is to be said where it cannot be read."""
    try:
        from pillow_jxl import JpegXLImagePlugin
    except ImportError:
        return None, (f"its colours are taken for sRGB: {REMEDY} reads which they are",)
    with contextlib.suppress(Exception):
        profile = JpegXLImagePlugin.JXLImageFile(BytesIO(data)).info.get("icc_profile")
        return (profile or None), ()
    return None, ()


class _Bits:
    """Reads numbers from bytes, their lowest bit first."""

    def __init__(self, data: bytes) -> None:
        self._value, self._left = int.from_bytes(data, "little"), 8 * len(data)

    def __call__(self, count: int) -> int:
        """The next number of so many bits."""
        if count > self._left:
            raise RefusedError("is truncated; copy or download it again")
        value = self._value & ((1 << count) - 1)
        self._value >>= count
        self._left -= count
        return value


def _codestream(data: bytes) -> bytes:
    """The beginning of the pixels, with or without boxes around them."""
    if data[:2] == b"\xff\x0a":
        return data[:128]
    for kind, body in _boxes(data, (b"jxlc", b"jxlp"), 128):
        return body[4:] if kind == b"jxlp" else body
    raise RefusedError("is damaged; copy or download it again")


def _boxes(
    data: bytes, kinds: tuple[bytes, ...], most: int | None = None
) -> Iterator[tuple[bytes, bytes]]:
    """The boxes of some kinds up to a length, those that are compressed by Brotli included."""
    place = 0
    while place + 8 <= len(data) and data[:2] != b"\xff\x0a":
        length, kind = struct.unpack_from(">I4s", data, place)
        start = place + 8
        if length == 1 and start + 8 <= len(data):
            (length,) = struct.unpack_from(">Q", data, start)
            start += 8
        end = len(data) if length == 0 else place + length
        if end < start:
            return
        inner = data[start : start + 4] if kind == b"brob" else kind
        if inner in kinds:
            body = data[start : min(end, start + (most or _MOST))]
            if kind == b"brob":
                with contextlib.suppress(Exception):
                    yield inner, bytes(imagecodecs.brotli_decode(body[4:], out=_MOST))
            else:
                yield inner, body
        place = end
