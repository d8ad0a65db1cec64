"""Two pictures of one place, and a slider that shows the left of one and the right of the other."""

from __future__ import annotations

import base64
from html import escape
from importlib import resources
from io import BytesIO

from PIL import Image

from d2ir_pl.results.tint import tint

SMOOTH = 800
"""Longest side in pixels of the tint, which has no fine details."""


def style() -> str:
    """What it looks like, in CSS."""
    return _file("slider.css")


def script() -> str:
    """What moves it, in JavaScript."""
    return _file("slider.js")


def compared(
    before: str,
    after: str,
    about: str,
    layer: str = "",
    share: float | None = None,
    place: str = "whole",
    width: int | None = None,
) -> str:
    """The HTML of two pictures.

    A box tints on the right what the prior has filled in, where that is known.

    Args:
        before: address of the picture on the left.
        after: that of the picture on the right, which is stretched over the other one.
        about: what they show.
        layer: address of the tint that is laid over the right; empty for none.
        share: share of the details of the whole photo that was filled in, in [0, 1].
        place: tells the box from others of a page.
        width: of both pictures, where they are shown pixel for pixel, as far as there is room.
    """
    exact = "" if width is None else f' style="--width: {width}px"'
    said, choice, over = escape(about, quote=True), "", ""
    if layer:
        much = "" if share is None else f" ({share:.0%} of all details)"
        box = f"tint-{place}"
        over = f'<img class="tint" alt="what was invented" src="{layer}">'
        choice = f"""
  <input type="checkbox" id="{box}" aria-label="Tint what was invented"><label for="{box}">\
Tint what was invented</label>
  <p>What is tinted was invented by the model{much}. The photo itself shows the rest.</p>"""
    return f"""<figure class="compare{" exact" if exact else ""}"{exact}>
  <figcaption>{escape(about)}</figcaption>{choice}
  <div class="stack"><img alt="before" src="{before}">
    <div class="after"><img alt="after" src="{after}">{over}</div>
    <input type="range" min="0" max="100" value="50"
      aria-label="{said}: share of the picture that shows it before, in per cent">
    <div class="border"></div></div>
</figure>"""


def tint_address(share: Image.Image | None) -> str:
    """A tint as the address of a picture that contains it; empty if there is none.

    Args:
        share: a picture in grey that is bright where the prior has filled in details.
    """
    if share is None:
        return ""
    layer = tint(share)
    layer.thumbnail((SMOOTH, SMOOTH), Image.Resampling.BOX)
    stream = BytesIO()
    layer.save(stream, "PNG")
    return f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode('ascii')}"


def _file(name: str) -> str:
    return resources.files("d2ir_pl.reports").joinpath(name).read_text(encoding="utf-8")
