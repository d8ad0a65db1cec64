"""The pictures of the report: files of an output folder, which are read without PyTorch."""

from __future__ import annotations

import base64
import io
import math
from pathlib import Path
from typing import Any, BinaryIO, Literal

from PIL import Image, ImageFile, JpegImagePlugin, PngImagePlugin, WebPImagePlugin

from d2ir_pl.schema import MAX_PIXELS

# Image.open would enforce Pillow's limit of pixels, which is below that of what is restored.
_OPENERS: dict[str, type[ImageFile.ImageFile]] = {
    ".png": PngImagePlugin.PngImageFile,
    ".jpg": JpegImagePlugin.JpegImageFile,
    ".webp": WebPImagePlugin.WebPImageFile,
}

QUALITY = 88
"""Of the JPEG files in the page."""

_PNG_DEPTH = 24
"""Where the header of a PNG file has the bits a channel (PNG specification, section 11.2.2)."""


def read_picture(path: Path) -> Image.Image | None:
    """A picture that the program has written, in RGB without alpha.

    Samples of 16 bits are rounded to the nearest of 8 bits.

    Returns:
        None if there is no such file, or it is damaged.
    """
    try:
        if not path.is_file():  # a named pipe would block for ever
            return None
        with path.open("rb") as stream:
            if path.suffix == ".tif":
                return _from_tiff(stream)
            image = _OPENERS[path.suffix](stream)
            if math.prod(image.size) > MAX_PIXELS:
                return None
            image.load()
            return _rounded(stream) if _has_sixteen_bits(stream, path) else image.convert("RGB")
    except Exception:  # Pillow raises anything at all where a file is damaged
        return None


def reduced(image: Image.Image | None, side: int) -> bytes:
    """A picture as a JPEG file of so many pixels along its longest side, at most; empty if None."""
    if image is None:
        return b""
    stream = io.BytesIO()
    _within(image, side).save(stream, "jpeg", quality=QUALITY)
    return stream.getvalue()


def opened(file: bytes) -> Image.Image | None:
    """The picture that `reduced` has made a file of."""
    return Image.open(io.BytesIO(file)) if file else None


def address(file: bytes, kind: str = "jpeg") -> str:
    """A file as the address of an image that contains it; empty if the file is."""
    return f"data:image/{kind};base64,{base64.b64encode(file).decode()}" if file else ""


def _within(image: Image.Image, side: int) -> Image.Image:
    image = image.copy()
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    return image


def data_uri(image: Image.Image | None, side: int, kind: Literal["jpeg", "png"] = "jpeg") -> str:
    """A picture as the address of an image that contains it; empty if there is none.

    Args:
        image: the picture.
        side: longest side in pixels; a larger picture is reduced to it.
        kind: format in which the picture is stored.
    """
    if image is None:
        return ""
    stream = io.BytesIO()
    _within(image, side).save(stream, kind, **({"quality": QUALITY} if kind == "jpeg" else {}))
    return address(stream.getvalue(), kind)


def _from_tiff(stream: BinaryIO) -> Image.Image | None:
    """A TIFF file as a picture."""
    # Imported here because most folders have no such picture.
    import tifffile

    with tifffile.TiffFile(stream) as tiff:
        page = tiff.pages.first
        if page.imagelength * page.imagewidth > MAX_PIXELS:
            return None
        return _in_eight_bits(page.asarray())


def _has_sixteen_bits(stream: BinaryIO, path: Path) -> bool:
    stream.seek(_PNG_DEPTH)
    return path.suffix == ".png" and stream.read(1) == b"\x10"


def _rounded(stream: BinaryIO) -> Image.Image:
    """A PNG file of 16 bits a channel in 8 bits; Pillow would round them down."""
    # Imported here because most folders have no such picture, and these take a tenth of a second.
    import imagecodecs

    stream.seek(0)
    return _in_eight_bits(imagecodecs.png_decode(stream.read()))


def _in_eight_bits(samples: Any) -> Image.Image:
    """Samples of 8 or 16 bits as a picture."""
    import numpy as np

    if samples.dtype == np.uint16:
        samples = ((samples.astype(np.uint32) + 128) // 257).astype(np.uint8)
    if samples.ndim == 3:  # with three colours, alpha, or both
        samples = samples[..., :3] if samples.shape[2] >= 3 else samples[..., 0]
    return Image.fromarray(samples).convert("RGB")
