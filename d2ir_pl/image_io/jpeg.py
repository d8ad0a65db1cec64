"""The tables with which a JPEG file was compressed, and the colours that they belong to."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from PIL.JpegImagePlugin import JpegImageFile
from torch import Tensor


@dataclass(frozen=True)
class FileTables:
    """How a JPEG file stores its photo.

    Attributes:
        tables: `(2, 8, 8)` quantisation steps of luminance and chrominances in grey levels.
        factors: vertical and horizontal subsampling of the chrominances.
        orientation: EXIF orientation, 1 to 8: how the stored pixels are turned to be upright.
    """

    tables: Tensor
    factors: tuple[int, int]
    orientation: int


def compression(image: JpegImageFile, orientation: int) -> tuple[FileTables | None, str]:
    """How a file was compressed: its tables, or a name for it where they do not tell its rounding.

    Args:
        image: the file as Pillow has opened it.
        orientation: EXIF orientation of the pixels.

    Returns:
        The tables of grey or YCbCr pixels and an empty name; or None and `RGB JPEG`, `CMYK JPEG`
        or `JPEG`.
    """
    rgb = _is_rgb(image)
    tables = None if rgb or image.mode not in ("L", "RGB") else _tables(image, orientation)
    if tables is not None:
        return tables, ""
    return None, "RGB JPEG" if rgb else "CMYK JPEG" if image.mode == "CMYK" else "JPEG"


def _tables(image: JpegImageFile, orientation: int) -> FileTables | None:
    """The tables of a file of grey or YCbCr pixels; None if they are damaged or unusual."""
    # A component is (name, horizontal factor, vertical factor, number of its table).
    luma, chroma = image.layer[0], image.layer[-1]
    try:
        steps = [list(image.quantization[component[3]]) for component in (luma, chroma)]
        tables = torch.tensor(steps, dtype=torch.float32).view(2, 8, 8)
    except (LookupError, ValueError, RuntimeError):  # the tables are missing or too short
        return None
    factors = luma[2] // chroma[2], luma[1] // chroma[1]
    if not {*factors} <= {1, 2} or float(tables.min()) < 1:
        return None
    return FileTables(tables, factors, orientation)


def _is_rgb(image: JpegImageFile) -> bool:
    """Whether a file of three components holds red, green and blue, as libjpeg decides it.

    A JFIF marker means YCbCr, an Adobe marker says it, and without both the names of the components
    do.
    """
    if len(image.layer) != 3 or "jfif" in image.info:
        return False
    if "adobe" in image.info:
        return bool(image.info.get("adobe_transform", 1) == 0)
    return bytes(component[0] for component in image.layer) == b"RGB"
