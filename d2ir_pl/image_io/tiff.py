"""Reading TIFF files, through tifffile."""

from __future__ import annotations

import contextlib
import itertools
import math
import re
from dataclasses import replace
from typing import Any, BinaryIO

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile
from tifffile import COMPRESSION, EXTRASAMPLE, PHOTOMETRIC

from d2ir_pl.image_io.exif import ORIENTATION_TAG, without
from d2ir_pl.image_io.metadata import Metadata, iptc_of
from d2ir_pl.image_io.photo import Raster, RefusedError, Stored, check_size
from d2ir_pl.image_io.pillow import cmyk_to_srgb
from d2ir_pl.image_io.tiff_writing import OF_PIXELS

TIFF = re.compile(rb"II[*+]\0|MM\0[*+]")

_JPEG = {COMPRESSION.JPEG, COMPRESSION.OJPEG}
_COMPRESSIONS = {COMPRESSION.NONE, COMPRESSION.LZW, COMPRESSION.ADOBE_DEFLATE, COMPRESSION.DEFLATE}
_COMPRESSIONS |= {COMPRESSION.PACKBITS, COMPRESSION.ZSTD, COMPRESSION.LZMA, *_JPEG}
_COMPRESSIONS |= {COMPRESSION.CCITTRLE, COMPRESSION.CCITT_T4, COMPRESSION.CCITT_T6}
"""Compressions whose decoders are told how much they may write, and JPEG, which tells its size."""

_SMALL = 2**22
"""Pixels that may be decoded of any page: a small one may lie in a tile of usual size."""

_JPEG_HEADER = 2**16
_MOST_PAGES = 16

# The number of samples of a pixel in each colour space that is read, without alpha.
_TIFF_COLOURS = {
    PHOTOMETRIC.MINISWHITE: 1,
    PHOTOMETRIC.MINISBLACK: 1,
    PHOTOMETRIC.PALETTE: 1,
    PHOTOMETRIC.RGB: 3,
    PHOTOMETRIC.YCBCR: 3,
    PHOTOMETRIC.SEPARATED: 4,
}


def tiff_size(stream: BinaryIO) -> tuple[int, int, int]:
    """The height and width as stored, and the orientation, from the header only."""
    with tifffile.TiffFile(stream) as tiff:
        page = _photo(tiff)
        return page.imagelength, page.imagewidth, _orientation(page)


def read_tiff(stream: BinaryIO, max_pixels: int) -> Raster:
    """Read the first page of a TIFF file.

    Args:
        stream: the file.
        max_pixels: largest number of pixels, checked before decoding.

    Raises:
        RefusedError: if the page is too large, truncated, or of an unsupported kind.
    """
    raster, metadata = _read(stream, max_pixels), Metadata()
    with contextlib.suppress(Exception):  # whatever is wrong with them, the pixels are read
        stream.seek(0)
        metadata = _metadata(stream)
    return replace(raster, metadata=metadata, stored=Stored("TIFF"))


def _metadata(stream: BinaryIO) -> Metadata:
    """What the first directory of a TIFF file carries."""
    image = TiffImageFile(stream)
    exif = without(image.getexif(), OF_PIXELS)
    return Metadata.of(exif, *packets(stream), image.info.get("dpi"))


def packets(stream: BinaryIO) -> tuple[bytes | None, bytes | None]:
    """The XMP packet and the IPTC records of the first directory of a TIFF file, such as a raw one.

    Their bytes are taken as they lie in the file, which may call them numbers of any size.
    """
    stream.seek(0)
    with tifffile.TiffFile(stream) as tiff:
        tags = tiff.pages.first.tags
        xmp, iptc, photoshop = (_bytes(tags.valueof(code)) for code in (700, 33723, 34377))
    return xmp, iptc_of(iptc) or iptc_of(photoshop)


def _bytes(value: object) -> bytes | None:
    return value if isinstance(value, bytes) else None


