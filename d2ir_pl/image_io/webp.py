"""How strongly a WebP file was quantised, from the header of its key frame.

Source: RFC 6386 (VP8 data format), sections 7.3 (boolean decoder), 9.1 to 9.6 and 14.1.
"""

from __future__ import annotations

import math
import os
import struct
from dataclasses import replace
from typing import BinaryIO

from d2ir_pl.image_io.photo import Raster

AC_STEPS = (
    *range(4, 59),
    *range(60, 117, 2),
    *range(119, 174, 3),
    *range(177, 230, 4),
    *(234, 239, 245, 249, 254, 259, 264, 269, 274, 279, 284),
)
"""Steps of the coefficients of a transform that is twice an orthonormal one, by their index."""
_START = b"\x9d\x01\x2a"
_HEAD, _READ = 10, 512
"""Bytes before the coded part of a frame's header, and bytes that are read of a frame."""
_MOST_CHUNKS = 1000
"""Chunks that are passed over before the pixels, at most."""


def with_step(raster: Raster, stream: BinaryIO) -> Raster:
    """What Pillow has read of a WebP file, with what its file says of its loss.

    Args:
        raster: what Pillow has read.
        stream: the file.
    """
    kind, frame = _frame(stream)
    if kind == b"VP8L":
        return replace(raster, codec="", stored=replace(raster.stored, lossless=True))
    return replace(raster, step=step_of(frame) if kind == b"VP8 " else None)


def step_of(frame: bytes) -> float | None:
    """The step with which a lossy frame rounds luminance; None where it does not tell.

    Args:
        frame: its first bytes.

    Returns:
        The RMS step of its segments in grey levels of an orthonormal transform.
    """
    try:
        return _step(frame)
    except ValueError:
        return None


def _frame(stream: BinaryIO) -> tuple[bytes, bytes]:
    """The kind of the chunk with the pixels of the first frame, and its first bytes."""
    stream.seek(12)
    for _ in range(_MOST_CHUNKS):
        start = stream.read(8)
        if len(start) < 8:
            break
        kind, length = struct.unpack("<4sI", start)
        if kind in (b"VP8L", b"VP8 "):
            return kind, stream.read(min(length, _READ))
        if kind == b"ANMF":  # of an animation: the chunks of a frame follow its position
            length = 16
        stream.seek(length + length % 2, os.SEEK_CUR)
    return b"", b""


class _Booleans:
    """Reads numbers of which each bit was coded as equally probable."""

    def __init__(self, data: bytes) -> None:
        self._bytes = iter(data)
        self._range, self._shifted = 255, 0
        self._value = 256 * self._next() + self._next()

    def _next(self) -> int:
        for value in self._bytes:
            return value
        raise ValueError("is truncated")

    def bit(self) -> bool:
        """The next bit."""
        split = 1 + ((self._range - 1) * 128 >> 8)
        found = self._value >= split << 8
        self._range = self._range - split if found else split
        self._value -= split << 8 if found else 0
        while self._range < 128:
            self._range *= 2
            self._value *= 2
            self._shifted += 1
            if self._shifted % 8 == 0:
                self._value += self._next()
        return found

    def number(self, count: int) -> int:
        """The next number of so many bits."""
        value = 0
        for _ in range(count):
            value = 2 * value + self.bit()
        return value

    def signed(self, count: int) -> int:
        """The next number of so many bits with its sign, if it is there; 0 otherwise."""
        if not self.bit():
            return 0
        value = self.number(count)
        return -value if self.bit() else value


def _step(frame: bytes) -> float:
    """The step of a key frame.

    Raises:
        ValueError: if it is none, or truncated.
    """
    if len(frame) < _HEAD or frame[0] & 1 or frame[3:6] != _START:
        raise ValueError("is no key frame")
    coded = _Booleans(frame[_HEAD:])
    coded.number(2)  # colour space and clamping
    indices, shares, absolute = [0], [1.0], False
    if coded.bit():
        indices, shares, absolute = _segments(coded)
    coded.number(1 + 6 + 3)  # the loop filter
    if coded.bit() and coded.bit():
        for _ in range(8):
            coded.signed(6)
    coded.number(2)  # partitions
    base = 0 if absolute else coded.number(7)
    steps = [AC_STEPS[min(127, max(0, base + index))] / 2 for index in indices]
    return math.sqrt(sum(p * s**2 for p, s in zip(shares, steps, strict=True)))


def _segments(coded: _Booleans) -> tuple[list[int], list[float], bool]:
    """Indices of the steps of four segments, their shares, and whether the indices are absolute."""
    mapped, valued = coded.bit(), coded.bit()
    absolute, indices = False, [0] * 4
    if valued:
        absolute = coded.bit()
        indices = [coded.signed(7) for _ in range(4)]
        for _ in range(4):
            coded.signed(6)
    if not mapped:
        return indices[:1], [1.0], absolute
    first, left, right = ((coded.number(8) if coded.bit() else 255) / 256 for _ in range(3))
    shares = [first * left, first * (1 - left), (1 - first) * right, (1 - first) * (1 - right)]
    return indices, shares, absolute
