"""Image files made by hand, and the pixels that are read from them, for tests."""

import io
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from d2ir_pl.image_io import Photo

ORIENTATIONS = range(1, 9)
ORIENTATION_TAG = 274


def noise(*shape: int, dtype: Any = np.uint8, seed: int = 0) -> NDArray[Any]:
    """Uniform integers over the whole range of `dtype`, both ends included."""
    top = int(np.iinfo(dtype).max)
    values = np.random.default_rng(seed).integers(0, top + 1, shape).astype(dtype)
    values.flat[0] = 0
    values.flat[-1] = top
    return values


def unit(photo: Photo) -> NDArray[Any]:
    """Pixels as (H, W, 3) float64 in [0, 1]."""
    return (photo.pixels.double().permute(1, 2, 0).numpy() + 1) / 2


def levels(photo: Photo, white: int = 255) -> NDArray[Any]:
    """Pixels as (H, W, 3) integers; fails where a pixel is not one of the file's values."""
    scaled = unit(photo) * white
    np.testing.assert_allclose(scaled, np.rint(scaled), atol=0.01)
    whole: NDArray[Any] = np.rint(scaled).astype(np.int64)
    return whole


def alpha_levels(photo: Photo, white: int = 255) -> NDArray[Any]:
    assert photo.alpha is not None
    whole: NDArray[Any] = np.rint(photo.alpha[0].double().numpy() * white).astype(np.int64)
    return whole


def upright(array: NDArray[Any], orientation: int) -> NDArray[Any]:
    """The EXIF standard's table, row by row: where the stored row 0 and column 0 are seen."""
    turned: dict[int, Callable[[NDArray[Any]], NDArray[Any]]] = {
        1: lambda a: a,
        2: lambda a: np.fliplr(a),
        3: lambda a: np.rot90(a, 2),
        4: lambda a: np.flipud(a),
        5: lambda a: np.swapaxes(a, 0, 1),
        6: lambda a: np.rot90(a, -1),
        7: lambda a: np.rot90(np.swapaxes(a, 0, 1), 2),
        8: lambda a: np.rot90(a, 1),
    }
    return turned[orientation](array)


def exif(orientation: int) -> bytes:
    data = Image.Exif()
    data[ORIENTATION_TAG] = orientation
    return data.tobytes()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(samples: NDArray[Any], colour_type: int, *before: bytes, after: bytes = b"") -> bytes:
    """A PNG file made by hand, with extra chunks before and after the pixels."""
    height, width = samples.shape[:2]
    bits = 8 * samples.dtype.itemsize
    big_endian = samples.astype(samples.dtype.newbyteorder(">"))
    rows = b"".join(b"\0" + row.tobytes() for row in big_endian)
    header = struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress(rows))
    parts = (chunk(b"IHDR", header), *before, pixels, after, chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def encoded(image: Image.Image, file_format: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, file_format, **options)
    return stream.getvalue()


def cmyk_profile() -> bytes:
    """An ICC profile in which an ink mixture is the neutral of CIE L* = 100 (1 - K)."""
    table = bytes([255, 128, 128, 0, 128, 128]) * 8  # K, the last ink, varies fastest
    identity = bytes(range(256))
    matrix = struct.pack(">9i", *(65536 * v for v in (1, 0, 0, 0, 1, 0, 0, 0, 1)))
    lut = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + matrix + identity * 4 + table + identity * 3
    tags = struct.pack(">I4sII", 1, b"A2B0", 144, len(lut))
    white = struct.pack(">3i", 63190, 65536, 54061)
    start = struct.pack(
        ">I4sI4s4s4s", 144 + len(lut), b"none", 0x02400000, b"prtr", b"CMYK", b"Lab "
    )
    head = start + bytes(12) + b"acsp" + bytes(28) + white
    return head + bytes(128 - len(head)) + tags + lut


def srgb_profile() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
