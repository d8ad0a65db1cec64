"""The sizes of photos from the first bytes of their files, without any library for images.

It is for a guess within a moment: what is unusual or broken has no size here, and is looked at
again by what reads it.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".png", ".heic", ".heif", ".hif", ".avif"})
"""Extensions of the files whose sizes are read."""

HEAD = 2**16
"""Bytes of a file in which a size is looked for."""

MOST_SEGMENTS = 1000
"""Most segments of a JPEG file before its size."""

PIXELS_A_BYTE = 100
"""Pixels that a byte of a file holds at most: a JPEG file of one colour holds 64."""

_ISPE = re.compile(rb"ispe\0\0\0\0(.{4})(.{4})", re.DOTALL)


def pixels_at_most(paths: Sequence[Path]) -> int:
    """How many pixels photos can have together by the sizes of their files, which stay closed."""
    return PIXELS_A_BYTE * sum(map(file_size, paths))


def file_size(path: Path) -> int:
    """The bytes of a file; 0 where that cannot be told."""
    with contextlib.suppress(OSError):
        return path.stat().st_size
    return 0


def pixels_within(paths: Sequence[Path], seconds: float) -> int:
    """About how many pixels photos have together; those that cannot be told count as none.

    Args:
        paths: their files.
        seconds: time after which the mean of those that were read stands for the others.
    """
    begun, total = time.monotonic(), 0
    for number, path in enumerate(paths):
        if time.monotonic() - begun > seconds:
            return total * len(paths) // max(1, number)
        total += _pixels(path)
    return total


def _pixels(path: Path) -> int:
    """The number of pixels of a photo, or 0."""
    if path.suffix.lower() not in SUFFIXES or not os.path.isfile(path):
        return 0
    try:
        with path.open("rb") as stream:
            head = stream.read(HEAD)
            if head.startswith(b"\xff\xd8"):
                return _of_jpeg(stream)
    except OSError:
        return 0
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return int.from_bytes(head[16:20], "big") * int.from_bytes(head[20:24], "big")
    # Of an HEIF file, the photo is what is largest in it; tiles and thumbnails are smaller.
    sizes = (
        int.from_bytes(width, "big") * int.from_bytes(height, "big")
        for width, height in _ISPE.findall(head)
    )
    return max(sizes, default=0) if head[4:8] == b"ftyp" else 0


def _of_jpeg(stream: BinaryIO) -> int:
    """The number of pixels that a JPEG file says it has."""
    at = 2
    for _ in range(MOST_SEGMENTS):
        stream.seek(at)
        segment = stream.read(9)
        if len(segment) < 9 or segment[0] != 0xFF:
            return 0
        kind = segment[1]
        if 0xC0 <= kind <= 0xCF and kind not in (0xC4, 0xC8, 0xCC):
            return int.from_bytes(segment[5:7], "big") * int.from_bytes(segment[7:9], "big")
        if kind == 0xFF:  # it fills up to a marker
            at += 1
            continue
        at += 2 + int.from_bytes(segment[2:4], "big")
    return 0
