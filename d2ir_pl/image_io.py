"""Photos in and out: any common image file to a tensor in [-1, 1], and such a tensor to a PNG file.

PNG goes through imagecodecs and TIFF through tifffile, because Pillow reduces most 16-bit files to
8 bits (and its libtiff writes to the terminal); Pillow reads the other formats and all headers but
those of TIFF files.
"""

import logging
import math
import os
import re
import secrets
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import imagecodecs
import numpy as np
import tifffile
import torch
from numpy.typing import NDArray
from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageCms,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    WebPImagePlugin,
)
from tifffile import COMPRESSION, EXTRASAMPLE, PHOTOMETRIC
from torch import Tensor

EXTENSIONS: frozenset[str] = frozenset(
    {".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".tif", ".tiff", ".webp"}
    | {".gif", ".bmp", ".dib", ".ppm", ".pgm", ".pbm", ".pnm"}
)
# The largest phone and medium-format photos have 200 megapixels.
MAX_PIXELS = 200_000_000

_COMPRESSION_LEVEL = 6
_ORIENTATION_TAG = 274
_TIFF = re.compile(rb"II[*+]\0|MM\0[*+]")
_PNM_SIXTEEN_BITS = re.compile(rb"P[2356]" + 3 * rb"(?:\s|#[^\n]*\n)+(\d+)")
# Openers are called directly: Image.open would enforce Pillow's process-wide pixel limit, and would
# also try formats that run other programs.
_OPENERS: dict[re.Pattern[bytes], Callable[[BinaryIO], ImageFile.ImageFile]] = {
    re.compile(rb"\x89PNG\r\n\x1a\n"): PngImagePlugin.PngImageFile,
    re.compile(rb"\xff\xd8\xff"): JpegImagePlugin.jpeg_factory,
    re.compile(rb"GIF8[79]a"): GifImagePlugin.GifImageFile,
    re.compile(rb"RIFF....WEBP", re.DOTALL): WebPImagePlugin.WebPImageFile,
    re.compile(rb"BM"): BmpImagePlugin.BmpImageFile,
    re.compile(rb"P[1-6]\s"): PpmImagePlugin.PpmImageFile,
}
# Samples a pixel of the TIFF colour spaces that are read, alpha not counted.
_TIFF_COLOURS = {
    PHOTOMETRIC.MINISWHITE: 1,
    PHOTOMETRIC.MINISBLACK: 1,
    PHOTOMETRIC.PALETTE: 1,
    PHOTOMETRIC.RGB: 3,
    PHOTOMETRIC.YCBCR: 3,
    PHOTOMETRIC.SEPARATED: 4,
}
# Axes (of height, width, channel) to flip for an EXIF orientation, after the transposition that the
# orientations from 5 on also need.
_FLIPS: dict[int, tuple[int, ...]] = {2: (1,), 3: (0, 1), 4: (0,), 6: (1,), 7: (0, 1), 8: (0,)}


class ImageError(ValueError):
    """A file cannot be read as an image; the message names the file, the reason and the remedy."""


class _RefusedError(Exception):
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
    """

    pixels: Tensor
    alpha: Tensor | None
    bit_depth: int
    grey: bool
    icc_profile: bytes | None
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Raster:
    """Samples (H, W, C) in [0, white] as stored; C is 1 or 3, one more with alpha."""

    samples: NDArray
    white: float
    bit_depth: int
    orientation: int
    icc_profile: bytes | None
    notes: tuple[str, ...]


def image_size(path: str | os.PathLike[str]) -> tuple[int, int]:
    """Size (H, W) of the photo that `read_image` would return, from the file's header only.

    Raises:
        ImageError: the file is missing, unreadable or no image.
    """
    with _opened(Path(path)) as stream:
        if _TIFF.match(_head(stream)):
            with tifffile.TiffFile(stream) as tiff:
                page = tiff.pages.first
                width, height = page.imagewidth, page.imagelength
                orientation = _tiff_orientation(page)
        else:
            image = _open_header(stream)
            (width, height), orientation = image.size, _orientation(image)
        _check_size(height, width, max_pixels=None)
    return (width, height) if orientation >= 5 else (height, width)


def read_image(path: str | os.PathLike[str], *, max_pixels: int = MAX_PIXELS) -> Photo:
    """Read an image file of 8 or 16 bits a channel, turned upright by its EXIF orientation.

    A value v of a file whose white is w becomes 2 v / w - 1. CMYK is converted to sRGB; any other
    colour space is left as it is, described by `Photo.icc_profile`.

    Args:
        path: the file; what counts is its contents, not its suffix.
        max_pixels: the most pixels H * W, checked before decoding.

    Raises:
        ImageError: the file is missing, unreadable, damaged, too large, or of an unsupported kind.
    """
    with _opened(Path(path)) as stream:
        head = _head(stream)
        pnm = _PNM_SIXTEEN_BITS.match(head)
        if _TIFF.match(head):
            raster = _read_tiff(stream, max_pixels)
        elif pnm and int(pnm[3]) > 255:
            raise _RefusedError("is a 16-bit PNM file; convert it to a 16-bit PNG or TIFF file")
        else:
            raster = _read_other(stream, max_pixels)
        return _to_photo(raster)


def write_png(
    path: str | os.PathLike[str],
    pixels: Tensor,
    *,
    alpha: Tensor | None = None,
    bit_depth: int = 8,
    grey: bool = False,
    icc_profile: bytes | None = None,
) -> None:
    """Write a PNG file, the same bytes for the same input; `path` holds the old file or all of it.

    Args:
        path: the file to create or replace; its folder must exist.
        pixels: (3, H, W), clamped to [-1, 1] and rounded to the nearest of the file's values.
        alpha: (1, H, W), clamped to [0, 1]; None writes no alpha channel.
        bit_depth: 8 or 16 bits a channel.
        grey: write one luminance channel, the mean of the three.
        icc_profile: the colour space of `pixels`; left out where it is not one for the number of
            channels, as PNG requires.

    Raises:
        ValueError: wrong shapes or bit depth, or values that are not finite.
        OSError: the folder is missing, the disk is full, or writing is not permitted.
    """
    if pixels.ndim != 3 or pixels.shape[0] != 3 or 0 in pixels.shape:
        raise ValueError(f"pixels has shape {tuple(pixels.shape)}; pass (3, H, W)")
    if alpha is not None and alpha.shape != (1, *pixels.shape[1:]):
        raise ValueError(f"alpha has shape {tuple(alpha.shape)}; pass (1, H, W) as for pixels")
    if bit_depth not in (8, 16):
        raise ValueError(f"bit_depth is {bit_depth}; pass 8 or 16")
    colour = (pixels.detach().cpu().float().clamp(-1, 1) + 1) / 2
    channels = [colour.mean(0, keepdim=True) if grey else colour]
    if alpha is not None:
        channels.append(alpha.detach().cpu().float().clamp(0, 1))
    unit = torch.cat(channels)
    if not unit.isfinite().all():
        raise ValueError("pixels or alpha holds NaN; pass finite values")
    dtype = np.uint8 if bit_depth == 8 else np.uint16
    samples = (unit * (2**bit_depth - 1)).round().permute(1, 2, 0).numpy().astype(dtype)
    png = bytes(imagecodecs.png_encode(np.ascontiguousarray(samples), level=_COMPRESSION_LEVEL))
    if icc_profile is not None and icc_profile[16:20] == (b"GRAY" if grey else b"RGB "):
        png = _with_profile(png, icc_profile)
    _replace_file(Path(path), png)


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """Open a file; inside, every failure becomes an ImageError and no decoder prints anything."""

    def drop(record: logging.LogRecord) -> bool:
        return False

    loggers = [logging.getLogger(name) for name in ("tifffile", "imagecodecs")]
    for logger in loggers:
        logger.addFilter(drop)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # A named pipe would block for ever.
            if path.exists() and not path.is_file():
                raise _RefusedError("is not a regular file; pass the path of an image file")
            with path.open("rb") as stream:
                yield stream
    except _RefusedError as refusal:
        raise ImageError(f"{path} {refusal}") from None
    except Exception as error:  # decoders raise anything at all on hostile bytes
        # Only the operating system sets errno: Pillow's own OSErrors are about the contents.
        if isinstance(error, OSError) and error.errno is not None:
            remedy = "check the path and its permissions"
            raise ImageError(f"{path} cannot be read ({error.strerror}); {remedy}") from error
        reason = f"is damaged, truncated or of an unsupported kind ({error!r:.200})"
        raise ImageError(f"{path} {reason}; export it again as a PNG file") from error
    finally:
        for logger in loggers:
            logger.removeFilter(drop)


def _head(stream: BinaryIO) -> bytes:
    head = stream.read(1024)
    stream.seek(0)
    if not head:
        raise _RefusedError("is empty; copy or download it again")
    return head


def _check_size(height: int, width: int, max_pixels: int | None) -> None:
    if min(height, width) < 1:
        raise _RefusedError("has no pixels; export it again as a PNG file")
    if max_pixels is not None and height * width > max_pixels:
        raise _RefusedError(
            f"has {height} x {width} = {height * width} pixels (H x W), over the limit of "
            f"{max_pixels}; make it smaller or raise max_pixels"
        )


def _open_header(stream: BinaryIO) -> ImageFile.ImageFile:
    """A file that is not TIFF as a Pillow image whose pixels are not decoded yet."""
    head = _head(stream)
    opener = next((opener for start, opener in _OPENERS.items() if start.match(head)), None)
    if opener is None:
        known = "PNG, JPEG, TIFF, WebP, GIF, BMP or PNM"
        raise _RefusedError(f"is not a {known} image; convert it to one of these")
    image = opener(stream)
    if isinstance(image, PngImagePlugin.PngImageFile) and (exif := _png_exif(stream)):
        image.info["exif"] = exif
    return image


def _png_exif(stream: BinaryIO) -> bytes | None:
    """A PNG file's EXIF data: they may follow the pixels, where Pillow finds them by decoding."""
    stream.seek(8)
    while len(start := stream.read(8)) == 8:
        length, kind = struct.unpack(">I4s", start)
        if kind == b"eXIf":
            return stream.read(length)
        stream.seek(length + 4, os.SEEK_CUR)
    return None


def _orientation(image: Image.Image) -> int:
    try:
        # The base class's method, because that of PNG images decodes the pixels.
        value = Image.Image.getexif(image).get(_ORIENTATION_TAG, 1)
    except Exception:  # damaged EXIF data are no reason to refuse the pixels
        return 1
    return value if value in _FLIPS or value == 5 else 1


def _read_other(stream: BinaryIO, max_pixels: int) -> _Raster:
    image = _open_header(stream)
    _check_size(image.height, image.width, max_pixels)
    profile, bit_depth, notes = image.info.get("icc_profile") or None, 8, []
    if (frames := getattr(image, "n_frames", 1)) > 1:
        kind = "multi-picture" if image.format == "MPO" else "animated"
        notes.append(f"{kind}: the first of {frames} frames is used")
    if isinstance(image, PngImagePlugin.PngImageFile):
        stream.seek(0)
        samples = imagecodecs.png_decode(stream.read())
        bit_depth = 8 * samples.dtype.itemsize
    elif image.mode == "CMYK":
        samples, note = _cmyk_to_srgb(image, profile)
        profile = None
        notes.append(note)
    else:
        grey = image.mode in ("1", "L", "LA")
        mode = ("L" if grey else "RGB") + ("A" if image.has_transparency_data else "")
        samples = np.asarray(image.convert(mode))
    samples = samples.reshape(image.height, image.width, -1)
    white = 2**bit_depth - 1
    return _Raster(samples, white, bit_depth, _orientation(image), profile, tuple(notes))


def _tiff_orientation(page: tifffile.TiffPage) -> int:
    value = page.tags.valueof(_ORIENTATION_TAG, default=1)
    return value if value in range(1, 9) else 1


def _read_tiff(stream: BinaryIO, max_pixels: int) -> _Raster:
    with tifffile.TiffFile(stream) as tiff:
        page = tiff.pages.first
        _check_size(page.imagelength, page.imagewidth, max_pixels)
        samples = _tiff_samples(page, file_size=tiff.filehandle.size)
        pages, profile, orientation = len(tiff.pages), page.iccprofile, _tiff_orientation(page)
    notes = [f"multi-page: the first of {pages} pages is used"] if pages > 1 else []
    bits = page.bitspersample
    white = 1 if samples.dtype.kind == "f" else 2**bits - 1
    if page.photometric == PHOTOMETRIC.PALETTE:
        # Palettes hold 16 bits an entry, by convention made from 8.
        palette = np.asarray(page.colormap) >> 8
        if palette.shape != (3, 2**bits):
            raise _RefusedError("has a damaged palette; export it again as a PNG file")
        return _Raster(palette.T[samples[..., 0]], 255, 8, orientation, profile, tuple(notes))
    if page.photometric == PHOTOMETRIC.SEPARATED:
        inks = np.rint(samples * (255 / white)).astype(np.uint8)
        cmyk = Image.frombytes("CMYK", inks.shape[1::-1], inks.tobytes())
        rgb, note = _cmyk_to_srgb(cmyk, profile)
        return _Raster(rgb, 255, 8, orientation, None, (*notes, note))
    if samples.dtype.kind == "f":
        notes.append("floating point: the values are used as they are, and written in 16 bits")
    if page.photometric == PHOTOMETRIC.MINISWHITE:
        samples[..., 0] = white - samples[..., 0]
    if samples.shape[-1] in (2, 4):
        samples, more = _interpret_extra_sample(samples, white, page.extrasamples)
        notes += more
    depth = 8 if bits <= 8 else 16
    return _Raster(samples, white, depth, orientation, profile, tuple(notes))


def _tiff_samples(page: tifffile.TiffPage, file_size: int) -> NDArray:
    """A page's samples (H, W, C), unsigned or floating point, in the file's colour space."""
    colours = _TIFF_COLOURS.get(PHOTOMETRIC(page.photometric))
    ycbcr = page.photometric == PHOTOMETRIC.YCBCR
    if colours is None or (ycbcr and page.compression != COMPRESSION.JPEG):
        space = PHOTOMETRIC(page.photometric).name
        raise _RefusedError(f"has the TIFF colour space {space}; convert it to RGB")
    plain = page.photometric in (PHOTOMETRIC.PALETTE, PHOTOMETRIC.SEPARATED)
    if page.imagedepth != 1 or not 0 <= page.samplesperpixel - colours <= (0 if plain else 1):
        raise _RefusedError(f"has {page.samplesperpixel} channels; flatten it to RGB or RGBA")
    kind = page.dtype.kind if page.dtype is not None else "?"
    if not ((kind in "bu" and page.bitspersample <= 16) or (kind == "f" and not plain)):
        raise _RefusedError(
            f"has samples of type {page.dtype or 'unknown'}; convert it to 8 or 16 bits a channel, "
            "or to floating point in [0, 1]"
        )
    # tifffile would fill missing parts with zeros.
    segments = list(zip(page.dataoffsets, page.databytecounts, strict=False))
    if len(segments) < math.prod(page.chunked) or any(
        size < 1 or start + size > file_size for start, size in segments
    ):
        raise _RefusedError("is truncated; copy or download it again")
    planes = page.asarray(squeeze=False)[:, 0]
    samples = np.moveaxis(planes, 0, -2).reshape(page.imagelength, page.imagewidth, -1)
    # A NaN makes the comparison false, too.
    if kind == "f" and not (samples.min() >= 0 and samples.max() <= 1):
        span = f"from {samples.min()} to {samples.max()}"
        raise _RefusedError(f"has floating-point values {span}; scale them to [0, 1]")
    return samples.astype(np.uint8) if kind == "b" else samples


def _interpret_extra_sample(
    samples: NDArray, white: float, meanings: tuple[int, ...]
) -> tuple[NDArray, list[str]]:
    """The samples with alpha unpremultiplied, or dropped where it is not alpha; and notes."""
    if EXTRASAMPLE.UNASSALPHA in meanings:
        return samples, []
    colour, alpha = samples[..., :-1].astype(np.float32), samples[..., -1:]
    if EXTRASAMPLE.ASSOCALPHA not in meanings:
        return samples[..., :-1], ["an extra channel that is not declared as alpha is left out"]
    unpremultiplied = np.minimum(colour * (white / np.maximum(alpha, 1e-6 * white)), white)
    return np.concatenate([unpremultiplied, alpha], -1, dtype=np.float32), []


def _cmyk_to_srgb(image: Image.Image, profile: bytes | None) -> tuple[NDArray, str]:
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


def _to_photo(raster: _Raster) -> Photo:
    samples = raster.samples
    if raster.orientation >= 5:
        samples = samples.swapaxes(0, 1)
    samples = np.flip(samples, _FLIPS.get(raster.orientation, ()))
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
    )


def _with_profile(png: bytes, icc_profile: bytes) -> bytes:
    """Insert an iCCP chunk behind the signature (8 bytes) and the IHDR chunk (25 bytes)."""
    body = b"iCCPICC profile\0\0" + zlib.compress(icc_profile, _COMPRESSION_LEVEL)
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    return png[:33] + chunk + png[33:]


def _replace_file(path: Path, data: bytes) -> None:
    """Make `data` the contents of `path` in one step, by way of a file beside it."""
    temporary = path.parent / f".{secrets.token_hex(8)}.tmp"
    try:
        with temporary.open("xb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
