"""Photos from and to images of Pillow, opened from a file or made in memory."""

from __future__ import annotations

import warnings
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageCms
from PIL.JpegImagePlugin import JpegImageFile

from d2ir_pl.errors import ImageError
from d2ir_pl.image_io.jpeg import FileTables, file_tables
from d2ir_pl.image_io.photo import (
    FLIPS,
    ORIENTATION_TAG,
    Photo,
    Raster,
    RefusedError,
    check_size,
    to_photo,
)
from d2ir_pl.image_io.png import integer_samples, profile_that_fits

_SIXTEEN_BITS = ("I;16", "I;16L", "I;16B", "I;16N")
_CODECS = {"WEBP": "WebP", "AVIF": "AVIF"}
"""Lossy formats whose tables are not read, by Pillow's names."""
_OF_STORED_PIXELS = (ExifTags.Base.ExifImageWidth, ExifTags.Base.ExifImageHeight)


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
            tables = _tables(image)
            image.load()
            profile = image.info.get("icc_profile") or None
            raster = pillow_raster(image, profile, orientation(image), tables)
    except RefusedError as refusal:
        raise ImageError(f"a PIL image {refusal}") from None
    except Exception as error:  # decoders raise anything at all on hostile bytes
        raise ImageError(
            f"a PIL image of mode {image.mode} cannot be read ({error!r:.200}): convert it to RGB"
        ) from error
    return to_photo(raster)


def to_pillow(photo: Photo) -> Image.Image:
    """A photo as an image of Pillow, with its colour space and EXIF data in `info`.

    The mode is I;16 for a grey photo of 16 bits without transparency, and otherwise L, LA, RGB or
    RGBA: Pillow has no colours of 16 bits.
    """
    deep = photo.bit_depth == 16 and photo.grey and photo.alpha is None
    samples = integer_samples(photo.pixels, photo.alpha, 16 if deep else 8, photo.grey)
    image = Image.fromarray(samples[..., 0] if samples.shape[-1] == 1 else samples)
    if (profile := profile_that_fits(photo.icc_profile, photo.grey)) is not None:
        image.info["icc_profile"] = profile
    if photo.exif is not None:
        image.info["exif"] = b"Exif\0\0" + photo.exif
    return image


def pillow_raster(
    image: Image.Image, profile: bytes | None, rotation: int, tables: FileTables | None
) -> Raster:
    """The samples of an image of Pillow that is decoded, whatever its mode.

    Args:
        image: the image.
        profile: ICC profile of its colours; None if there is none.
        rotation: EXIF orientation, 1 to 8.
        tables: quantisation tables of a JPEG file; None for other files.

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
    exif, codec = kept_exif(image), _CODECS.get(image.format or "", "")
    return Raster(samples, white, bit_depth, rotation, profile, tuple(notes), tables, exif, codec)


def orientation(image: Image.Image) -> int:
    """The EXIF orientation of an image, 1 to 8."""
    try:
        # This is the method of the base class, because that of PNG images decodes the pixels.
        value = Image.Image.getexif(image).get(ORIENTATION_TAG, 1)
    except Exception:  # damaged EXIF data are no reason to refuse the pixels
        return 1
    return value if value in FLIPS or value == 5 else 1


def kept_exif(image: Image.Image) -> bytes | None:
    """The EXIF data of an image that hold once it is upright; see `Photo.exif`."""
    data = image.info.get("exif")
    if not data:
        return None
    try:
        exif = Image.Exif()
        exif.load(data)
        exif.pop(ORIENTATION_TAG, None)
        if ExifTags.IFD.Exif in exif:
            details = exif.get_ifd(ExifTags.IFD.Exif)
            for tag in _OF_STORED_PIXELS:
                details.pop(tag, None)
        # What is written is what was looked at: the thumbnail in the second directory was not.
        return exif.tobytes().removeprefix(b"Exif\0\0") if len(exif) else None
    except Exception:  # damaged EXIF data are left out
        return None


def _tables(image: Image.Image) -> FileTables | None:
    """The tables of the JPEG file whose pixels an image still has; None for other images.

    `thumbnail` and `draft` change the pixels of an image that stays a JPEG file by its class. Where
    the file is at hand, its size tells; else only an image that is not decoded yet is believed.
    """
    if not isinstance(image, JpegImageFile):
        return None
    file = Path(str(image.filename)) if image.filename else None
    if file is not None and file.is_file():
        with Image.open(file) as stored:
            unchanged = isinstance(stored, JpegImageFile) and stored.size == image.size
    else:
        unchanged = bool(image.tile) and not image.decoderconfig
    return file_tables(image, orientation(image)) if unchanged else None


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