def _read(stream: BinaryIO, max_pixels: int) -> Raster:
    """The pixels of the first page."""
    with tifffile.TiffFile(stream) as tiff:
        page = _photo(tiff)
        check_size(page.imagelength, page.imagewidth, max_pixels)
        _check_segments(page, stream, max_pixels)
        samples = _samples(page, file_size=tiff.filehandle.size)
        profile, orientation = page.iccprofile, _orientation(page)
        pages = len(tiff.pages) if page is tiff.pages.first else 1
    notes = [f"multi-page: the first of {pages} pages is used"] if pages > 1 else []
    bits = page.bitspersample
    white = 1 if samples.dtype.kind == "f" else 2**bits - 1
    if page.photometric == PHOTOMETRIC.PALETTE:
        # Palettes hold 16 bits an entry, by convention made from 8; some programs write these 8.
        palette = np.asarray(page.colormap)
        palette = palette >> 8 if palette.max(initial=0) > 255 else palette
        if palette.shape != (3, 2**bits):
            raise RefusedError("has a damaged palette; export it again as a PNG file")
        return Raster(palette.T[samples[..., 0]], 255, 8, orientation, profile, tuple(notes))
    if page.photometric == PHOTOMETRIC.SEPARATED:
        inks = np.rint(samples * (255 / white)).astype(np.uint8)
        cmyk = Image.frombytes("CMYK", inks.shape[1::-1], inks.tobytes())
        rgb, note = cmyk_to_srgb(cmyk, profile)
        return Raster(rgb, 255, 8, orientation, None, (*notes, note))
    if samples.dtype.kind == "f":
        notes.append("floating point: the values are used as they are, and written in 16 bits")
    if page.photometric == PHOTOMETRIC.MINISWHITE:
        samples[..., 0] = white - samples[..., 0]
    if samples.shape[-1] in (2, 4):
        samples, more = _interpret_extra_sample(samples, white, page.extrasamples)
        notes += more
    depth = 8 if bits <= 8 else 16
    return Raster(samples, white, depth, orientation, profile, tuple(notes))


def _photo(tiff: tifffile.TiffFile) -> Any:
    """The page of the photo: the first one, unless that is a small copy of another."""
    first: Any = tiff.pages.first
    others: list[Any] = [*itertools.islice(tiff.pages, 1, _MOST_PAGES)]
    for page in (first, *others):
        others += [*itertools.islice(page.pages or (), _MOST_PAGES)]
    larger = [page for page in others if _is_small_copy(first, page)]
    return max(larger, key=lambda page: page.imagelength, default=first)


def _is_small_copy(first: Any, page: Any) -> bool:
    """Whether a page shows the photo of another one, in fewer pixels."""
    height, width = page.imagelength, page.imagewidth
    if height <= first.imagelength or width <= first.imagewidth or page.is_reduced:
        return False
    ratio = first.imagewidth * height / max(1, first.imagelength * width)
    return bool(first.is_reduced) or (0.95 < ratio < 1.05 and height >= 2 * first.imagelength)


def _orientation(page: tifffile.TiffPage) -> int:
    value = page.tags.valueof(ORIENTATION_TAG, default=1)
    return value if value in range(1, 9) else 1


