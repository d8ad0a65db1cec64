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
