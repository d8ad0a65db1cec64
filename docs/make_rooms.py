"""The rooms of the package: their table for the documentation, and the diagram of the import rule.

    python docs/make_rooms.py

writes both anew: `docs/rooms.svg`, and the tables in `docs/architecture.md` and `CONTRIBUTING.md`.
The rule itself stands in `tests/test_rooms.py`.
"""

from __future__ import annotations

import ast
import re
import sys
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path
from xml.sax.saxutils import escape

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from test_rooms import FOUNDATION, PACKAGE, ROOMS  # noqa: E402

PAGES = (ROOT / "docs/architecture.md", ROOT / "CONTRIBUTING.md")
DIAGRAM = ROOT / "docs/rooms.svg"
SVG = "http://www.w3.org/2000/svg"
BOX, PASS, GAP, ROW, MARGIN = (108, 30), 4, 20, 74, 16
"""Sizes in pixels: of a room, where an arrow passes, between places, of a row, around all."""


def about(room: str) -> str:
    """The first sentence of a room's docstring, which says what it is for."""
    package = PACKAGE / room / "__init__.py"
    file = package if package.is_file() else PACKAGE / f"{room}.py"
    text = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    return " ".join(text.partition("\n\n")[0].split())


def below(room: str) -> set[str]:
    """All rooms that a room may reach, directly or through others."""
    return ROOMS[room].union(*(below(other) for other in ROOMS[room]))


def direct(room: str) -> set[str]:
    """The rooms that a room may import and reaches through no other."""
    return {r for r in ROOMS[room] if not any(r in below(o) for o in ROOMS[room] - {r})}


def levels() -> list[list[str]]:
    """The rooms from the top down; each lies above all that it may import."""
    height: dict[str, int] = {}
    while len(height) < len(ROOMS):
        for room, imported in ROOMS.items():
            if room not in height and imported <= height.keys():
                height[room] = 1 + max((height[other] for other in imported), default=-1)
    rows = [sorted(r for r in ROOMS if height[r] == h) for h in range(max(height.values()) + 1)]
    return rows[::-1]


def table() -> str:
    """A row a room: what it is for, and what it may import."""
    lines = ["| room | what it is for | may import |", "|---|---|---|"]
    for row in levels():
        for room in row:
            imported = ", ".join(f"`{name}`" for name in sorted(ROOMS[room])) or "no other room"
            lines.append(f"| `{room}` | {about(room)} | {imported} |")
    for room in sorted(FOUNDATION):
        lines.append(f"| `{room}` | {about(room)} | all rooms may import it |")
    return "\n".join(lines)


@dataclass(frozen=True)
class Place:
    """A place in a row: a room's box, or where the arrow of another row passes between boxes."""

    room: str
    to: str = ""

    @property
    def width(self) -> float:
        return PASS if self.to else BOX[0]


def layout() -> list[list[Place]]:
    """The places of each row, sorted by where those lie that an arrow comes from."""
    rows = [[r for r in row if not r.startswith("__")] for row in levels()]
    rows = [row for row in rows if row]
    height = {room: i for i, row in enumerate(rows) for room in row}
    places = [[Place(room) for room in row] for row in rows]
    for room, top in height.items():
        for other in direct(room):
            for i in range(top + 1, height[other]):
                places[i].append(Place(room, other))
    done: list[list[Place]] = []
    for row in places:
        above = {} if not done else dict(zip(done[-1], centres(done[-1]), strict=True))

        def importers(place: Place, above: dict[Place, float] = above) -> float:
            if place.to:
                before = [above.get(place, above.get(Place(place.room)))]
            else:
                before = [x for p, x in above.items() if place.room in (p.to or direct(p.room))]
            found = [x for x in before if x is not None]
            return sum(found) / len(found) if found else 0.0

        done.append(sorted(row, key=lambda place: (importers(place), place.room, place.to)))
    return done


def centres(row: list[Place]) -> list[float]:
    """The middle of each place, in pixels from the middle of the row."""
    ends = list(accumulate(place.width + GAP for place in row))
    return [e - GAP - p.width / 2 - (ends[-1] - GAP) / 2 for e, p in zip(ends, row, strict=True)]


def diagram() -> str:
    """The rooms as boxes, with an arrow to each that a room imports directly."""
    rows = layout()
    width = max(sum(p.width + GAP for p in row) for row in rows) - GAP + 2 * MARGIN
    height = len(rows) * ROW + BOX[1] + 2 * MARGIN
    points = [
        {
            p: (round(width / 2 + x, 1), MARGIN + i * ROW)
            for p, x in zip(row, centres(row), strict=True)
        }
        for i, row in enumerate(rows)
    ]
    corner = {place.room: at for row in points for place, at in row.items() if not place.to}
    shapes = []
    for room in corner:
        for other in sorted(direct(room)):
            passes = [row[Place(room, other)] for row in points if Place(room, other) in row]
            shapes.append(arrow([corner[room], *passes, corner[other]]))
    for room, (x, y) in corner.items():
        shapes.append(box(x - BOX[0] / 2, y, BOX[0], escape(room)))
    foundation = "every room may import: " + ", ".join(sorted(FOUNDATION))
    shapes.append(box(MARGIN, height - MARGIN - BOX[1], width - 2 * MARGIN, escape(foundation)))
    body = "\n".join(shapes)
    return f"""<svg xmlns="{SVG}" viewBox="0 0 {width:g} {height:g}" role="img">
<title>The rooms of d2ir_pl, each with arrows to the rooms that it imports</title>
<defs>
<marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">
<path d="M0 0 8 4 0 8z" fill="#777"/></marker>
<style>
.arrow {{ fill: none; stroke: #777; stroke-width: 1.2; marker-end: url(#tip) }}
.box {{ fill: #fff; stroke: #2a6; stroke-width: 1.5 }}
text {{ font: 13px sans-serif; text-anchor: middle; dominant-baseline: central; fill: #111 }}
</style>
</defs>
<rect width="100%" height="100%" fill="#fff"/>
{body}
</svg>
"""


def arrow(points: list[tuple[float, float]]) -> str:
    """From the bottom of the first box to the top of the last, straight down between others."""
    path = f"M{points[0][0]:g} {points[0][1] + BOX[1]:g}"
    for (x, y), (to_x, to_y) in pairwise(points):
        middle = (y + BOX[1] + to_y) / 2
        path += f" C{x:g} {middle:g} {to_x:g} {middle:g} {to_x:g} {to_y:g}"
        if (to_x, to_y) != points[-1]:
            path += f" V{to_y + BOX[1]:g}"
    return f'<path d="{path}" class="arrow"/>'


def box(x: float, y: float, width: float, text: str) -> str:
    """A box with a text, by its top left corner."""
    return (
        f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{BOX[1]}" rx="5" class="box"/>'
        f'<text x="{x + width / 2:g}" y="{y + BOX[1] / 2:g}">{text}</text>'
    )


def with_table(page: str) -> str:
    """A page with the table between its two marks made anew."""
    marks = r"(<!-- rooms: .*? -->\n).*?(<!-- end of rooms -->)"
    return re.sub(marks, lambda found: f"{found[1]}{table()}\n{found[2]}", page, flags=re.DOTALL)


def main() -> None:
    """Write the diagram and the tables."""
    DIAGRAM.write_text(diagram(), encoding="utf-8")
    for page in PAGES:
        page.write_text(with_table(page.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
