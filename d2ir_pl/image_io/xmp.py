"""XMP packets of a photo that is written again: all of it, but for what is no longer true.

Source: ISO 16684-1 (XMP), and the names that cameras and phones use in it.
"""

from __future__ import annotations

import re

_ONE = rb"""(?P<head>\btiff:Orientation(?:\s*=\s*["']|\s*>\s*))[1-8](?=["'\s<])"""
_LEFT_OUT = re.compile(
    rb"<((?:xmp|xap):Thumbnails"  # of the photo as it was
    # Of a video, a depth map or a gain map behind the pixels, which is not written again.
    rb"|(?:\w+:)?Directory|GCamera:(?:Micro|Motion)\w*|xmpNote:HasExtendedXMP"
    rb"|(?:GDepth|GImage|GAudio|hdrgm|HDRGainMap|apdi):\w+)\b[^<>]*>"
)
_ATTRIBUTES = re.compile(
    rb"""\s(?:GCamera:(?:Micro|Motion)\w*|(?:GDepth|GImage|GAudio|hdrgm|HDRGainMap|apdi):\w+"""
    rb"""|xmpNote:HasExtendedXMP)\s*=\s*(?:"[^"]*"|'[^']*')"""
)
_SIZES = (
    (rb"(?:tiff:ImageWidth|exif:PixelXDimension)", 1),
    (rb"(?:tiff:ImageLength|exif:PixelYDimension)", 0),
)
GENERATED = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"
"""IPTC's name for what was edited with a generative model."""
_IPTC_EXTENSION = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
_SOURCE = re.compile(
    rb"""\s*<(\w+):DigitalSourceType\b[^<>]*(?:/>|>.*?</\1:DigitalSourceType\s*>)"""
    rb"""|\s\w+:DigitalSourceType\s*=\s*(?:"[^"]*"|'[^']*')""",
    re.DOTALL,
)
_END = re.compile(rb"</(\w+):RDF\s*>")
_EMPTY = (
    b'<?xpacket begin="\xef\xbb\xbf" id="W5M0MpCehiHzreSzNTczkc9d"?>'
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/">'
    b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"></rdf:RDF>'
    b'</x:xmpmeta><?xpacket end="w"?>'
)
LONGEST = 2**20
"""Bytes of a packet above which it is left out: those that people write have some thousands."""


def upright(packet: bytes) -> bytes | None:
    """The packet of a photo that has been turned upright; None if it cannot be edited.

    Args:
        packet: XML in UTF-8.
    """
    packet = packet.rstrip(b"\0")
    try:
        packet.decode()
    except UnicodeDecodeError:
        return None
    if not packet.strip() or len(packet) > LONGEST:
        return None
    packet = re.sub(_ONE, rb"\g<head>1", packet)
    return _ATTRIBUTES.sub(b"", _without_elements(packet))


def sized(packet: bytes, height: int, width: int) -> bytes:
    """The same packet with the size that a photo has now, where it tells one.

    Args:
        packet: packet as `upright` returns it.
        height: height in pixels.
        width: width in pixels.
    """
    for names, axis in _SIZES:
        value = str((height, width)[axis]).encode()
        pattern = rb"""(?P<head>\b""" + names + rb"""(?:\s*=\s*["']|\s*>\s*))\d+"""
        packet = re.sub(pattern, rb"\g<head>" + value, packet)
    return packet


def generated(packet: bytes | None) -> bytes:
    """The packet of a photo that a generative model has edited, which it then says.

    Whatever it said of its source before is replaced. A packet without an end stays as it is.

    Args:
        packet: packet as `upright` returns it; None for a new one.

    Source: IPTC Photo Metadata Standard 2023.2, Digital Source Type.
    """
    packet = _SOURCE.sub(b"", packet or _EMPTY)
    if (end := _END.search(packet)) is None:
        return packet
    rdf = end[1].decode()
    told = (
        f'<{rdf}:Description {rdf}:about="" xmlns:Iptc4xmpExt="{_IPTC_EXTENSION}">'
        f"<Iptc4xmpExt:DigitalSourceType>{GENERATED}</Iptc4xmpExt:DigitalSourceType>"
        f"</{rdf}:Description>"
    )
    return packet[: end.start()] + told.encode() + packet[end.start() :]


def _without_elements(packet: bytes) -> bytes:
    """The packet without the elements that are left out, in one pass over it."""
    parts, at = [], 0
    for found in _LEFT_OUT.finditer(packet):
        if found.start() < at:  # it lies in one that is left out already
            continue
        end = found.end()
        if not found[0].endswith(b"/>"):
            closing = packet.find(b"</" + found[1], end)
            end = packet.find(b">", closing) + 1 if closing >= 0 else 0
            if not end:  # it is damaged from here on
                break
        parts.append(packet[at : found.start()])
        at = end
    return b"".join([*parts, packet[at:]])
