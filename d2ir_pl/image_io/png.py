"""Writing tensors as PNG files."""

from __future__ import annotations

import os
import re
import secrets
import struct
import zlib
from pathlib import Path

import imagecodecs
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from d2ir_pl.image_io.photo import Photo

_COMPRESSION_LEVEL = 6
_DRAFT = re.compile(r"\.[0-9a-f]{16}\.tmp")


def write_png(
    path: str | os.PathLike[str],
    pixels: Tensor,
    *,
    alpha: Tensor | None = None,
    bit_depth: int = 8,
    grey: bool = False,
    icc_profile: bytes | None = None,
    exif: bytes | None = None,
) -> None:
    """Write a PNG file, with the same bytes for the same input.

    An interrupted call leaves the old file as it was.

    Args:
        path: file to create or replace; its folder must exist.
        pixels: `(3, H, W)`, clamped to [-1, 1] and rounded to the nearest of the file's values.
        alpha: `(1, H, W)`, clamped to [0, 1]; None writes no alpha channel.
        bit_depth: number of bits a channel, 8 or 16.
        grey: whether to write one luminance channel, the mean of the three.
        icc_profile: colour space of `pixels`; a profile that is not for the number of channels is
            left out, as PNG requires.
        exif: EXIF data from their byte order on, without "Exif" before it.

    Raises:
        ValueError: if shapes or bit depth are wrong, or values are not finite.
        OSError: if the folder is missing, the disk is full, or writing is not permitted.
    """
    samples = integer_samples(pixels, alpha, bit_depth, grey)
    png = bytes(imagecodecs.png_encode(np.ascontiguousarray(samples), level=_COMPRESSION_LEVEL))
    chunks = b""
    if (profile := profile_that_fits(icc_profile, grey)) is not None:
        body = b"ICC profile\0\0" + zlib.compress(profile, _COMPRESSION_LEVEL)
        chunks += _chunk(b"iCCP", body)
    if exif is not None:
        chunks += _chunk(b"eXIf", exif)
    # After the signature (8 bytes) and the IHDR chunk (25 bytes).
    _replace_file(Path(path), png[:33] + chunks + png[33:])


def write_photo(path: str | os.PathLike[str], photo: Photo) -> None:
    """Write a photo as a PNG file: its bits, alpha, colour space and EXIF data, grey if it is.

    Raises:
        ValueError: if its pixels are not finite.
        OSError: if the folder is missing, the disk is full, or writing is not permitted.
    """
    write_png(
        path,
        photo.pixels,
        alpha=photo.alpha,
        bit_depth=photo.bit_depth,
        grey=photo.grey,
        icc_profile=photo.icc_profile,
        exif=photo.exif,
    )


def integer_samples(
    pixels: Tensor, alpha: Tensor | None, bit_depth: int, grey: bool
) -> NDArray[np.uint8 | np.uint16]:
    """The values `(H, W, C)` that a file holds, with C from 1 to 4, as uint8 or uint16.

    Args:
        pixels: `(3, H, W)`, clamped to [-1, 1] and rounded to the nearest of the file's values.
        alpha: `(1, H, W)`, clamped to [0, 1]; None for no alpha.
        bit_depth: number of bits a channel, 8 or 16.
        grey: whether one channel, the mean of the three, is made of `pixels`.

    Raises:
        ValueError: if shapes or bit depth are wrong, or values are not finite.
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
    whole: NDArray[np.uint8 | np.uint16] = (
        (unit * (2**bit_depth - 1)).round().permute(1, 2, 0).numpy().astype(dtype)
    )
    return whole


def profile_that_fits(icc_profile: bytes | None, grey: bool) -> bytes | None:
    """A profile if it is for the number of channels of an image, else None."""
    fits = icc_profile is not None and icc_profile[16:20] == (b"GRAY" if grey else b"RGB ")
    return icc_profile if fits else None


def _chunk(kind: bytes, body: bytes) -> bytes:
    """A chunk of a PNG file."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def is_draft(path: Path) -> bool:
    """Whether a file is one that `write_png` has not finished, or never will."""
    return _DRAFT.fullmatch(path.name) is not None


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
