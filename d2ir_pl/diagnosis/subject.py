"""A sharp subject before, or behind, what is out of focus: there a photo shows how sharp it is.

A lens has one plane of focus. A portrait, a flower or a sign before a soft ground is no blurred
photo, though most of its edges may be soft, and a blur that all of it has is shown by its sharpest
part alone. So that part is looked for among the strongest edges, which blur makes weak.
"""

from __future__ import annotations

from d2ir_pl.diagnosis.large import GRID, TellingPart, strongest_part
from d2ir_pl.estimators.edge_width import EdgeWidths, edge_widths

SHARES = 3, 5
"""How many times the part fits into the photo's shorter side: a large subject has more edges, and a
small one fills a small part alone."""
SMALLEST = 64
"""Least side in pixels of the part: smaller ones have too few edges to tell anything."""
UNEVEN = 0.45
"""Width of the edges of the part, in units of that of the edges of the whole, below which it counts
as a subject of its own (docs/experiments.md)."""
WIDE = 0.6
"""Width in pixels of the edges of the whole up to which it is as sharp as its subject."""


def sharper_part(photo: TellingPart, edges: EdgeWidths, orientation: int) -> TellingPart | None:
    """The part that is much sharper than the photo; None where there is none.

    Args:
        photo: the photo, or what is measured of it.
        edges: widths of its edges.
        orientation: as EXIF has it, how its file stores it.
    """
    shorter = min(photo.y.shape[-2:])
    if edges.typical <= WIDE:
        return None
    for side in dict.fromkeys(max(SMALLEST, GRID * round(shorter / (n * GRID))) for n in SHARES):
        if 2 * side > shorter:
            continue
        part = strongest_part(photo.y, photo.observed, orientation, side)
        own = edge_widths(part.y, part.observed)
        if own.count and own.typical < UNEVEN * edges.typical:
            return part
    return None


def place(middle: tuple[float, float]) -> str:
    """Where in the photo a place is, in words, from its shares of height and width."""
    rows, columns = ("top", "middle", "bottom"), ("left", "middle", "right")
    row, column = (min(2, int(3 * share)) for share in middle)
    words = dict.fromkeys((rows[row], columns[column]))
    return " ".join(words)
