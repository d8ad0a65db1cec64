"""How strongly a HEIC file was quantised: the boxes that lead to its main picture.

Source: ISO/IEC 14496-12, section 8.11 (`meta`, `pitm`, `iloc`, `iref`, `iprp`); ISO/IEC 23008-12,
sections 6.6.2 (`grid`) and 9.3 (`ipco`, `ipma`).
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from itertools import islice
from typing import BinaryIO

from d2ir_pl.image_io.hevc import Coding

_MOST_BOXES, _MOST_ITEMS, _MOST_META = 1000, 20000, 2**20
"""Boxes beside each other, items, and bytes of the box with all descriptions, at most."""
_MOST_DERIVED = 4
"""Times that the main picture is made of another, at most."""
_READ = 2**16
"""Bytes that are read of the main picture."""


def heic_step(stream: BinaryIO) -> float | None:
    """The step with which a HEIC file rounds its main picture; None where it does not tell.

    Blocks may have other steps. Of a picture of many tiles, it is that of the first.

    Args:
        stream: the file.

    Returns:
        The step in grey levels (of 256) of an orthonormal transform.
    """
    try:
        quantiser = _quantiser(stream)
    except (ValueError, LookupError, struct.error):
        return None
    return float(2 ** ((quantiser - 4) / 6))


def _quantiser(stream: BinaryIO) -> int:
    """The quantiser of the main picture.

    Raises:
        ValueError, LookupError, struct.error: if there is none or the file is damaged.
    """
    boxes = dict(_boxes(_meta(stream)[4:]))
    item = _Reader(boxes[b"pitm"]).identity()
    made_of = _made_of(boxes.get(b"iref", b""))
    for _ in range(_MOST_DERIVED):
        item = made_of.get(item, item)
    properties = dict(_boxes(boxes[b"iprp"]))
    kinds = list(_boxes(properties[b"ipco"]))
    own = [kinds[n - 1] for n in _associated(properties[b"ipma"], item) if 0 < n <= len(kinds)]
    coding = Coding.read(dict(own)[b"hvcC"])
    place = _place(boxes[b"iloc"], item)
    if place >= stream.seek(0, os.SEEK_END):
        raise ValueError("is truncated")
    stream.seek(place)
    return coding.of_picture(stream.read(_READ))


def _meta(stream: BinaryIO) -> bytes:
    """The contents of the box with all descriptions."""
    place, size = 0, stream.seek(0, os.SEEK_END)
    for _ in range(_MOST_BOXES):
        if place >= size:
            break
        stream.seek(place)
        length, kind, head = _head(stream.read(16))
        if kind == b"meta":
            stream.seek(place + head)
            return stream.read(min(max(0, length - head), _MOST_META))
        if length < head:
            break
        place += length
    raise ValueError("has no descriptions")


def _head(data: bytes) -> tuple[int, bytes, int]:
    """The length of a box with its head, its kind, and the length of its head."""
    length, kind = struct.unpack_from(">I4s", data)
    if length == 1:
        return struct.unpack_from(">Q", data, 8)[0], kind, 16
    return length, kind, 8


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The kinds and contents of boxes beside each other."""
    place = 0
    for _ in range(_MOST_BOXES):
        if place + 8 > len(data):
            return
        length, kind, head = _head(data[place : place + 16])
        end = place + length if length else len(data)
        if end < place + head:
            return
        yield kind, data[place + head : end]
        place = end


class _Reader:
    """Reads numbers from a box that begins with its version and flags."""

    def __init__(self, data: bytes) -> None:
        self._data, self._place = data, 4
        self.version, self.flags = self._data[0], int.from_bytes(data[1:4])

    def number(self, length: int) -> int:
        """The next number of so many bytes."""
        end = self._place + length
        if end > len(self._data):
            raise ValueError("is truncated")
        value = int.from_bytes(self._data[self._place : end])
        self._place = end
        return value

    def identity(self, wide_from: int = 1) -> int:
        """The number of an item, which is longer from a version on."""
        return self.number(4 if self.version >= wide_from else 2)


def _made_of(data: bytes) -> dict[int, int]:
    """The first item that each derived one is made of."""
    found: dict[int, int] = {}
    width = 4 if data[:1] == b"\1" else 2
    for kind, body in _boxes(data[4:]):
        if kind == b"dimg" and len(body) >= 2 * width + 2:
            derived, first = body[:width], body[width + 2 : 2 * width + 2]
            found.setdefault(int.from_bytes(derived), int.from_bytes(first))
    return found


def _associated(data: bytes, item: int) -> list[int]:
    """The places of the properties of an item, from 1."""
    reader = _Reader(data)
    width, bits = (2, 15) if reader.flags & 1 else (1, 7)
    for _ in islice(range(reader.number(4)), _MOST_ITEMS):
        found = reader.identity() == item
        numbers = [reader.number(width) % 2**bits for _ in range(reader.number(1))]
        if found:
            return numbers
    raise ValueError("has no properties")


def _place(data: bytes, item: int) -> int:
    """The place of the first bytes of an item in its file."""
    reader = _Reader(data)
    sizes = reader.number(2)
    offset, length, base, index = (sizes >> shift & 15 for shift in (12, 8, 4, 0))
    if reader.version == 0:
        index = 0
    for _ in islice(range(reader.number(4 if reader.version >= 2 else 2)), _MOST_ITEMS):
        found = reader.identity(2) == item
        elsewhere = reader.number(2) % 16 if reader.version else 0
        elsewhere += reader.number(2)
        start = reader.number(base)
        extents = reader.number(2)
        if found and extents and not elsewhere:
            reader.number(index)
            return start + reader.number(offset)
        reader.number(extents * (index + offset + length))
    raise ValueError("has no place")
