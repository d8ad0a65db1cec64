"""A photo as a message between processes, of which the receiver believes nothing.

Who sends it has read a stranger's file, and may be under the stranger's control. So the message is
plain data: numbers and texts in JSON, whose types and ranges are checked, and the bytes of pixels,
of which so many are taken as were announced.
"""

from __future__ import annotations

import base64
import json
from dataclasses import asdict, dataclass, field
from typing import Annotated, Literal

import numpy as np
import torch
from torch import Tensor

from d2ir_pl.image_io.jpeg import FileTables
from d2ir_pl.image_io.metadata import Metadata
from d2ir_pl.image_io.photo import Photo, Stored
from d2ir_pl.schema import Within, checked

MOST_TEXT = 2**27
"""Bytes of everything but the pixels, at most."""

_BYTES = 4
"""Of a pixel in each plane."""

Base64 = str
"""Bytes as a text."""


@dataclass
class _Tables:
    tables: list[float]
    factors: list[Annotated[int, Within(1, 2)]]
    orientation: Annotated[int, Within(1, 8)]


@dataclass
class _Metadata:
    exif: Base64 | None
    xmp: Base64 | None
    iptc: Base64 | None
    dpi: list[float] | None
    texts: list[list[str]]
    colour: list[list[Base64]]


@dataclass
class _Stored:
    kind: str
    tables: list[list[Annotated[int, Within(0, 65535)]]]
    subsampling: Annotated[int, Within(-1, 2)]
    lossless: bool


@dataclass
class Header:
    """What a message says beside the pixels, or why there are none; otherwise as `Photo` has it.

    Attributes:
        refused: sentence that says why there is no photo; empty where there is one.
        height: number of rows.
        width: number of columns.
        planes: numbers of planes of the pixels, of alpha and of the mask, of which each plane has
            a float32 for every pixel; 0 where there are none.
    """

    refused: str = ""
    height: Annotated[int, Within(0, 2**31)] = 0
    width: Annotated[int, Within(0, 2**31)] = 0
    planes: list[Literal[0, 1, 3]] = field(default_factory=list)
    bit_depth: Literal[8, 16] = 8
    grey: bool = False
    icc_profile: Base64 | None = None
    notes: list[str] = field(default_factory=list)
    tables: _Tables | None = None
    sha256: str = ""
    metadata: _Metadata | None = None
    stored: _Stored | None = None
    codec: Literal["", "WebP", "AVIF", "HEIC", "JPEG", "RGB JPEG", "CMYK JPEG"] = ""
    step: Annotated[float, Within(0.1, 1000)] | None = None

    @classmethod
    def read(cls, message: bytes) -> Header:
        """Read the first part of a message.

        Raises:
            ValueError: if it is no such part.
        """
        try:
            header = checked(cls, json.loads(message.decode()))
        except RecursionError:
            raise ValueError("is nested too deeply") from None
        return header

    @property
    def sizes(self) -> list[int]:
        """Bytes of each further part of the message; 0 where there is none."""
        return [_BYTES * planes * self.height * self.width for planes in self.planes]


def header_of(photo: Photo) -> bytes:
    """The first part of a message with a photo."""
    tables, about = photo.tables, photo.metadata
    header = Header(
        height=photo.pixels.shape[-2],
        width=photo.pixels.shape[-1],
        planes=[0 if plane is None else len(plane) for plane in _planes(photo)],  # type: ignore[misc]
        bit_depth=photo.bit_depth,  # type: ignore[arg-type]
        grey=photo.grey,
        icc_profile=_text(photo.icc_profile),
        notes=list(photo.notes),
        tables=None
        if tables is None
        else _Tables(tables.tables.flatten().tolist(), list(tables.factors), tables.orientation),
        sha256=photo.sha256,
        metadata=_Metadata(
            _text(about.exif),
            _text(about.xmp),
            _text(about.iptc),
            None if about.dpi is None else list(about.dpi),
            [list(pair) for pair in about.texts],
            [[_encoded(part) for part in pair] for pair in about.colour],
        ),
        stored=_Stored(**{**asdict(photo.stored), "tables": [*map(list, photo.stored.tables)]}),
        codec=photo.codec,  # type: ignore[arg-type]
        step=photo.step,
    )
    return json.dumps(asdict(header)).encode()


