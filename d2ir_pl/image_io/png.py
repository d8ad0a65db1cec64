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

from d2ir_pl.image_io.metadata import Metadata, png_chunks

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

    Raises:
        ValueError: if shapes or bit depth are wrong, or values are not finite.
        OSError: if the folder is missing, the disk is full, or writing is not permitted.
    """
    samples = integer_samples(pixels, alpha, bit_depth, grey)
    replace_file(Path(path), png_bytes(samples, icc_profile))


def png_bytes(
    samples: NDArray[np.uint8 | np.uint16],
    icc_profile: bytes | None = None,
    metadata: Metadata | None = None,
) -> bytes:
    """A PNG file, the same bytes for the same input.

    Args:
        samples: `(H, W, C)`; C is 1 for grey or 3 for RGB, and one more with alpha.
        icc_profile: colour space; left out if it is not for the number of channels.
        metadata: what else the file carries.
    """
    png = bytes(imagecodecs.png_encode(np.ascontiguousarray(samples), level=_COMPRESSION_LEVEL))
    chunks = b""
    if (profile := profile_that_fits(icc_profile, samples.shape[-1] < 3)) is not None:
        body = b"ICC profile\0\0" + zlib.compress(profile, _COMPRESSION_LEVEL)
        chunks += _chunk(b"iCCP", body)
    for kind, body in png_chunks(metadata or Metadata()):
        # A file that has a profile may not say that it is in sRGB.
        if not (kind == b"sRGB" and profile is not None):
            chunks += _chunk(kind, body)
    # After the signature (8 bytes) and the IHDR chunk (25 bytes).
    return png[:33] + chunks + png[33:]


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
    """Whether a file is one that a call to write has not finished, or never will."""
    return _DRAFT.fullmatch(path.name) is not None


def replace_file(path: Path, data: bytes) -> None:
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
