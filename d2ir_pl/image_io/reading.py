"""Reading image files of any common kind.

PNG goes through imagecodecs and TIFF through tifffile, because Pillow reduces most 16-bit files to
8 bits (and its libtiff writes to the terminal); Pillow reads the other formats and all headers but
those of TIFF files. HEIC photos and the raw files of cameras need libraries of an extra.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import struct
import warnings
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO, NamedTuple

import imagecodecs
from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    WebPImagePlugin,
)

from d2ir_pl.errors import ImageError
from d2ir_pl.image_io.avif import completed
from d2ir_pl.image_io.foreign import about
from d2ir_pl.image_io.forgiving import decoded
from d2ir_pl.image_io.heif import HEIF, heif_size, read_heif
from d2ir_pl.image_io.jpeg import compression
from d2ir_pl.image_io.jpeg_xl import JPEG_XL, jpeg_xl_size, read_jpeg_xl
from d2ir_pl.image_io.metadata import COLOUR_CHUNKS, Metadata, gif_xmp
from d2ir_pl.image_io.photo import Photo, Raster, RefusedError, check_size, to_photo
from d2ir_pl.image_io.pillow import orientation, pillow_raster, stored
from d2ir_pl.image_io.pnm import PNM, pnm_size, read_pnm
from d2ir_pl.image_io.raw import RAW, RAW_EXTENSIONS, raw_size, read_raw
from d2ir_pl.image_io.tiff import TIFF, read_tiff, tiff_size
from d2ir_pl.image_io.webp import with_step
from d2ir_pl.schema import MAX_PIXELS

EXTENSIONS: frozenset[str] = frozenset(
    {".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".tif", ".tiff", ".webp", ".avif"}
    | {".gif", ".bmp", ".dib", ".ppm", ".pgm", ".pbm", ".pnm", ".pam", ".pfm"}
    | {".heic", ".heif", ".hif", ".jxl", *RAW_EXTENSIONS}
)
"""Suffixes of the files that are taken for images in a folder."""

PALETTE = 16
"""Number of colours from which a file with a palette is taken for a photo rather than a drawing."""

_MOST_EXIF, _MOST_COLOUR = 2**24, 64
"""Bytes of a chunk with EXIF data, and of one that tells of colours, at most."""

# Openers are called directly: Image.open would enforce Pillow's process-wide pixel limit, and would
# also try formats that run other programs.
_OPENERS: dict[re.Pattern[bytes], Callable[[BinaryIO], ImageFile.ImageFile]] = {
    re.compile(rb"\x89PNG\r\n\x1a\n"): PngImagePlugin.PngImageFile,
    re.compile(rb"\xff\xd8\xff"): JpegImagePlugin.jpeg_factory,
    re.compile(rb"GIF8[79]a"): GifImagePlugin.GifImageFile,
    re.compile(rb"RIFF....WEBP", re.DOTALL): WebPImagePlugin.WebPImageFile,
    re.compile(rb"....ftypavi[fs]", re.DOTALL): AvifImagePlugin.AvifImageFile,
    re.compile(rb"BM"): BmpImagePlugin.BmpImageFile,
    re.compile(rb"P[1-6]\s"): PpmImagePlugin.PpmImageFile,
}


def image_size(path: str | os.PathLike[str]) -> tuple[int, int]:
    """The size (H, W) of the photo that `read_image` would return, from the file's header only.

    Raises:
        ImageError: if the file is missing, unreadable or no image.
    """
    path = Path(path)
    with _opened(path) as stream:
        if (reader := _reader(stream, path)) is not None:
            height, width, rotation = reader.size(stream)
        else:
            image = _open_header(stream)
            (width, height), rotation = image.size, orientation(image)
        check_size(height, width, max_pixels=None)
    return (width, height) if rotation >= 5 else (height, width)


def read_image(path: str | os.PathLike[str], *, max_pixels: int = MAX_PIXELS) -> Photo:
    """Read an image file of 8 or 16 bits a channel, turned upright by its EXIF orientation.

    A value v of a file whose white is w becomes 2 v / w - 1. CMYK is converted to sRGB; any other
    colour space is left as it is, described by `Photo.icc_profile`.

    Args:
        path: file to read; its contents decide of what kind it is, not its suffix.
        max_pixels: largest number of pixels H * W, checked before decoding.

    Raises:
        ImageError: if the file is missing, unreadable, damaged, too large, or of an unsupported
            kind.
    """
    path = Path(path)
    with _opened(path) as stream:
        reader = _reader(stream, path)
        read = _read_other if reader is None else reader.read
        raster = read(stream, max_pixels)
        stream.seek(0)
        return to_photo(raster, hashlib.file_digest(stream, "sha256").hexdigest())


@contextmanager
def _opened(path: Path) -> Iterator[BufferedReader]:
    """Open a file; inside, every failure becomes an ImageError and no decoder prints anything."""

    def drop(_record: logging.LogRecord) -> bool:
        return False

    loggers = [logging.getLogger(name) for name in ("tifffile", "imagecodecs")]
    for logger in loggers:
        logger.addFilter(drop)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if path.is_dir():
                os.scandir(path).close()  # raises why it cannot be listed, where that is so
            # A named pipe would block for ever.
            if path.exists() and not path.is_file():
                raise RefusedError("is not a regular file; pass the path of an image file")
            with path.open("rb") as stream:
                yield stream
    except RefusedError as refusal:
        raise ImageError(f"{path} {refusal}") from None
    except MemoryError as error:
        raise ImageError(f"{path} does not fit into memory; make it smaller") from error
    except Exception as error:  # decoders raise anything at all on hostile bytes
        # Only the operating system sets errno: Pillow's own OSErrors are about the contents.
        if isinstance(error, OSError) and error.errno is not None:
            remedy = "check the path and its permissions"
            raise ImageError(f"{path} cannot be read ({error.strerror}); {remedy}") from error
        said = str(error) or type(error).__name__
        reason = f"is damaged, truncated or of an unsupported kind ({said:.200})"
        raise ImageError(
            f"{path} {reason}; copy it again, or export it anew as a PNG file"
        ) from error
    finally:
        for logger in loggers:
            logger.removeFilter(drop)


def _head(stream: BinaryIO) -> bytes:
    """The first bytes of a file, which tell its kind."""
    head = stream.read(1024)
    stream.seek(0)
    if not head:
        raise RefusedError("is empty; copy or download it again")
    return head


class _Reader(NamedTuple):
    """Reads a kind of file that Pillow does not read, or not in full.

    Attributes:
        start: first bytes of such a file.
        size: reads the height and width as stored, and the EXIF orientation, from the header.
        read: reads the photo, unless it has more pixels than are allowed.
    """

    start: re.Pattern[bytes]
    size: Callable[[BinaryIO], tuple[int, int, int]]
    read: Callable[[BinaryIO, int], Raster]


_RAW = _Reader(RAW, raw_size, read_raw)
_READERS = (
    _RAW,
    _Reader(TIFF, tiff_size, read_tiff),
    _Reader(HEIF, heif_size, read_heif),
    _Reader(JPEG_XL, jpeg_xl_size, read_jpeg_xl),
    _Reader(PNM, pnm_size, read_pnm),
)


def _reader(stream: BinaryIO, path: Path) -> _Reader | None:
    """What reads a file; None for Pillow. Only the suffix tells most raw files from TIFF."""
    head = _head(stream)
    if path.suffix.lower() in RAW_EXTENSIONS and TIFF.match(head):
        return _RAW
    return next((reader for reader in _READERS if reader.start.match(head)), None)


def _open_header(stream: BinaryIO) -> ImageFile.ImageFile:
    """A file that is not TIFF as a Pillow image whose pixels are not decoded yet."""
    head = _head(stream)
    opener = next((opener for start, opener in _OPENERS.items() if start.match(head)), None)
    if opener is None:
        raise RefusedError(about(head))
    image = opener(stream)
    is_png = isinstance(image, PngImagePlugin.PngImageFile)
    # They may follow the pixels, where Pillow would find them only by decoding.
    if is_png and (exif := _png_chunks(stream, (b"eXIf",), _MOST_EXIF).get(b"eXIf")):
        image.info["exif"] = exif
    return image


def _png_chunks(stream: BinaryIO, kinds: Collection[bytes], most: int) -> dict[bytes, bytes]:
    """Contents of the first chunk of each of some kinds in a PNG file.

    Args:
        stream: the file.
        kinds: four letters each.
        most: bytes of a chunk above which it is passed over.
    """
    found: dict[bytes, bytes] = {}
    stream.seek(8)
    while len(start := stream.read(8)) == 8:
        length, kind = struct.unpack(">I4s", start)
        if kind in kinds and kind not in found and length <= most:
            found[kind] = stream.read(length)
            length = 0
        stream.seek(length + 4, os.SEEK_CUR)
    return found


def _read_other(stream: BinaryIO, max_pixels: int) -> Raster:
    """Read a file that is not TIFF."""
    image = _open_header(stream)
    check_size(image.height, image.width, max_pixels)
    rotation, tables, codec, notes = orientation(image), None, "", []
    profile = image.info.get("icc_profile") or None
    if isinstance(image, JpegImagePlugin.JpegImageFile):
        tables, codec = compression(image, rotation)
    if (frames := getattr(image, "n_frames", 1)) > 1:
        kind = "multi-picture" if image.format == "MPO" else "animated"
        notes.append(f"{kind}: the first of {frames} frames is used")
    if image.mode == "P":
        colours = len(image.getcolors(256) or ())
        if colours >= PALETTE:
            notes.append(f"a palette of {colours} colours: their dither passes for noise")
    if not isinstance(image, PngImagePlugin.PngImageFile):
        whole = decoded(image, stream)
        raster = pillow_raster(whole, profile, rotation, tables, codec)
        if image.format == "AVIF":
            raster = completed(raster, stream)
        elif image.format == "GIF" and raster.metadata.xmp is None:
            stream.seek(0)
            packet = Metadata.of(xmp=gif_xmp(stream.read())).xmp
            raster = replace(raster, metadata=replace(raster.metadata, xmp=packet))
        elif image.format == "WEBP":
            raster = with_step(raster, stream)
        return replace(raster, notes=(*notes, *raster.notes))
    # Pillow refuses what is damaged; imagecodecs, which keeps 16 bits, would leak memory there.
    image.load()
    stream.seek(0)
    samples = imagecodecs.png_decode(stream.read())
    bit_depth = 8 * samples.dtype.itemsize
    samples = samples.reshape(image.height, image.width, -1)
    colour = tuple(_png_chunks(stream, COLOUR_CHUNKS, _MOST_COLOUR).items())
    return Raster(
        samples,
        2**bit_depth - 1,
        bit_depth,
        rotation,
        profile,
        tuple(notes),
        metadata=Metadata.of_pillow(image, colour),
        stored=stored(image),
    )