def _check_segments(page: tifffile.TiffPage, stream: BinaryIO, max_pixels: int) -> None:
    """Check that what is decoded of a page, tiles or strips, is not far larger than the page.

    Raises:
        RefusedError: if it is, or a segment is compressed in a way that could be anything.
    """
    if page.compression not in _COMPRESSIONS:
        kind = getattr(page.compression, "name", page.compression)
        raise RefusedError(f"has the TIFF compression {kind}; save it with LZW, Deflate or none")
    most = min(2 * max_pixels, max(4 * page.imagelength * page.imagewidth, _SMALL))
    height, width = page.chunks[1:3] if len(page.chunks) == 4 else page.chunks[:2]
    across, down = -(-page.imagewidth // width), -(-page.imagelength // height)
    _check_decoded(height * width * across * down, most)
    if page.compression in _JPEG:
        for start, size in zip(page.dataoffsets, page.databytecounts, strict=False):
            stream.seek(start)
            coded = _jpeg_size(stream.read(min(size, _JPEG_HEADER)))
            _check_decoded(math.prod(coded), max(4 * height * width, _SMALL))


def _check_decoded(pixels: int, most: int) -> None:
    if pixels > most:
        raise RefusedError(
            f"has tiles or strips of {pixels} pixels, far more than the photo itself; export it "
            "again as a PNG file"
        )


def _jpeg_size(coded: bytes) -> tuple[int, int]:
    """The height and width that a JPEG segment says of itself; zeros where it says nothing."""
    place = 2
    while place + 9 <= len(coded) and coded[place] == 0xFF:
        marker, length = coded[place + 1], int.from_bytes(coded[place + 2 : place + 4], "big")
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height = int.from_bytes(coded[place + 5 : place + 7], "big")
            return height, int.from_bytes(coded[place + 7 : place + 9], "big")
        place += 2 + length
    return 0, 0


def _samples(page: tifffile.TiffPage, file_size: int) -> NDArray[Any]:
    """The samples `(H, W, C)` of a page, unsigned or floating point, in its own colour space."""
    colours = _TIFF_COLOURS.get(PHOTOMETRIC(page.photometric))
    ycbcr = page.photometric == PHOTOMETRIC.YCBCR
    if colours is None or (ycbcr and page.compression != COMPRESSION.JPEG):
        space = PHOTOMETRIC(page.photometric).name
        raise RefusedError(f"has the TIFF colour space {space}; convert it to RGB")
    plain = page.photometric in (PHOTOMETRIC.PALETTE, PHOTOMETRIC.SEPARATED)
    if page.imagedepth != 1 or not 0 <= page.samplesperpixel - colours <= (0 if plain else 1):
        raise RefusedError(f"has {page.samplesperpixel} channels; flatten it to RGB or RGBA")
    kind = page.dtype.kind if page.dtype is not None else "?"
    if not ((kind in "bu" and page.bitspersample <= 16) or (kind == "f" and not plain)):
        raise RefusedError(
            f"has samples of type {page.dtype or 'unknown'}; convert it to 8 or 16 bits a channel, "
            "or to floating point in [0, 1]"
        )
    # tifffile would fill missing parts with zeros.
    segments = list(zip(page.dataoffsets, page.databytecounts, strict=False))
    if len(segments) < math.prod(page.chunked) or any(
        size < 1 or start + size > file_size for start, size in segments
    ):
        raise RefusedError("is truncated; copy or download it again")
    planes = page.asarray(squeeze=False)[:, 0]
    samples = np.moveaxis(planes, 0, -2).reshape(page.imagelength, page.imagewidth, -1)
    if kind == "f" and not np.isfinite(samples).all():
        raise RefusedError("has values that are not finite; repair them")
    if kind == "f" and not (samples.min() >= 0 and samples.max() <= 1):
        span = f"from {samples.min()} to {samples.max()}"
        raise RefusedError(f"has floating-point values {span}; scale them to [0, 1]")
    return samples.astype(np.uint8) if kind == "b" else samples


def _interpret_extra_sample(
    samples: NDArray[Any], white: float, meanings: tuple[int, ...]
) -> tuple[NDArray[Any], list[str]]:
    """The samples with plain alpha, without one if the last channel is something else; and notes.

    Args:
        samples: `(H, W, C)` in [0, white], whose last channel is not a colour.
        white: value of white.
        meanings: values of the TIFF tag ExtraSamples, which say what that channel is.
    """
    if EXTRASAMPLE.UNASSALPHA in meanings:
        return samples, []
    colour, alpha = samples[..., :-1].astype(np.float32), samples[..., -1:]
    if EXTRASAMPLE.ASSOCALPHA not in meanings:
        return samples[..., :-1], ["an extra channel that is not declared as alpha is left out"]
    unpremultiplied = np.minimum(colour * (white / np.maximum(alpha, 1e-6 * white)), white)
    return np.concatenate([unpremultiplied, alpha], -1, dtype=np.float32), []
