"""EXIF data of a photo that is written again: all of it stays, but for what is no longer true.

The block is edited where it lies, so that every value keeps its place: the notes of camera makers
point into the block by absolute offsets.

Source: CIPA DC-008, Exif 2.32, section 4.6.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass

from PIL import ExifTags, Image

ORIENTATION_TAG = 274
"""Number of the EXIF and TIFF tag that says how the stored pixels are turned."""

_HEADER = b"Exif\0\0"
_WIDTHS = {0: ExifTags.Base.ImageWidth, ExifTags.IFD.Exif: ExifTags.Base.ExifImageWidth}
_HEIGHTS = {0: ExifTags.Base.ImageLength, ExifTags.IFD.Exif: ExifTags.Base.ExifImageHeight}
"""Tags for the size of the pixels, in the first directory and in that of Exif."""
_THUMBNAIL = (513, 514)
"""Tags for the place and the length of a thumbnail."""
_SHORT, _LONG = 3, 4
_MOST_ENTRIES = 4096

_TECHNICAL = frozenset({271, 272, 282, 283, 296, 305, 306, 0x8769, 0xA005})
_TECHNICAL_DETAILS = frozenset(
    {0x829A, 0x829D, 0x8822, 0x8827, *range(0x8830, 0x8836), 0x9000, 0x9003, 0x9004}
    | {*range(0x9201, 0x920B), 0x9290, 0x9291, 0x9292, 0xA000, 0xA001, 0xA002, 0xA003}
    | {0xA20B, 0xA20E, 0xA20F, 0xA210, 0xA215, 0xA217, 0xA300, 0xA301, 0xA302}
    | {*range(0xA401, 0xA40D), 0xA432, 0xA433, 0xA434, 0xA500}
)
"""Tags that tell of the camera, the exposure and the time, and of no place and no person. Notes of
the maker, which may hold serial numbers and names, are none of them, nor is the time zone."""


@dataclass(frozen=True)
class _Entry:
    """An entry of a directory: where it lies in the block, and what it holds."""

    place: int
    tag: int
    kind: int
    count: int
    value: int


def upright(block: bytes) -> bytes | None:
    """The EXIF data of a photo that has been turned upright, without its thumbnail.

    Args:
        block: the data, with or without "Exif" before their byte order.

    Returns:
        The data from their byte order on; None if nothing is in them, or they are damaged.
    """
    block = block.removeprefix(_HEADER)
    try:
        order = _order(block)
        data = bytearray(block)
        start = struct.unpack_from(f"{order}I", block, 4)[0]
        entries, following = _directory(block, order, start)
        if not {e.tag for e in entries} - {ORIENTATION_TAG}:
            return None
        for entry in entries:
            if entry.tag == ORIENTATION_TAG:
                _set(data, order, entry, 1)
    except (ValueError, struct.error):
        return None
    if following:
        # The thumbnail shows the photo as it was.
        struct.pack_into(f"{order}I", data, start + 2 + 12 * len(entries), 0)
        with suppress(ValueError, struct.error):
            _clear_thumbnail(data, order, following)
    return bytes(data)


def without(exif: Image.Exif, left_out: Collection[int]) -> bytes | None:
    """The EXIF data of a TIFF file, whose first directory they share with the pixels.

    Args:
        exif: data as Pillow has read them.
        left_out: tags of the first directory that are of the pixels.
    """
    try:
        kept, inner = Image.Exif(), (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo)
        for tag in set(exif) - set(left_out) - set(inner):
            kept[tag] = exif[tag]
        for tag in inner:
            if tag in exif:
                kept.get_ifd(tag).update(exif.get_ifd(tag))
        return kept.tobytes().removeprefix(_HEADER)
    except Exception:  # damaged EXIF data are left out
        return None


def sized(block: bytes, height: int, width: int) -> bytes:
    """The same data with the size that a photo has now, where they tell one.

    Args:
        block: data as `upright` returns them.
        height: height in pixels.
        width: width in pixels.
    """
    data = bytearray(block)
    with suppress(ValueError, struct.error):
        order = _order(block)
        for directory, entry in _all(block, order):
            if entry.tag == _WIDTHS.get(directory):
                _set(data, order, entry, width)
            elif entry.tag == _HEIGHTS.get(directory):
                _set(data, order, entry, height)
    return bytes(data)


def impersonal(block: bytes) -> bytes | None:
    """The camera, the exposure and the time alone; None if there is nothing of them.

    Args:
        block: data as `upright` returns them.
    """
    try:
        exif = Image.Exif()
        exif.load(_HEADER + block)
        details = dict(exif.get_ifd(ExifTags.IFD.Exif))
        kept = Image.Exif()
        for tag in set(exif) & _TECHNICAL - {ExifTags.IFD.Exif}:
            kept[tag] = exif[tag]
        inner = {tag: value for tag, value in details.items() if tag in _TECHNICAL_DETAILS}
        kept.get_ifd(ExifTags.IFD.Exif).update(inner)
        return kept.tobytes().removeprefix(_HEADER) if len(kept) or inner else None
    except Exception:  # damaged EXIF data are left out
        return None


def _order(block: bytes) -> str:
    """The byte order of a block as `struct` writes it."""
    if block[:4] == b"II*\0":
        return "<"
    if block[:4] == b"MM\0*":
        return ">"
    raise ValueError("no EXIF data")


def _directory(block: bytes | bytearray, order: str, start: int) -> tuple[list[_Entry], int]:
    """The entries of a directory, and the place of the one that follows it.

    Raises:
        ValueError, struct.error: if it is damaged.
    """
    (count,) = struct.unpack_from(f"{order}H", block, start)
    if start < 8 or count > _MOST_ENTRIES:
        raise ValueError("a damaged directory")
    places = range(start + 2, start + 2 + 12 * count, 12)
    entries = [_Entry(p, *struct.unpack_from(f"{order}HHII", block, p)) for p in places]
    return entries, struct.unpack_from(f"{order}I", block, start + 2 + 12 * count)[0]


def _all(block: bytes, order: str) -> Iterator[tuple[int, _Entry]]:
    """The entries of the first directory, named 0, and of that of Exif."""
    entries, _ = _directory(block, order, struct.unpack_from(f"{order}I", block, 4)[0])
    yield from ((0, entry) for entry in entries)
    for entry in entries:
        if entry.tag == ExifTags.IFD.Exif:
            inner, _ = _directory(block, order, entry.value)
            yield from ((int(ExifTags.IFD.Exif), detail) for detail in inner)


def _set(data: bytearray, order: str, entry: _Entry, value: int) -> None:
    """Give an entry of one whole number another value."""
    if entry.count != 1 or entry.kind not in (_SHORT, _LONG):
        return
    kind = entry.kind if value < 2**16 else _LONG
    body = struct.pack(f"{order}HI", kind, 1)
    body += struct.pack(f"{order}I" if kind == _LONG else f"{order}Hxx", value)
    data[entry.place + 2 : entry.place + 12] = body


def _clear_thumbnail(data: bytearray, order: str, directory: int) -> None:
    """Remove the picture that a second directory describes."""
    entries, _ = _directory(data, order, directory)
    found = {entry.tag: entry.value for entry in entries}
    start, length = (found.get(tag, 0) for tag in _THUMBNAIL)
    end = start + length
    if not directory < start < end <= len(data):
        return
    if end >= len(data) - 2:  # where it usually lies
        del data[start:]
    else:
        data[start:end] = bytes(length)
