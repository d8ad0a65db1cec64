"""Writing TIFF files of 8 and 16 bits a channel, with all that a photo carries.

The EXIF data are themselves a TIFF file without pixels. The file begins with them, so that every
value in them keeps its place, and the directory of the photo follows behind its pixels.

Source: TIFF 6.0, sections 2, 8, 14 and 18.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from d2ir_pl.image_io.metadata import Metadata

_BYTE, _ASCII, _SHORT, _LONG, _RATIONAL, _UNDEFINED = 1, 2, 3, 4, 5, 7
_SIZES = {_BYTE: 1, _ASCII: 1, _SHORT: 2, _LONG: 4, _RATIONAL: 8, _UNDEFINED: 1}
_DESCRIPTION, _DESCRIPTIONS = 270, ("Description", "Comment", "Title")
OF_PIXELS = frozenset(
    {*range(254, 260), 262, 266, 273, 274, 277, 278, 279, 282, 283, 284, 296, 317, 322, 323, 324}
    | {325, 330, 338, 339, 347, 513, 514, 529, 530, 531, 532, 700, 33723, 34377, 34675}
)
"""Tags that say how pixels are stored, or what is written here anew."""
_STRIP = 2**18
_MOST_BYTES = 2**32 - 2**16


@dataclass
class _Directory:
    """Entries of 12 bytes by their tags, and the values that do not fit into them."""

    order: str
    place: int
    entries: dict[int, bytes] = field(default_factory=dict)
    values: bytes = b""

    def add(self, tag: int, kind: int, data: bytes) -> None:
        """Set a tag to a value that is encoded already."""
        count = len(data) // _SIZES[kind]
        inline = data.ljust(4, b"\0")
        if len(data) > 4:
            self.values += bytes(len(self.values) % 2)
            inline = struct.pack(f"{self.order}I", self.place + len(self.values))
            self.values += data
        self.entries[tag] = struct.pack(f"{self.order}HHI", tag, kind, count) + inline

    def whole(self, tag: int, *numbers: int, kind: int = _LONG) -> None:
        """Set a tag to whole numbers."""
        letter = "H" if kind == _SHORT else "I"
        self.add(tag, kind, struct.pack(f"{self.order}{len(numbers)}{letter}", *numbers))


def tiff_bytes(
    samples: NDArray[np.uint8 | np.uint16],
    metadata: Metadata,
    profile: bytes | None,
) -> bytes:
    """A TIFF file, compressed by Deflate, in strips.

    Args:
        samples: `(H, W, C)`; C is 1 for grey or 3 for RGB, and one more with alpha.
        metadata: what the file carries.
        profile: ICC profile of the colours; None for sRGB.

    Raises:
        ValueError: if it were too long for a TIFF file.
    """
    exif = metadata.exif or b"II*\0" + struct.pack("<IHI", 8, 0, 0)
    order = "<" if exif[:2] == b"II" else ">"
    height, width, channels = samples.shape
    rows = max(1, _STRIP // (width * channels * samples.itemsize))
    strips = [_compressed(samples[i : i + rows], order) for i in range(0, height, rows)]
    body = exif + bytes(len(exif) % 2)
    places = np.cumsum([len(body), *map(len, strips)]).tolist()
    if places[-1] > _MOST_BYTES:
        raise ValueError("the photo is too large for a TIFF file: write it as PNG")
    directory = _Directory(order, places[-1] + places[-1] % 2)
    directory.entries = _entries(exif, order)
    directory.whole(256, width)
    directory.whole(257, height)
    directory.whole(258, *[8 * samples.itemsize] * channels, kind=_SHORT)
    directory.whole(259, 8, kind=_SHORT)  # Deflate
    directory.whole(262, 1 if channels < 3 else 2, kind=_SHORT)
    directory.whole(273, *places[:-1])
    directory.whole(274, 1, kind=_SHORT)
    directory.whole(277, channels, kind=_SHORT)
    directory.whole(278, rows)
    directory.whole(279, *map(len, strips))
    directory.whole(284, 1, kind=_SHORT)
    directory.whole(317, 2, kind=_SHORT)  # differences to the left
    if channels in (2, 4):
        directory.whole(338, 2, kind=_SHORT)  # alpha that colours are not multiplied by
    _add_carried(directory, metadata, profile)
    body = b"".join([body, *strips])
    body += bytes(len(body) % 2) + directory.values
    body += bytes(len(body) % 2)
    head = body[:4] + struct.pack(f"{order}I", len(body))
    entries = b"".join(entry for _, entry in sorted(directory.entries.items()))
    tail = struct.pack(f"{order}H", len(directory.entries)) + entries + bytes(4)
    return head + body[8:] + tail


def _add_carried(directory: _Directory, metadata: Metadata, profile: bytes | None) -> None:
    """Add what the photo carries beside its EXIF data."""
    if metadata.dpi is not None:
        for tag, dots in zip((282, 283), metadata.dpi, strict=True):
            fraction = struct.pack(f"{directory.order}II", round(dots * 1000), 1000)
            directory.add(tag, _RATIONAL, fraction)
        directory.whole(296, 2, kind=_SHORT)
    texts = dict(metadata.texts)
    text = next((texts[name] for name in _DESCRIPTIONS if name in texts), "")
    if text and _DESCRIPTION not in directory.entries:
        directory.add(_DESCRIPTION, _ASCII, text.encode() + b"\0")
    if metadata.xmp is not None:
        directory.add(700, _BYTE, metadata.xmp)
    if metadata.iptc is not None:
        directory.add(33723, _UNDEFINED, metadata.iptc)
    if profile is not None:
        directory.add(34675, _UNDEFINED, profile)


def _entries(exif: bytes, order: str) -> dict[int, bytes]:
    """The entries of the first directory of EXIF data that stay as they are."""
    (start,) = struct.unpack_from(f"{order}I", exif, 4)
    (count,) = struct.unpack_from(f"{order}H", exif, start)
    places = range(start + 2, start + 2 + 12 * count, 12)
    entries = {struct.unpack_from(f"{order}H", exif, p)[0]: exif[p : p + 12] for p in places}
    return {tag: entry for tag, entry in entries.items() if tag not in OF_PIXELS}


def _compressed(samples: NDArray[np.uint8 | np.uint16], order: str) -> bytes:
    """A strip: each sample as its difference to the one to the left, in the byte order."""
    differences = samples.copy()
    differences[:, 1:] -= samples[:, :-1]
    stored = samples.dtype.newbyteorder(">" if order == ">" else "<")
    return zlib.compress(differences.astype(stored).tobytes(), 6)
