"""The page's own pieces of HTML: the picture to paint on, and pictures before and after."""

from __future__ import annotations

import base64
from html import escape
from io import BytesIO
from pathlib import Path

from PIL import Image

from d2ir_pl.reports import slider
from d2ir_pl.web.result import Comparison

_SCRIPT, _STYLE = (Path(__file__).with_name(f"page.{kind}") for kind in ("js", "css"))

SHOWN = 1600
"""Longest side in pixels of a whole picture before and after."""


def style() -> str:
    """What these pieces look like, in CSS."""
    return slider.style() + _STYLE.read_text(encoding="utf-8")


def script() -> str:
    """What makes these pieces work, as a function in JavaScript."""
    return f"() => {{\n{slider.script()}({_SCRIPT.read_text(encoding='utf-8')})();\n}}"


def surface(photo: Image.Image, name: str) -> str:
    """A photo on which a visitor can paint.

    Args:
        photo: the photo, of any size.
        name: what it is called.
    """
    return f"""<div class="paint">
  <div class="stack"><img alt="{escape(name, quote=True)}, as it was dropped" src="{_uri(photo)}">
    <canvas aria-label="The photo to paint on: arrow keys move the brush, the space bar lowers and \
lifts it" role="img"></canvas></div>
  <div class="tools" role="group" aria-label="Painting">
    <button type="button" data-do="paint" aria-pressed="false">Paint on it</button>
    <label>Brush <input type="range" min="0.5" max="20" step="0.5" value="2"
      aria-label="Size of the brush, in per cent of the photo"></label>
    <button type="button" data-do="undo" disabled>Undo</button>
    <button type="button" data-do="clear" disabled>Clear</button>
    <span aria-live="polite"></span>
  </div>
</div>"""


def compared(shown: Comparison, about: str, share: float | None = None, exact: bool = False) -> str:
    """Two pictures of one size, of which a slider shows the left of one and the right of the other.

    Args:
        shown: the picture on the left, that on the right, and what was invented.
        about: what they show.
        share: share of the details of the whole photo that was filled in, in [0, 1].
        exact: whether they are shown pixel for pixel, as far as there is room, and never scaled.
    """
    limit = 0 if exact else SHOWN
    return slider.compared(
        _uri(shown.before, limit),
        _uri(shown.after, limit),
        about,
        slider.tint_address(shown.invented),
        share,
        "part" if exact else "whole",
        shown.before.width if exact else None,
    )


def _uri(picture: Image.Image, longest: int = 0) -> str:
    """A picture as an address that holds it: nothing has to be kept for it on the server."""
    if longest and max(picture.size) > longest:
        picture = picture.copy()
        picture.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    stream = BytesIO()
    picture.convert("RGB").save(stream, "JPEG", quality=95, subsampling=0)
    return f"data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode('ascii')}"
