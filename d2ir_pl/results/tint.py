"""The tint that shows on a restored picture what the prior has filled in; without PyTorch."""

from __future__ import annotations

from PIL import Image

TINT, DENSEST = (255, 64, 160), 0.75
"""Colour of the tint, which is rare in photographs, and how much of it is the most."""


def tint(share: Image.Image) -> Image.Image:
    """The tint alone, in RGBA, as dense as a share, a picture in grey, is bright."""
    found = Image.new("RGBA", share.size, TINT)
    found.putalpha(share.convert("L").point(lambda value: round(DENSEST * value)))
    return found
