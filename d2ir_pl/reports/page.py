"""One page that shows all results of a folder, in a file that needs nothing else."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from pathlib import Path

import jinja2
from markupsafe import Markup
from PIL.Image import Image

from d2ir_pl.errors import OutputError
from d2ir_pl.reports import slider
from d2ir_pl.reports.chart import loss_chart
from d2ir_pl.reports.numbers import files, formatted, last_change, numbers, readable, sizes
from d2ir_pl.reports.pictures import address, data_uri, opened, read_picture, reduced
from d2ir_pl.results.folder import ResultFolder
from d2ir_pl.results.record import Record
from d2ir_pl.results.warnings import halves, places, warnings
from d2ir_pl.schema import MOST_YAML, read_text

LARGEST = 640
"""Longest side in pixels of a picture on the page."""

THUMBNAIL = 96
"""Longest side in pixels of a picture in the table."""

LONGEST_STRIP = 4096
"""Longest side in pixels of the estimates along the way, which stand side by side."""

DETAILED = 200
"""Photos that are shown with all their pictures; of further ones the table has the numbers."""

COLUMNS = ["width", "height", "noise", "PSNR dB", "gain dB", "SSIM", "seconds"]
"""Numbers in the table, of which those are left out that no photo has; the others are among the
details of each photo."""


@dataclass(frozen=True)
class Cell:
    """A number in the table: its value, by which the column is sorted, and how it is written."""

    value: float | None
    text: str


@dataclass(frozen=True)
class Article:
    """All that the page shows of one photo; a picture is an address with `data:`, or empty.

    Attributes:
        name: the photo's.
        anchor: identifier of the article, to which the table links.
        warnings: sentences that the owner of the photo should know.
        reasons: why the photo was restored as it was.
        restored: the restored picture.
        compared: that and the photo as it came in, with a slider; None where that is not at hand.
        strip: estimates of the image along the way.
        degradation: the estimated degradation, such as a kernel.
        places: how alike the blur of each part of the photo is to that of the others, by rows;
            empty where they were not compared.
        halves: the same for the halves of these parts.
        uncertainty: standard deviation between several restorations.
        interval: half the width of each pixel's interval.
        interval_level: share of pixels whose intervals hold the truth, such as `90 %`.
        phi: names and values of the degradation's parameters.
        numbers: names and values of everything else.
        sizes: a row for each size of details: what it is, the share that was filled in, and what is
            left over of the photo in units of its noise.
        files: what tells the files apart that the restoration is of: the photo's, the restored
            one's and the model's.
        chart: curve of the losses.
    """

    name: str
    anchor: str
    warnings: list[str]
    reasons: list[str]
    restored: str
    compared: Markup | None
    strip: str
    degradation: str
    places: list[list[str]]
    halves: str
    uncertainty: str
    interval: str
    interval_level: str
    phi: list[tuple[str, str]]
    numbers: list[tuple[str, object]]
    sizes: list[tuple[str, str, str]]
    files: list[tuple[str, str]]
    chart: Markup | None


@dataclass(frozen=True)
class Row:
    """A photo in the table.

    Attributes:
        name: the photo's.
        status: what became of it.
        failed: whether it could not be restored.
        cells: its numbers, in the order of `COLUMNS`.
        anchor: identifier of the article that shows its pictures; empty where there is none.
        thumbnail: the restored picture, as `Article` has it.
    """

    name: str
    status: str
    failed: bool
    cells: list[Cell]
    anchor: str
    thumbnail: str


def write_report(folder: ResultFolder, detailed: int = DETAILED) -> Path:
    """Write `report.html`, and return its path.

    Args:
        folder: what `predict` has written.
        detailed: how many photos are shown with pictures and curves.

    Raises:
        OutputError: if there are no results, or the page cannot be written.
    """
    records = folder.records(folder.names())
    if not records:
        raise OutputError(
            f"{folder.root} holds no results{_why(folder)}: name the --output of a run"
        )
    restored = [r for r in records if r.status == "restored"]
    anchors = {record.name: f"photo-{i}" for i, record in enumerate(restored[:detailed])}
    # Each is decoded once, and kept as the small file that the page holds.
    shown = {name: reduced(_restored(folder, name), LARGEST) for name in anchors}
    rows = [_row(r, anchors.get(r.name, ""), shown.get(r.name, b"")) for r in records]
    kept = [any(row.cells[i].text for row in rows) for i in range(len(COLUMNS))]
    columns = [name for name, some in zip(COLUMNS, kept, strict=True) if some]
    rows = [
        replace(row, cells=[cell for cell, some in zip(row.cells, kept, strict=True) if some])
        for row in rows
    ]
    # The others are read when their turn comes: those of all photos would take much memory.
    parts = _template().generate(
        title=f"Restored photos: {folder.root.resolve().name}",
        summary=_summary(records),
        columns=["photo", "status", *columns],
        rows=rows,
        articles=(_article(folder, name, at, shown[name]) for name, at in anchors.items()),
        left_out=len(restored) - len(anchors),
        settings=_settings(folder.config),
        slider_style=Markup(slider.style()),
        slider_script=Markup(slider.script()),
    )
    folder.write_page(parts)
    return folder.report


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    source = resources.files("d2ir_pl.reports").joinpath("page.html.j2")
    return environment.from_string(source.read_text(encoding="utf-8"))


def _why(folder: ResultFolder) -> str:
    """Why a folder has no records, where it has damaged ones."""
    name, reason = next(iter(folder.damaged().items()), ("", ""))
    return f" that can be read ({folder.json(name)} {reason})" if name else ""


def _settings(path: Path) -> str:
    """The settings as they are written, or why they cannot be shown; empty if there are none."""
    if not os.path.lexists(path):
        return ""
    try:
        return read_text(path, MOST_YAML)
    except ValueError as error:
        return f"# {path.name} {error}"


def _summary(records: Sequence[Record]) -> str:
    restored = [r for r in records if r.status == "restored"]
    text = f"{len(restored)} restored, {len(records) - len(restored)} failed."
    gains = [g for r in restored if (g := r.gain) is not None]
    if gains:
        text += f" Mean gain {sum(gains) / len(gains):+.2f} dB, the smallest {min(gains):+.2f} dB."
    warned = sum(bool(warnings(r)) for r in restored)
    return text + (f" {warned} with a warning." if warned else "")


def _row(record: Record, anchor: str, shown: bytes) -> Row:
    values = (
        (record.width, "d"),
        (record.height, "d"),
        (record.sigma_y, ".4f"),
        (record.psnr, ".2f"),
        (record.gain, "+.2f"),
        (record.ssim, ".3f"),
        (record.seconds, ".1f"),
    )
    failed = record.status == "failed"
    return Row(
        record.name,
        f"failed: {record.reason}" if failed else record.status,
        failed,
        [Cell(value, formatted(value, form)) for value, form in values],
        anchor,
        data_uri(opened(shown), THUMBNAIL),
    )


def _restored(folder: ResultFolder, name: str) -> Image | None:
    """The restored picture in sRGB."""
    return read_picture(folder.preview_restored(name)) or read_picture(folder.restored(name))


def _article(folder: ResultFolder, name: str, anchor: str, shown: bytes) -> Article:
    record = folder.read(name) or Record(name, "restored", "", "")
    return Article(
        name,
        anchor,
        warnings(record),
        record.reasons,
        restored=address(shown),
        compared=_compared(folder, record, anchor, address(shown)),
        strip=data_uri(read_picture(folder.film_strip(name)), LONGEST_STRIP),
        degradation=data_uri(read_picture(folder.picture(name)), LARGEST, "png"),
        places=[["" if v is None else f"{v:.0%}" for v in row] for row in places(record)],
        halves=formatted(halves(record), ".0%"),
        uncertainty=data_uri(read_picture(folder.uncertainty(name)), LARGEST),
        interval=data_uri(read_picture(folder.interval(name)), LARGEST),
        interval_level=formatted(record.interval_level, ".0%"),
        phi=[*readable(record.phi), *last_change(record.phi_change)],
        numbers=numbers(record),
        sizes=sizes(record),
        files=files(record),
        chart=loss_chart(record.losses, record.sigma_y),
    )


def _compared(folder: ResultFolder, record: Record, anchor: str, restored: str) -> Markup | None:
    """A photo before and after, as far as it is known how it came in."""
    before = data_uri(read_picture(folder.preview(record.name)), LARGEST)
    if not before or not restored:
        return None
    layer = slider.tint_address(read_picture(folder.filled_in(record.name)))
    about = f"{record.name} as it came in on the left, restored on the right"
    return Markup(slider.compared(before, restored, about, layer, record.filled_in, anchor))
