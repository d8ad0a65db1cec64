"""The page's own pieces of HTML: the picture to paint on, and pictures before and after."""

from __future__ import annotations

import base64
from html import escape
from io import BytesIO
from pathlib import Path

from PIL import Image

from d2ir_pl.web.result import Comparison

SCRIPT = Path(__file__).with_name("page.js")
"""What makes these pieces work."""

STYLE = Path(__file__).with_name("page.css")
"""What they look like."""

SHOWN = 1600
"""Longest side in pixels of a whole picture before and after."""

SMOOTH = 800
"""Longest side in pixels of the tint, which has no fine details."""


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

    A box tints on the right what the prior has filled in, where that is known.

    Args:
        shown: the picture on the left, that on the right, and its tint.
        about: what they show.
        share: share of the details of the whole photo that was filled in, in [0, 1].
        exact: whether they are shown pixel for pixel, as far as there is room, and never scaled.
    """
    width, height = shown.before.size
    kind = "compare exact" if exact else "compare"
    limit = 0 if exact else SHOWN
    choice = layer = ""
    if shown.invented is not None:
        box, layer = f"tint-{'part' if exact else 'whole'}", _layer(shown.invented)
        much = "" if share is None else f" ({share:.0%} of all details)"
        choice = f"""
  <input type="checkbox" id="{box}"><label for="{box}">Tint what was invented</label>
  <p>What is tinted was invented by the model{much}. The photo itself shows the rest.</p>"""
    return f"""<figure class="{kind}" style="--width: {width}px; --ratio: {width} / {height}">
  <figcaption>{escape(about)}</figcaption>{choice}
  <div class="stack"><img alt="before" src="{_uri(shown.before, limit)}">
    <div class="after"><img alt="after" src="{_uri(shown.after, limit)}">{layer}</div>
    <input type="range" min="0" max="100" value="50"
      aria-label="{escape(about, quote=True)}: share of the picture that shows it before, \
in per cent">
    <div class="border"></div></div>
</figure>"""


def _layer(tint: Image.Image) -> str:
    """A tint as a picture that is stretched over the one below it."""
    tint = tint.copy()
    tint.thumbnail((SMOOTH, SMOOTH), Image.Resampling.BOX)
    stream = BytesIO()
    tint.save(stream, "PNG")
    data = base64.b64encode(stream.getvalue()).decode("ascii")
    return f'<img class="tint" alt="what was invented" src="data:image/png;base64,{data}">'


def _uri(picture: Image.Image, longest: int = 0) -> str:
    """A picture as an address that holds it: nothing has to be kept for it on the server."""
    if longest and max(picture.size) > longest:
        picture = picture.copy()
        picture.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    stream = BytesIO()
    picture.convert("RGB").save(stream, "JPEG", quality=95, subsampling=0)
    return f"data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode('ascii')}"
