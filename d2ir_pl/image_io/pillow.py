"""Photos from and to images of Pillow, opened from a file or made in memory."""

from __future__ import annotations

import warnings
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms
from PIL.JpegImagePlugin import JpegImageFile, get_sampling

from d2ir_pl.errors import ImageError
from d2ir_pl.image_io.exif import ORIENTATION_TAG
from d2ir_pl.image_io.jpeg import FileTables, compression
from d2ir_pl.image_io.metadata import Metadata, photoshop_of
from d2ir_pl.image_io.photo import (
    FLIPS,
    Photo,
    Raster,
    RefusedError,
    Stored,
    check_size,
    to_photo,
)
from d2ir_pl.image_io.png import integer_samples, profile_that_fits

_SIXTEEN_BITS = ("I;16", "I;16L", "I;16B", "I;16N")
_CODECS = {"WEBP": "WebP", "AVIF": "AVIF"}
"""Lossy formats whose tables are not read, by Pillow's names."""
_LOSSLESS = ("PNG", "TIFF", "BMP", "DIB", "GIF", "PPM")


def from_pillow(image: Image.Image) -> Photo:
    """An image of Pillow as `read_image` returns it from a file: upright, in RGB or grey.

    Its `info` counts as well: `exif` (whose orientation turns it upright) and `icc_profile`. An
    image that still holds the pixels of a JPEG file has the tables of that file. Pillow itself
    reduces colours of 16 bits to 8, which `read_image` does not.

    Args:
        image: image of any mode but I, which has no white.

    Raises:
        ImageError: if its file is damaged, or its mode or its values are of an unsupported kind.
    """
    try:
        check_size(image.height, image.width, max_pixels=None)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tables, codec = _compression(image)
            image.load()
            profile = image.info.get("icc_profile") or None
            raster = pillow_raster(image, profile, orientation(image), tables, codec)
    except RefusedError as refusal:
        raise ImageError(f"a PIL image {refusal}") from None
    except Exception as error:  # decoders raise anything at all on hostile bytes
        raise ImageError(
            f"a PIL image of mode {image.mode} cannot be read ({error!r:.200}): convert it to RGB"
        ) from error
    return to_photo(raster)


def to_pillow(photo: Photo) -> Image.Image:
    """A photo as an image of Pillow, with its colour space and all that it carries in `info`.

    `image.save` writes `icc_profile`, `exif` and `xmp` into files of most kinds, and `dpi` and
    `comment` where it is told to.

    The mode is I;16 for a grey photo of 16 bits without transparency, and otherwise L, LA, RGB or
    RGBA: Pillow has no colours of 16 bits.
    """
    deep = photo.bit_depth == 16 and photo.grey and photo.alpha is None
    samples = integer_samples(photo.pixels, photo.alpha, 16 if deep else 8, photo.grey)
    image = Image.fromarray(samples[..., 0] if samples.shape[-1] == 1 else samples)
    if (profile := profile_that_fits(photo.icc_profile, photo.grey)) is not None:
        image.info["icc_profile"] = profile
    metadata = photo.metadata.sized(*photo.size)
    if metadata.exif is not None:
        image.info["exif"] = b"Exif\0\0" + metadata.exif
    if metadata.xmp is not None:
        image.info["xmp"] = metadata.xmp
    if metadata.iptc is not None:
        image.info["photoshop"] = photoshop_of(metadata.iptc)
    if metadata.dpi is not None:
        image.info["dpi"] = metadata.dpi
    image.info.update(metadata.texts)
    return image


def pillow_raster(
    image: Image.Image,
    profile: bytes | None,
    rotation: int,
    tables: FileTables | None,
    codec: str = "",
) -> Raster:
    """The samples of an image of Pillow that is decoded, whatever its mode.

    Args:
        image: the image.
        profile: ICC profile of its colours; None if there is none.
        rotation: EXIF orientation, 1 to 8.
        tables: quantisation tables of a JPEG file; None for other files.
        codec: what a JPEG file without such tables is called; other files have their format's name.

    Raises:
        RefusedError: if its mode or its values are of an unsupported kind.
    """
    white, bit_depth, notes = 255.0, 8, []
    if image.mode == "CMYK":
        samples, note = cmyk_to_srgb(image, profile)
        profile = None
        notes.append(note)
    elif image.mode in _SIXTEEN_BITS:
        samples, white, bit_depth = np.asarray(image).astype(np.uint16), 65535.0, 16
    elif image.mode == "F":
        samples, white, bit_depth = np.asarray(image), 1.0, 16
        if not (samples.min() >= 0 and samples.max() <= 1):  # a NaN makes this false, too
            span = f"from {samples.min():g} to {samples.max():g}"
            raise RefusedError(f"of mode F has values {span}; scale them to [0, 1]")
    elif image.mode == "I":
        raise RefusedError("of mode I has no value of white; convert it to I;16 or L")
    else:
        grey = image.mode in ("1", "L", "LA", "La")
        mode = ("L" if grey else "RGB") + ("A" if image.has_transparency_data else "")
        samples = np.asarray(image.convert(mode))
    samples = samples.reshape(image.height, image.width, -1)
    return Raster(
        samples,
        white,
        bit_depth,
        rotation,
        profile,
        tuple(notes),
        tables,
        Metadata.of_pillow(image),
        stored(image),
        codec or _CODECS.get(image.format or "", ""),
    )


def stored(image: Image.Image) -> Stored:
    """How the file of an image stores it; nothing is known of one that is made in memory."""
    kind = image.format or ""
    if not isinstance(image, JpegImageFile):
        return Stored(kind, lossless=kind in _LOSSLESS)
    try:
        tables = tuple(tuple(table) for _, table in sorted(image.quantization.items()))
        usable = bool(tables) and all(len(t) == 64 and min(t) > 0 for t in tables)
        usable = usable and image.mode in ("L", "RGB")
        return Stored(kind, tables[:2] if usable else (), get_sampling(image), lossless=False)
    except Exception:  # whatever the file says of them, its pixels are read
        return Stored(kind, lossless=False)


def orientation(image: Image.Image) -> int:
    """The EXIF orientation of an image, 1 to 8."""
    try:
        # This is the method of the base class, because that of PNG images decodes the pixels.
        value = Image.Image.getexif(image).get(ORIENTATION_TAG, 1)
    except Exception:  # damaged EXIF data are no reason to refuse the pixels
        return 1
    return value if value in FLIPS or value == 5 else 1


def _compression(image: Image.Image) -> tuple[FileTables | None, str]:
    """`compression` of the JPEG file whose pixels an image still has; of other images, nothing.

    `thumbnail` and `draft` change the pixels of an image that stays a JPEG file by its class. Where
    the file is at hand, its size tells; else only an image that is not decoded yet is believed.
    """
    if not isinstance(image, JpegImageFile):
        return None, ""
    file = Path(str(image.filename)) if image.filename else None
    if file is not None and file.is_file():
        with Image.open(file) as stored:
            unchanged = isinstance(stored, JpegImageFile) and stored.size == image.size
    else:
        unchanged = bool(image.tile) and not image.decoderconfig
    return compression(image, orientation(image)) if unchanged else (None, "")


def cmyk_to_srgb(image: Image.Image, profile: bytes | None) -> tuple[NDArray[Any], str]:
    """Convert a CMYK image to sRGB.

    Args:
        image: the CMYK image.
        profile: ICC profile of its colours; None if there is none.

    Returns:
        The values `(H, W, 3)` uint8, and a note for the user on how they were obtained.
    """
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