def refusal(sentence: str) -> bytes:
    """The only part of a message without a photo."""
    return json.dumps({"refused": sentence}).encode()


def planes_of(photo: Photo) -> list[bytes]:
    """The further parts of a message with a photo: the bytes of each plane that it has."""
    found = [plane for plane in _planes(photo) if plane is not None]
    return [plane.contiguous().numpy().tobytes() for plane in found]


def size_message(size: tuple[int, int]) -> bytes:
    """The only part of a message that tells the size (H, W) of a photo alone."""
    height, width = size
    return json.dumps({"height": height, "width": width}).encode()


def photo_of(header: Header, parts: list[bytes]) -> Photo:
    """The photo that a message holds.

    Args:
        header: its first part.
        parts: the others, as `header.sizes` has them.

    Raises:
        ValueError: if they hold no photo.
    """
    if len(header.planes) != 3 or header.planes[0] != 3:
        raise ValueError("has no pixels")
    if [len(part) for part in parts] != header.sizes or not parts[0]:
        raise ValueError("has another number of pixels than it says")
    planes = [_tensor(part, header) for part in parts]
    pixels = planes[0]
    assert pixels is not None
    return Photo(
        pixels=pixels,
        alpha=planes[1],
        bit_depth=header.bit_depth,
        grey=header.grey,
        icc_profile=_bytes(header.icc_profile),
        notes=tuple(header.notes),
        tables=None if header.tables is None else _file_tables(header.tables),
        sha256=header.sha256,
        metadata=Metadata() if header.metadata is None else _metadata(header.metadata),
        stored=Stored() if header.stored is None else _as_stored(header.stored),
        mask=planes[2],
        codec=header.codec,
        step=header.step,
    )


def _planes(photo: Photo) -> tuple[Tensor | None, ...]:
    return photo.pixels, photo.alpha, photo.mask


def _tensor(part: bytes, header: Header) -> Tensor | None:
    """`(C, H, W)` of the bytes of it; None where there are none."""
    if not part:
        return None
    array = np.frombuffer(part, np.float32).reshape(-1, header.height, header.width)
    if not np.isfinite(array).all():
        raise ValueError("has pixels that are no numbers")
    return torch.from_numpy(array.copy())


def _file_tables(found: _Tables) -> FileTables:
    if len(found.tables) != 128 or len(found.factors) != 2 or min(found.tables) < 1:
        raise ValueError("has tables that no file has")
    vertical, horizontal = found.factors
    tables = torch.tensor(found.tables).reshape(2, 8, 8)
    return FileTables(tables, (vertical, horizontal), found.orientation)


def _metadata(found: _Metadata) -> Metadata:
    dpi = None
    if found.dpi is not None:
        across, down = found.dpi
        dpi = (across, down)
    return Metadata(
        _bytes(found.exif),
        _bytes(found.xmp),
        _bytes(found.iptc),
        dpi,
        tuple((keyword, text) for keyword, text in found.texts),
        tuple((_decoded(kind), _decoded(content)) for kind, content in found.colour),
    )


def _as_stored(found: _Stored) -> Stored:
    if any(len(table) != 64 for table in found.tables):
        raise ValueError("has tables that no file has")
    tables = tuple(tuple(table) for table in found.tables)
    return Stored(found.kind, tables, found.subsampling, found.lossless)


def _text(content: bytes | None) -> Base64 | None:
    return None if content is None else _encoded(content)


def _bytes(text: Base64 | None) -> bytes | None:
    return None if text is None else _decoded(text)


def _encoded(content: bytes) -> Base64:
    return base64.b64encode(content).decode("ascii")


def _decoded(text: Base64) -> bytes:
    return base64.b64decode(text, validate=True)
