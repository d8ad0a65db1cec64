"""What a photo's file carries beside its pixels, and carries on when the photo is written again."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from PIL import Image

from d2ir_pl.image_io import exif as exif_data
from d2ir_pl.image_io import xmp as xmp_packets

COLOUR_CHUNKS = (b"cHRM", b"gAMA", b"sRGB", b"cICP", b"mDCV", b"cLLI")
"""Chunks of a PNG file that say what its numbers mean, beside an ICC profile."""
_NOT_TEXTS = ("raw profile type", "xml:com.adobe.xmp")
_IPTC = 0x0404
"""Number of the resource of Photoshop that holds IPTC data."""
_SRGB = {(1, 1), (1, 6), (1, 13), (1, 2), (2, 2), (2, 13)}
"""Numbers of primaries and curves (ITU-T H.273) that are taken for sRGB."""
_LONGEST_TEXT, _MOST_TEXTS = 2**16, 64


@dataclass(frozen=True)
class Metadata:
    """What a photo's file carries beside its pixels and their ICC profile.

    Attributes:
        exif: EXIF data (camera, time, place) from their byte order on, of an upright photo, without
            thumbnail; None if there are none.
        xmp: XMP packet, XML in UTF-8, of an upright photo; None if there is none.
        iptc: IPTC records (caption, author, keywords); None if there are none.
        dpi: dots per inch, horizontally and vertically; None if that is not said.
        texts: keywords and their texts, as PNG files have them; the comment of a JPEG or GIF file
            is called `Comment`.
        colour: kinds and contents of chunks of a PNG file that say what its numbers mean.
    """

    exif: bytes | None = None
    xmp: bytes | None = None
    iptc: bytes | None = None
    dpi: tuple[float, float] | None = None
    texts: tuple[tuple[str, str], ...] = ()
    colour: tuple[tuple[bytes, bytes], ...] = ()

    @classmethod
    def of(
        cls,
        exif: object = None,
        xmp: object = None,
        iptc: object = None,
        dpi: object = None,
        texts: Mapping[str, str] | None = None,
        colour: tuple[tuple[bytes, bytes], ...] = (),
    ) -> Metadata:
        """What a file says, as far as it holds once the photo is upright.

        Args:
            exif: EXIF data as they are stored.
            xmp: XMP packet as it is stored.
            iptc: IPTC records.
            dpi: dots per inch, two numbers above 0.
            texts: keywords and texts.
            colour: see the attribute.
        """
        packet = xmp.encode() if isinstance(xmp, str) else xmp
        return cls(
            exif_data.upright(exif) if isinstance(exif, bytes) and exif else None,
            xmp_packets.upright(packet) if isinstance(packet, bytes) and packet else None,
            iptc if isinstance(iptc, bytes) and iptc else None,
            _dpi(dpi),
            _texts(texts or {}),
            colour,
        )

    @classmethod
    def of_pillow(
        cls, image: Image.Image, colour: tuple[tuple[bytes, bytes], ...] = ()
    ) -> Metadata:
        """What an image of Pillow has in its `info`.

        Args:
            image: image that is decoded, because a PNG file may have texts behind the pixels.
            colour: see the attribute.
        """
        info = {str(key): value for key, value in image.info.items()}
        # The texts of other files, such as the compression of TIFF, are Pillow's own.
        own = info if image.format in (None, "PNG") else {}
        texts = {key: text for key, text in own.items() if isinstance(text, str)}
        texts.update(getattr(image, "text", {}))
        if (comment := info.get("comment")) and isinstance(comment, bytes):
            texts["Comment"] = _text(comment)
        xmp = info.get("xmp") or texts.get("XML:com.adobe.xmp")
        raw = next((t for k, t in texts.items() if k.lower() == "raw profile type iptc"), "")
        iptc = iptc_of(info.get("photoshop")) or iptc_of(_from_hexadecimal(raw))
        return cls.of(info.get("exif"), xmp, iptc, info.get("dpi"), texts, colour)

    def sized(self, height: int, width: int) -> Metadata:
        """The same with the size that the photo has now, where something tells one.

        Args:
            height: height in pixels.
            width: width in pixels.
        """
        return replace(
            self,
            exif=None if self.exif is None else exif_data.sized(self.exif, height, width),
            xmp=None if self.xmp is None else xmp_packets.sized(self.xmp, height, width),
        )

    @property
    def generated(self) -> Metadata:
        """The same, and that the photo was edited with a generative model."""
        return replace(self, xmp=xmp_packets.generated(self.xmp))

    @property
    def impersonal(self) -> Metadata:
        """The same without place and person; camera, exposure, time and colours stay."""
        exif = None if self.exif is None else exif_data.impersonal(self.exif)
        return Metadata(exif=exif, dpi=self.dpi, colour=self.colour)


def iptc_of(photoshop: object) -> bytes | None:
    """The IPTC records among the resources of Photoshop; None if there are none.

    Args:
        photoshop: the resources by their numbers, or the bytes that hold them.
    """
    if isinstance(photoshop, Mapping):
        found = photoshop.get(_IPTC)
        return found if isinstance(found, bytes) and found else None
    if not isinstance(photoshop, bytes) or not photoshop:
        return None
    if photoshop.startswith(b"\x1c"):  # the records themselves
        return photoshop
    place = 0
    photoshop = photoshop.removeprefix(b"Photoshop 3.0\0")
    while photoshop[place : place + 4] == b"8BIM" and place + 12 <= len(photoshop):
        number = int.from_bytes(photoshop[place + 4 : place + 6], "big")
        place += 6
        place += (1 + photoshop[place] + 1) // 2 * 2  # a name of even length, its own byte included
        length = int.from_bytes(photoshop[place : place + 4], "big")
        if number == _IPTC:
            return photoshop[place + 4 : place + 4 + length] or None
        place += 4 + (length + 1) // 2 * 2
    return None


def photoshop_of(iptc: bytes) -> bytes:
    """The resources of Photoshop that hold IPTC records, as a JPEG file has them."""
    padding = b"\0" * (len(iptc) % 2)
    return b"8BIM" + struct.pack(">HHI", _IPTC, 0, len(iptc)) + iptc + padding


def png_chunks(metadata: Metadata) -> list[tuple[bytes, bytes]]:
    """Kinds and contents of the chunks that carry the data in a PNG file, in their order.

    Source: PNG specification, third edition, section 11.3.
    """
    chunks = list(metadata.colour)
    if metadata.exif is not None:
        chunks.append((b"eXIf", metadata.exif))
    if metadata.dpi is not None:
        across, down = (round(dots / 0.0254) for dots in metadata.dpi)
        chunks.append((b"pHYs", struct.pack(">IIB", across, down, 1)))
    if metadata.xmp is not None:
        chunks.append((b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + metadata.xmp))
    if metadata.iptc is not None:
        data = photoshop_of(metadata.iptc)
        profile = f"\niptc\n{len(data):8d}\n{data.hex()}\n".encode()
        chunks.append((b"zTXt", b"Raw profile type iptc\0\0" + zlib.compress(profile, 6)))
    for keyword, text in metadata.texts:
        try:
            plain = text.encode("latin-1")
            chunks.append((b"tEXt", keyword.encode("latin-1") + b"\0" + plain))
        except UnicodeEncodeError:
            head = keyword.encode("latin-1", "replace") + b"\0\0\0\0\0"
            chunks.append((b"iTXt", head + text.encode("utf-8", "replace")))
    return chunks


def coded_colour(primaries: int, curve: int) -> tuple[tuple[bytes, bytes], ...]:
    """A colour space as the `Metadata.colour` of a file that names it by numbers.

    Args:
        primaries: number of the primaries in ITU-T H.273.
        curve: number of the curve.
    """
    if (primaries, curve) in _SRGB or not (0 < primaries < 256 and 0 < curve < 256):
        return ()
    return ((b"cICP", bytes([primaries, curve, 0, 1])),)


def gif_xmp(data: bytes) -> bytes | None:
    """The XMP packet of a GIF file; None if there is none.

    The packet lies in the file as it is, and the bytes behind it end it for programs that expect
    blocks, each after its length (XMP specification, part 3, section 1.1.2).
    """
    _, _, rest = data.partition(b"\x21\xff\x0bXMP DataXMP")
    packet, end, _ = rest.partition(b"\x01\xff\xfe\xfd")
    return packet if packet and end else None


def _texts(texts: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Those texts that a person may want to keep."""
    found = []
    for key, text in texts.items():
        usable = 0 < len(key) < 80 and key.isprintable() and key == key.strip()
        if not usable or key.lower().startswith(_NOT_TEXTS) or not isinstance(text, str):
            continue
        if text and len(text) <= _LONGEST_TEXT and "\0" not in text:
            found.append((key, str(text)))
    return tuple(found[:_MOST_TEXTS])


def _text(comment: bytes) -> str:
    """A comment as text."""
    comment = comment.rstrip(b"\0")
    try:
        return comment.decode()
    except UnicodeDecodeError:
        return comment.decode("latin-1")


def _dpi(dpi: object) -> tuple[float, float] | None:
    """Two numbers of dots per inch, if they are such."""
    try:
        across, down = (float(dots) for dots in dpi)  # type: ignore[attr-defined]
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return (across, down) if 1 < across < 1e6 and 1 < down < 1e6 else None


def _from_hexadecimal(text: str) -> bytes:
    """The bytes that a PNG file has as a text, behind a line of their kind and their number."""
    parts = text.strip().split("\n", 2)
    try:
        return bytes.fromhex(parts[2]) if len(parts) == 3 else b""
    except ValueError:
        return b""
