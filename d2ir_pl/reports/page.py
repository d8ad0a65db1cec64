"""One page that shows all results of a folder, in a file that needs nothing else."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
from PIL import Image

from d2ir_pl.errors import OutputError
from d2ir_pl.image_io import ImageError, as_picture, read_image
from d2ir_pl.reports.chart import loss_chart
from d2ir_pl.results.folder import ResultFolder
from d2ir_pl.results.record import Record
from d2ir_pl.results.warnings import warnings

LARGEST = 640
"""Longest side in pixels of a picture on the page."""

DETAILED = 200
"""Photos that are shown with all their pictures; of further ones the table has the numbers."""

COLUMNS = ["photo", "status", "width", "height", "noise", "residual / noise", "PSNR dB", "gain dB"]
COLUMNS += ["SSIM", "evaluations", "seconds"]


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
        raise OutputError(f"{folder.root} holds no results: name the --output of a run")
    shown = [r for r in records if r.status == "restored"][:detailed]
    anchors = {record.name: f"photo-{i}" for i, record in enumerate(shown)}
    photos = [_photo(folder, record, anchors[record.name]) for record in shown]
    thumbnails = {photo["name"]: photo["thumbnail"] for photo in photos}
    restored = sum(r.status == "restored" for r in records)
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    template = (
        resources.files("d2ir_pl.reports").joinpath("page.html.j2").read_text(encoding="utf-8")
    )
    settings = folder.root / "config.yaml"
    page = environment.from_string(template).render(
        title=f"Restored photos: {folder.root.resolve().name}",
        summary=_summary(records),
        columns=COLUMNS,
        rows=[_row(r, anchors.get(r.name), thumbnails.get(r.name)) for r in records],
        photos=photos,
        left_out=restored - len(shown),
        settings=settings.read_text(encoding="utf-8") if settings.is_file() else "",
    )
    folder.write_page(page)
    return folder.report


def _summary(records: Sequence[Record]) -> str:
    restored = [r for r in records if r.status == "restored"]
    text = f"{len(restored)} restored, {len(records) - len(restored)} failed."
    gains = [g for r in restored if (g := r.gain) is not None]
    if gains:
        text += f" Mean gain {sum(gains) / len(gains):+.2f} dB, the smallest {min(gains):+.2f} dB."
    warned = sum(bool(warnings(r)) for r in restored)
    return text + (f" {warned} with a warning." if warned else "")


def _row(record: Record, anchor: str | None, thumbnail: str | None) -> dict[str, Any]:
    values = (
        (record.width, "d"),
        (record.height, "d"),
        (record.sigma_y, ".4f"),
        (record.residual_over_sigma, ".2f"),
        (record.psnr, ".2f"),
        (record.gain, "+.2f"),
        (record.ssim, ".3f"),
        (record.nfe, "d"),
        (record.seconds, ".1f"),
    )
    return {
        "name": record.name,
        "anchor": anchor,
        "thumbnail": thumbnail,
        "status": f"failed: {record.reason}" if record.status == "failed" else record.status,
        "failed": record.status == "failed",
        "cells": [
            {"value": value, "text": "" if value is None else format(value, form)}
            for value, form in values
        ],
    }


def _photo(folder: ResultFolder, record: Record, anchor: str) -> dict[str, Any]:
    name = record.name
    numbers = [
        ("size", f"{record.width}x{record.height}"),
        ("noise", None if record.sigma_y is None else f"{record.sigma_y:.4f} of the range"),
        ("residual / noise", None if (r := record.residual_over_sigma) is None else f"{r:.2f}"),
        ("PSNR", None if record.psnr is None else f"{record.psnr:.2f} dB"),
        ("before", None if record.input_psnr is None else f"{record.input_psnr:.2f} dB"),
        ("SSIM", None if record.ssim is None else f"{record.ssim:.4f}"),
        ("reblur PSNR", None if record.reblur_psnr is None else f"{record.reblur_psnr:.2f} dB"),
        ("U-Net evaluations", record.nfe),
        ("samples", record.num_samples if record.num_samples > 1 else None),
        ("tile", None if record.tile is None else f"{record.tile} pixels"),
        ("stopped by", record.stopped_by or None),
        ("precision", record.precision or None),
        ("seed", record.seed),
        ("seconds", record.seconds),
    ]
    restored = _picture(folder.restored(name))
    return {
        "name": name,
        "anchor": anchor,
        "warnings": warnings(record),
        "reasons": record.reasons,
        "restored": _uri(restored),
        "thumbnail": _uri(restored, side=96),
        "before": _uri(_picture(folder.preview(name))),
        "strip": _uri(_picture(folder.film_strip(name)), side=4096),
        "degradation": _uri(_picture(folder.picture(name)), format="PNG"),
        "uncertainty": _uri(_picture(folder.uncertainty(name))),
        "phi": [*_readable(record.phi), *_last_change(record.phi_change)],
        "numbers": [(name, value) for name, value in numbers if value is not None],
        "chart": loss_chart(record.losses, record.sigma_y),
    }


def _readable(phi: dict[str, Any], prefix: str = "") -> Sequence[tuple[str, str]]:
    """Names and numbers; tables such as a kernel are in the picture."""
    rows: list[tuple[str, str]] = []
    for name, value in phi.items():
        if isinstance(value, dict):
            rows += _readable(value, f"{prefix}{name}.")
        elif name == "parts":
            for i, part in enumerate(value):
                rows += _readable(part, f"{i + 1}. ")
        elif not isinstance(value, list):
            text = f"{value:.4g}" if isinstance(value, float) else str(value)
            rows.append((prefix + name.replace("_", " "), text))
        elif len(value) <= 4 and not any(isinstance(v, list | dict) for v in value):
            rows.append((prefix + name.replace("_", " "), ", ".join(map(str, value))))
    return rows


def _last_change(changes: Sequence[float | None]) -> Sequence[tuple[str, str]]:
    last = changes[-1] if changes else None
    return [] if last is None else [("change in the last step", f"{100 * last:.2g}%")]


def _picture(path: Path) -> Image.Image | None:
    try:
        return as_picture(read_image(path).pixels)
    except ImageError:
        return None


def _uri(image: Image.Image | None, side: int = LARGEST, format: str = "JPEG") -> str:
    """A picture as the address of an image, no larger than `side`; empty if there is none."""
    if image is None:
        return ""
    image = image.copy()
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    image.save(stream, format, **({"quality": 88} if format == "JPEG" else {}))
    kind = format.lower()
    return f"data:image/{kind};base64,{base64.b64encode(stream.getvalue()).decode()}"
