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
from torch import Tensor

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


def _with_profile(png: bytes, icc_profile: bytes) -> bytes:
    """Insert an iCCP chunk after the signature (8 bytes) and the IHDR chunk (25 bytes)."""
    body = b"iCCPICC profile\0\0" + zlib.compress(icc_profile, _COMPRESSION_LEVEL)
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    return png[:33] + chunk + png[33:]


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
