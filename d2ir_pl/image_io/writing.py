"""Writing photos as PNG, JPEG, WebP or TIFF files, with all that they carry."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from PIL import Image

from d2ir_pl.errors import require
from d2ir_pl.image_io.colour import profile_of
from d2ir_pl.image_io.metadata import Metadata, photoshop_of
from d2ir_pl.image_io.photo import Photo
from d2ir_pl.image_io.png import integer_samples, png_bytes, replace_file
from d2ir_pl.image_io.tiff_writing import tiff_bytes

Kind = Literal["png", "jpeg", "webp", "tiff"]
Format = Literal["same", "png", "jpeg", "webp", "tiff"]
"""Kinds of files that can be asked for."""

SUFFIXES: dict[Kind, str] = {"png": ".png", "jpeg": ".jpg", "webp": ".webp", "tiff": ".tif"}
"""The suffixes of the files that are written."""

_SAME: dict[str, Kind] = {"JPEG": "jpeg", "MPO": "jpeg", "WEBP": "webp", "TIFF": "tiff"}
_SAME |= {"RAW": "tiff", "HEIF": "jpeg", "AVIF": "jpeg"}
"""What a file is written as where it is to be the same, by the kind of `Stored`; else PNG."""
_LARGEST: dict[Kind, int] = {"jpeg": 65500, "webp": 16383}
"""Longest side in pixels that a format can have."""
_MARKER = 65533
"""Bytes that a segment of a JPEG file can hold."""
_NAMESPACE = len(b"http://ns.adobe.com/xap/1.0/\0")

QUALITY = {"jpeg": 95, "webp": 90}
"""Quality where neither the file nor the user says one."""
_LEAST_QUALITY = 90
_LUMA_AT_LEAST = 736
"""Sum of the luminance table of the JPEG standard at the least quality."""


@dataclass(frozen=True)
class Output:
    """How a photo is written.

    Attributes:
        format: `png`, `jpeg`, `webp`, `tiff`, or `same` for that of the file it was read from;
            HEIC and AVIF photos are then written as JPEG, camera raws as TIFF, and what has
            transparency or 16 bits, where that has no place for them, as PNG.
        quality: of JPEG and WebP files, 1 to 100. If None, the tables and the subsampling of the
            photo's own JPEG file, or quality 90 where they are coarser, and otherwise 95 for JPEG
            and 90 for WebP; a WebP file without loss is written without.
        strip_metadata: whether what tells of a place or a person is left out; camera, exposure,
            time and colours stay.
        mark_generated: whether the file says, as IPTC has it, that it was edited with a generative
            model.

    Raises:
        ValueError: if the format is unknown, or the quality is out of its range.
    """

    format: Format = "png"
    quality: int | None = None
    strip_metadata: bool = False
    mark_generated: bool = True

    def __post_init__(self) -> None:
        if self.format not in get_args(Format):
            known = ", ".join(get_args(Format))
            raise ValueError(f"format {self.format} is unknown: use one of {known}")
        if self.quality is not None:
            require("quality", self.quality, 1, 100)

    def kind(self, photo: Photo) -> Kind:
        """The kind of file that a photo is written as."""
        found: Kind = "png"
        if self.format != "same":
            found = self.format
        elif (found := _SAME.get(photo.stored.kind, "png")) != "tiff":
            lost = photo.bit_depth == 16 or (photo.alpha is not None and found == "jpeg")
            found = "png" if lost else found
        too_large = max(photo.size) > _LARGEST.get(found, 2**31)
        return "png" if too_large else found

    def suffix(self, photo: Photo) -> str:
        """The suffix of the file that a photo is written as."""
        return SUFFIXES[self.kind(photo)]


def write_photo(path: str | os.PathLike[str], photo: Photo, output: Output | None = None) -> None:
    """Write a photo: its bits, alpha, colour space and metadata, grey if it is.

    JPEG and WebP have 8 bits, and JPEG no transparency, in whose place it has white. An interrupted
    call leaves the old file as it was.

    Args:
        path: file to create or replace; its folder must exist. The suffix says nothing.
        photo: photo to write.
        output: how it is written; as PNG if None.

    Raises:
        ValueError: if its pixels are not finite.
        OSError: if the folder is missing, the disk is full, or writing is not permitted.
    """
    replace_file(Path(path), photo_bytes(photo, output or Output()))


def photo_bytes(photo: Photo, output: Output) -> bytes:
    """The file that `write_photo` writes.

    Args:
        photo: photo to write.
        output: how it is written.

    Raises:
        ValueError: if its pixels are not finite.
    """
    metadata = photo.metadata.sized(*photo.size)
    metadata = metadata.impersonal if output.strip_metadata else metadata
    metadata = metadata.generated if output.mark_generated else metadata
    encode: Callable[[Photo, Metadata, Output], bytes] = _ENCODERS[output.kind(photo)]
    return encode(photo, metadata, output)


def format_of(path: Path) -> Kind | None:
    """The format that the name of a file asks for; None if it is not written."""
    suffix = path.suffix.lower()
    others: dict[str, Kind] = {".jpeg": "jpeg", ".jpe": "jpeg", ".tiff": "tiff"}
    named = {**{suffix: kind for kind, suffix in SUFFIXES.items()}, **others}
    return named.get(suffix)


def _png(photo: Photo, metadata: Metadata, output: Output) -> bytes:
    del output
    samples = integer_samples(photo.pixels, photo.alpha, photo.bit_depth, photo.grey)
    return png_bytes(samples, photo.icc_profile, metadata)


def _tiff(photo: Photo, metadata: Metadata, output: Output) -> bytes:
    del output
    samples = integer_samples(photo.pixels, photo.alpha, photo.bit_depth, photo.grey)
    return tiff_bytes(samples, metadata, profile_of(photo))


def _jpeg(photo: Photo, metadata: Metadata, output: Output) -> bytes:
    pixels = photo.pixels
    if photo.alpha is not None:
        pixels = 1 + (pixels - 1) * photo.alpha
    image = _picture(integer_samples(pixels, None, 8, photo.grey))
    options = _carried(photo, metadata, _MARKER)
    if (comment := _comment(metadata)) and len(comment) <= _MARKER:
        options["comment"] = comment
    if metadata.iptc is not None and len(metadata.iptc) < _MARKER - 64:
        segment = b"Photoshop 3.0\0" + photoshop_of(metadata.iptc)
        options["extra"] = b"\xff\xed" + (len(segment) + 2).to_bytes(2, "big") + segment
    return _encoded(image, "JPEG", **options, **_jpeg_quality(photo, output.quality))


def _jpeg_quality(photo: Photo, quality: int | None) -> dict[str, Any]:
    """What Pillow is told of the quality of a JPEG file."""
    stored = photo.stored
    if quality is None and stored.tables:
        subsampling = stored.subsampling if stored.subsampling >= 0 else 0
        if sum(stored.tables[0]) > _LUMA_AT_LEAST:
            return {"quality": _LEAST_QUALITY, "subsampling": subsampling}
        tables = [list(table) for table in stored.tables]
        # A grey photo has one table, and may have got colours.
        tables = tables[:1] if photo.grey else (tables if len(tables) > 1 else 2 * tables)
        return {"qtables": tables, "subsampling": subsampling}
    quality = quality or QUALITY["jpeg"]
    return {"quality": quality, "subsampling": 0 if quality >= _LEAST_QUALITY else 2}


def _webp(photo: Photo, metadata: Metadata, output: Output) -> bytes:
    image = _picture(integer_samples(photo.pixels, photo.alpha, 8, photo.grey))
    image = image.convert("RGBA" if photo.alpha is not None else "RGB")
    stored = photo.stored
    lossless = output.quality is None and stored.kind == "WEBP" and stored.lossless
    options = _carried(photo, metadata, 2**31)
    if photo.grey:  # whose pixels have three channels here
        options.pop("icc_profile", None)
    quality = output.quality or QUALITY["webp"]
    return _encoded(image, "WEBP", lossless=lossless, quality=quality, method=4, **options)


_ENCODERS = {"png": _png, "jpeg": _jpeg, "webp": _webp, "tiff": _tiff}


def _carried(photo: Photo, metadata: Metadata, most: int) -> dict[str, Any]:
    """What Pillow is told of all that a photo carries, where a format has room for it."""
    options: dict[str, Any] = {}
    if (profile := profile_of(photo)) is not None:
        options["icc_profile"] = profile
    if metadata.exif is not None and len(metadata.exif) + 6 <= most:
        options["exif"] = b"Exif\0\0" + metadata.exif
    if metadata.xmp is not None and len(metadata.xmp) + _NAMESPACE <= most:
        options["xmp"] = metadata.xmp
    if metadata.dpi is not None:
        options["dpi"] = metadata.dpi
    return options


def _comment(metadata: Metadata) -> bytes:
    """All texts as one: the comment as it is, and others behind their keywords."""
    lines = [t if k == "Comment" else f"{k}: {t}" for k, t in metadata.texts]
    return "\n".join(lines).encode("utf-8", "replace")


def _picture(samples: Any) -> Image.Image:
    return Image.fromarray(samples[..., 0] if samples.shape[-1] == 1 else samples)


def _encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()
