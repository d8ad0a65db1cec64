"""Reading Netpbm files that Pillow reduces or refuses: 16 bits a channel, PAM and PFM.

Source: the manual pages of Netpbm, pgm(5), ppm(5), pam(5) and pfm(5).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from d2ir_pl.image_io.photo import Raster, RefusedError, Stored, check_size

_GAP = rb"(?:\s|#[^\n]*\n)+"
_ABOVE_255 = rb"0*(?:\d{4,}|2[6-9]\d|25[6-9]|[3-9]\d\d)"
PNM = re.compile(
    rb"P[2356]" + 2 * (_GAP + rb"\d+") + _GAP + _ABOVE_255 + rb"|P7\n|P[Ff]\s",
)
"""First bytes of such a file."""
_WORD = re.compile(_GAP + rb"([-+.\deE]+)")
_HEADER = 4096


@dataclass(frozen=True)
class _Header:
    """What a file says before its samples; `white` is below 0 for floats in little endian."""

    kind: bytes
    width: int
    height: int
    channels: int
    white: float
    end: int


def pnm_size(stream: BinaryIO) -> tuple[int, int, int]:
    """The height and width, and the orientation 1, from the header only."""
    header = _header(stream.read(_HEADER))
    return header.height, header.width, 1


def read_pnm(stream: BinaryIO, max_pixels: int) -> Raster:
    """Read such a file.

    Args:
        stream: the file.
        max_pixels: largest number of pixels, checked before decoding.

    Raises:
        RefusedError: if it is too large, truncated, or has values outside [0, white].
    """
    data = stream.read()
    header = _header(data[:_HEADER])
    check_size(header.height, header.width, max_pixels)
    shape = header.height, header.width, header.channels
    count = header.height * header.width * header.channels
    floats = header.kind in (b"PF", b"Pf")
    samples: NDArray[Any]
    if header.kind in (b"P2", b"P3"):
        words = data[header.end :].split(maxsplit=count)[:count]
        samples = np.array([int(word) for word in words], np.uint32)
    elif floats:
        samples = _values(data, header, count, "<f4" if header.white < 0 else ">f4")
    else:
        samples = _values(data, header, count, ">u2" if header.white > 255 else "u1")
    if samples.size < count:
        raise RefusedError("is truncated; copy or download it again")
    samples = samples.reshape(shape)
    white = 1.0 if floats else header.white
    low, high = float(samples.min()), float(samples.max())
    if not (low >= 0 and high <= white):  # a NaN makes this false, too
        raise RefusedError(f"has values from {low:g} to {high:g}; scale them to [0, {white:g}]")
    if floats:
        samples = samples[::-1]
    depth = 8 if white <= 255 and not floats else 16
    return Raster(samples, white, depth, 1, None, (), stored=Stored("PPM"))


def _values(data: bytes, header: _Header, count: int, kind: str) -> NDArray[Any]:
    """The samples that are stored in binary, fewer where the file is cut."""
    size = np.dtype(kind).itemsize
    body = data[header.end : header.end + count * size]
    return np.frombuffer(body[: len(body) // size * size], kind)


def _header(head: bytes) -> _Header:
    """What the first bytes say.

    Raises:
        RefusedError: if they are damaged.
    """
    try:
        return _arbitrary(head) if head[:2] == b"P7" else _plain(head)
    except (LookupError, ValueError):
        raise RefusedError("has a damaged header; export it again as a PNG file") from None


def _plain(head: bytes) -> _Header:
    kind, place, numbers = head[:2], 2, []
    for _ in range(3):
        word = _WORD.match(head, place)
        if word is None:
            raise ValueError("a number is missing")
        numbers.append(float(word[1]))
        place = word.end()
    channels = 3 if kind in (b"P3", b"P6", b"PF") else 1
    width, height, white = numbers
    if kind not in (b"PF", b"Pf") and not 1 <= white <= 65535:
        raise ValueError("no white")
    return _Header(kind, int(width), int(height), channels, white, place + 1)


def _arbitrary(head: bytes) -> _Header:
    end = head.index(b"ENDHDR\n") + len(b"ENDHDR\n")
    lines = [line.split() for line in head[:end].split(b"\n") if line and line[:1] != b"#"]
    values = {line[0]: line[1] for line in lines if len(line) > 1}
    width, height, depth, white = (
        int(values[name]) for name in (b"WIDTH", b"HEIGHT", b"DEPTH", b"MAXVAL")
    )
    if not (1 <= depth <= 4 and 1 <= white <= 65535):
        raise ValueError("no photo")
    return _Header(b"P7", width, height, depth, float(white), end)
