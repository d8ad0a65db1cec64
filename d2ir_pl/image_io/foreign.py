"""What files are that are no photos which can be read, and what their owner may do."""

from __future__ import annotations

import re

KINDS: dict[re.Pattern[bytes], str] = {
    # What is saved in the place of a photo where a download needs a click or an account.
    re.compile(
        rb"\s*(<!doctype html|<html)", re.IGNORECASE
    ): "is a web page and no photo: download the photo itself",
    re.compile(
        rb"....ftyp(?:qt  |isom|iso\d|mp4\d|M4V|avc1|3g[pr2]|dash)"
        rb"|....(?:moov|mdat|wide)|\x1aE\xdf\xa3|RIFF....AVI |\0\0\x01[\xb3\xba]",
        re.DOTALL,
    ): "is a film and no photo: save one of its frames as a picture",
    re.compile(
        rb"v/1\x01|#\?(?:RADIANCE|RGBE)"
    ): "is an HDR image, whose light has no upper end: export it as a TIFF file of 16 bits",
    re.compile(rb"8BPS|gimp xcf"): (
        "is a document of a photo editor with its layers: export it as a PNG or TIFF file"
    ),
    re.compile(rb"%PDF|%!PS"): "is a document and no photo: export its picture as a PNG file",
    re.compile(
        rb"\s*(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*)?(?:<!DOCTYPE svg[^>]*>\s*)?<svg", re.DOTALL
    ): "is a drawing of lines (SVG): export it as a PNG file",
    re.compile(
        rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51"
    ): "is a JPEG 2000 image, which is not read: convert it to a PNG or TIFF file",
    re.compile(rb"PK\x03\x04|Rar!|7z\xbc\xaf|\x1f\x8b"): (
        "is a packed archive and no photo: unpack it, and give the photos in it"
    ),
    re.compile(
        rb"version https://git-lfs"
    ): "is a Git LFS pointer, which only names the photo: get that with 'git lfs pull'",
}
"""The first bytes of files that are taken for photos, and what is said of them."""

READ = "PNG, JPEG, TIFF, HEIC, RAW, WebP, AVIF, JPEG XL, GIF, BMP or PNM"


def about(head: bytes) -> str:
    """What is said of a file of no kind that is read, behind its name.

    Args:
        head: its first bytes.
    """
    for start, said in KINDS.items():
        if start.match(head):
            return said
    if _is_text(head):
        return f"is not a {READ} image but a text; give the photo itself"
    if not head.strip(b"\0"):
        return "holds nothing but zeros, as a copy does that broke off: copy it again"
    return f"is not a {READ} image; convert it to one of these"


def _is_text(head: bytes) -> bool:
    """Whether bytes can be read, but for a character that their end may cut."""
    text = head.decode("utf-8", "ignore")
    whole = len(head) - len(text.encode("utf-8")) < 4
    return whole and all(character.isprintable() or character in "\r\n\t\f" for character in text)
