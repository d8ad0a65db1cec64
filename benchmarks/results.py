"""The results of a run of the quality benchmark: a CSV file, pictures, and tables of them."""

from __future__ import annotations

import csv
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks import tables
from benchmarks.scores import Row
from benchmarks.tasks import Task
from d2ir_pl.image_io import read_image, write_png

_COLUMNS = (
    *("task", "method", "image", "input", "psnr", "aligned", "ssim", "reblur", "similarity"),
    *("residual_over_sigma", "calibration", "grey_psnr", "colour", "nfe", "seconds"),
)


class Results:
    """Rows and pictures of a run, written as they come, so that it can be interrupted.

    Args:
        folder: where they are written; the rows that it holds are read.
        file: where the rows are written; `quality.csv` in the folder if None.
        columns: what of a row is written.

    Attributes:
        rows: the row of each image, under (task, method, image).
    """

    def __init__(
        self, folder: Path, file: Path | None = None, columns: Sequence[str] = _COLUMNS
    ) -> None:
        self.folder = folder
        self.rows: dict[tuple[str, str, str], Row] = {}
        self._file = file or folder / "quality.csv"
        self._columns = columns
        if self._file.is_file():
            with self._file.open(newline="") as opened:
                for row in csv.DictReader(opened):
                    values = {name: _value(text) for name, text in row.items()}
                    self.rows[row["task"], row["method"], row["image"]] = values

    def add(self, task: str, method: str, image: str, row: Row, x: Tensor) -> None:
        """Write the row and the picture of an image `(1, 3, H, W)`."""
        path = self.picture(task, method, image)
        for place in (path, self._file):
            place.parent.mkdir(parents=True, exist_ok=True)
        write_png(path, x[0].clamp(-1, 1))
        new = not self._file.is_file() or not self._file.stat().st_size
        row = {"task": task, "method": method, "image": image, **row}
        with self._file.open("a", newline="") as opened:
            writer = csv.DictWriter(opened, self._columns, extrasaction="ignore")
            if new:
                writer.writeheader()
            writer.writerow(row)
        self.rows[task, method, image] = row

    def of(self, task: str, method: str) -> dict[str, Row]:
        """The rows of a task and a method, by image."""
        return {i: row for (t, m, i), row in self.rows.items() if (t, m) == (task, method)}

    def keep(self, images: dict[str, set[str]]) -> None:
        """Forget the rows of all but these images of each task; the file keeps them."""
        self.rows = {key: row for key, row in self.rows.items() if key[2] in images.get(key[0], ())}

    def sheet(self, task: Task, methods: list[str]) -> None:
        """Write a picture of a task: degraded, each method, clean; each column is an image."""
        lines = [task.shown()]
        for method in methods:
            paths = [self.picture(task.name, method, image) for image in task.names]
            done = [read_image(p).pixels if p.is_file() else None for p in paths]
            if any(x is not None for x in done):
                blank = torch.ones_like(task.reference[0])
                lines.append(torch.stack([blank if x is None else x for x in done]))
        lines.append(task.reference)
        sheet = torch.cat([torch.cat(list(images), 2) for images in lines], 1)
        write_png(self.folder / f"{task.name}.png", sheet.clamp(-1, 1))

    def picture(self, task: str, method: str, image: str) -> Path:
        """The file of a restored image."""
        return self.folder / "restored" / task / method / f"{image}.png"


def _value(text: str) -> Any:
    """A cell of the CSV file as a number, text, or None if it is empty."""
    try:
        return float(text)
    except ValueError:
        return text or None


# ---- Tables ----


def line(rows: list[Row], title: str) -> str:
    """The line of a task and a method in the table of `table`."""
    gains = [float(row["psnr"]) - float(row["input"]) for row in rows]
    return tables.row(
        rows[0]["task"],
        title,
        len(rows),
        _mean(rows, "input", 2),
        _mean(rows, "psnr", 2),
        f"{statistics.fmean(gains):+.2f}",
        f"{min(gains):+.2f}",
        _mean(rows, "ssim", 3),
        _mean(rows, "reblur", 2),
        _mean(rows, "similarity", 3),
        _mean(rows, "nfe", 0),
        _mean(rows, "seconds", 1),
    )


def table(results: Results, tasks: list[str], titles: dict[str, str]) -> str:
    """A line for each task and method.

    Args:
        results: the results.
        tasks: names of the tasks.
        titles: titles of the methods, by their names.
    """
    lines = [
        tables.head(
            *("task", "method", "images", "input dB", "PSNR dB", "gain", "smallest gain", "SSIM"),
            *("reblur dB", "kernel similarity", "U-Net evaluations", "s an image"),
        )
    ]
    for task in tasks:
        for method, title in titles.items():
            if rows := results.of(task, method):
                lines.append(line(list(rows.values()), title))
    return "\n".join(lines)


def side_by_side(results: Results, tasks: list[str], titles: dict[str, str]) -> str:
    """Mean PSNR of all methods over those images of a task that each of them restored.

    Args:
        results: the results.
        tasks: names of the tasks.
        titles: titles of the methods, by their names.
    """
    used = [name for name in titles if any(method == name for _, method, _ in results.rows)]
    lines = [tables.head("task", "images", "input", *(titles[name] for name in used))]
    for task in tasks:
        rows = [results.of(task, name) for name in used]
        done = [images for images in rows if images]
        if done:
            common = set.intersection(*(set(images) for images in done))
            cells = [_mean_of(images, common, "psnr") for images in rows]
            given = _mean_of(done[0], common, "input")
            lines.append(tables.row(task, len(common), given, *cells))
    return "\n".join(lines)


def colours(results: Results, titles: dict[str, str]) -> str:
    """Colours of the colourised images, where PSNR rewards grey; empty if there are none."""
    lines = []
    for method, title in titles.items():
        if rows := list(results.of("colorization", method).values()):
            lines.append(tables.row(title, _mean(rows, "grey_psnr", 2), _mean(rows, "colour", 2)))
    if not lines:
        return ""
    titles_of_columns = ("grey of the result against the input dB", "colourfulness / original")
    return "\n".join([tables.head("method", *titles_of_columns), *lines])


def calibration(results: Results, tasks: list[str]) -> str:
    """Whether samples differ at those pixels where their mean is wrong; empty if unknown."""
    lines = []
    for task in tasks:
        rows = results.of(task, "samples").values()
        values = [float(r["calibration"]) for r in rows if r.get("calibration") is not None]
        if values:
            mean = statistics.fmean(values)
            lines.append(tables.row(task, len(values), f"{mean:.2f}", f"{min(values):.2f}"))
    if not lines:
        return ""
    correlation = "rank correlation of deviation and error"
    return "\n".join([tables.head("task", "images", correlation, "least"), *lines])


def _mean(rows: list[Row], column: str, digits: int) -> str:
    """The mean of a column over the rows that have it; empty if none has."""
    values = [float(row[column]) for row in rows if row.get(column) is not None]
    return f"{statistics.fmean(values):.{digits}f}" if values else ""


def _mean_of(images: dict[str, Row], common: set[str], column: str) -> str:
    """The mean of a column over some images; empty if nothing is known of them."""
    return f"{statistics.fmean(float(images[i][column]) for i in common):.2f}" if images else ""
