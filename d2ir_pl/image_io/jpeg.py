"""The tables with which a JPEG file was compressed."""

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


def file_tables(image: JpegImageFile, orientation: int) -> FileTables | None:
    """How a file was compressed; None if its pixels are not grey or YCbCr.

    Args:
        image: the file as Pillow has opened it.
        orientation: EXIF orientation of the pixels.
    """
    if image.mode not in ("L", "RGB") or image.info.get("adobe_transform") == 0:
        return None
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
