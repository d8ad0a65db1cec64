"""The page's own pieces of HTML: the picture to paint on, and pictures before and after."""

from __future__ import annotations

import base64
from html import escape
from io import BytesIO
from pathlib import Path

from PIL import Image

SCRIPT = Path(__file__).with_name("page.js")
"""What makes these pieces work."""

STYLE = Path(__file__).with_name("page.css")
"""What they look like."""

SHOWN = 1600
"""Longest side in pixels of a whole picture before and after."""


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
    <label>Brush <input type="range" min="0.5" max="20" step="0.5" value="4"
      aria-label="Size of the brush, in per cent of the photo"></label>
    <button type="button" data-do="undo" disabled>Undo</button>
    <button type="button" data-do="clear" disabled>Clear</button>
    <span aria-live="polite"></span>
  </div>
</div>"""


def compared(before: Image.Image, after: Image.Image, about: str, exact: bool = False) -> str:
    """Two pictures of one size, of which a slider shows the left of one and the right of the other.

    Args:
        before: the picture on the left.
        after: the picture on the right.
        about: what they show.
        exact: whether they are shown pixel for pixel, as far as there is room, and never scaled.
    """
    width, height = before.size
    kind = "compare exact" if exact else "compare"
    limit = 0 if exact else SHOWN
    return f"""<figure class="{kind}" style="--width: {width}px; --ratio: {width} / {height}">
  <figcaption>{escape(about)}</figcaption>
  <div class="stack"><img alt="before" src="{_uri(before, limit)}">
    <div class="after"><img alt="after" src="{_uri(after, limit)}"></div>
    <input type="range" min="0" max="100" value="50"
      aria-label="{escape(about, quote=True)}: share of the picture that shows it before, \
in per cent">
    <div class="border"></div></div>
</figure>"""


def _uri(picture: Image.Image, longest: int = 0) -> str:
    """A picture as an address that holds it: nothing has to be kept for it on the server."""
    if longest and max(picture.size) > longest:
        picture = picture.copy()
        picture.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    stream = BytesIO()
    picture.convert("RGB").save(stream, "JPEG", quality=95, subsampling=0)
    return f"data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode('ascii')}"
