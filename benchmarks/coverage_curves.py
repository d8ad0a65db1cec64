"""Draw the table of `benchmarks.coverage`: what intervals hold, of what they promise.

    python -m benchmarks.coverage_curves docs/method.md docs/coverage.png

The table is read from a Markdown file. The first picture has a curve for each half of the
photographs of a task: the share of the pixels that intervals hold, less the promised one, for
intervals of 50 to 95 %. The second has for each task the shares of the tenths of the pixels by
local contrast, from the least to the greatest of both halves, and those of all pixels of a half,
for intervals of 90 %.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.held import LEVEL, LEVELS, TITLES

GOAL = (0.88, 0.92)
"""Shares of all pixels that intervals of 90 % are to hold."""
NUMBER = re.compile(r"\d+(?:\.\d+)?")


@dataclass(frozen=True)
class Curve:
    """What the intervals of a task hold.

    Attributes:
        task: its name.
        held: percentages of the pixels of each half by the promised share.
        tenths: least and greatest percentage among the tenths of the pixels.
    """

    task: str
    held: dict[float, list[float]]
    tenths: tuple[float, float]


def curves(text: str) -> list[Curve]:
    """The rows of the table in a text, of those that have values.

    Raises:
        ValueError: if there is no such table.
    """
    lines = text.splitlines()
    starts = [n for n, line in enumerate(lines) if _cells(line) == list(TITLES)]
    if not starts:
        raise ValueError("there is no table of benchmarks.coverage")
    found = []
    for line in lines[starts[0] + 2 :]:
        if not line.startswith("|"):
            break
        cells = dict(zip(TITLES, _cells(line), strict=True))
        columns = {level: f"held at {level:.0%}, %" for level in LEVELS} | {LEVEL: "held, %"}
        held = {level: _numbers(cells[title]) for level, title in columns.items()}
        if all(held.values()):
            tenths = _numbers(cells["tenths, %"])
            found.append(Curve(cells["task"], held, (min(tenths), max(tenths))))
    return found


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def _numbers(cell: str) -> list[float]:
    return [float(number) for number in NUMBER.findall(cell)]


def draw(found: Sequence[Curve], file: Path) -> None:
    """Draw curves of tasks, and their tenths."""
    import matplotlib.pyplot as plt

    height = 1.2 + 0.2 * len(found)
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, height), layout="constrained")
    promised = [100 * level for level in LEVELS]
    for number, curve in enumerate(found):
        colour = plt.get_cmap("turbo")(number / max(1, len(found) - 1))
        for half in zip(*(curve.held[level] for level in LEVELS), strict=True):
            off = [share - own for share, own in zip(half, promised, strict=True)]
            left.plot(promised, off, "o-", color=colour, markersize=3, linewidth=1)
        right.plot(curve.tenths, [number, number], color=colour, linewidth=3, alpha=0.6)
        own = curve.held[LEVEL]
        right.plot(own, [number] * len(own), "o", color=colour, markersize=5)
    low, high = (100 * share for share in GOAL)
    left.axhspan(low - 100 * LEVEL, high - 100 * LEVEL, color="grey", alpha=0.15)
    left.set_xlabel("promised share of the pixels, %")
    left.set_ylabel("held less promised, points")
    right.axvspan(low, high, color="grey", alpha=0.15)
    right.set_yticks(range(len(found)), [curve.task for curve in found], fontsize=8)
    right.set_ylim(len(found) - 0.5, -0.5)
    right.set_xlabel("held by intervals of 90 %, %")
    for axes in (left, right):
        axes.grid(alpha=0.3)
    figure.savefig(file, dpi=110)


def main(arguments: Sequence[str] | None = None) -> None:
    """Draw the table of a Markdown file."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("table", type=Path, help="Markdown file with the table")
    parser.add_argument("picture", type=Path, help="PNG file to write")
    options = parser.parse_args(arguments)
    draw(curves(options.table.read_text(encoding="utf-8")), options.picture)


if __name__ == "__main__":
    main()
