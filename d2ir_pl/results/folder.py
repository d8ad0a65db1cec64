"""The output folder: where everything lies, what is complete, and the table of all results."""

from __future__ import annotations

import csv
import fcntl
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Literal

from PIL import Image
from torch import Tensor

from d2ir_pl.errors import OutputError
from d2ir_pl.image_io import is_draft, write_png
from d2ir_pl.results.record import Record

WHITE_STD = 0.1
"""The standard deviation in [0, 1] that is white in a picture of the uncertainty."""


class ResultFolder:
    """Layout of an output folder, and what is already in it.

    An image is complete when its JSON is there under the same settings and its restored picture
    exists; the JSON is written first and the picture is renamed into place last.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def restored(self, name: str) -> Path:
        return self.root / "restored" / f"{name}.png"

    def degraded(self, name: str) -> Path:
        return self.root / "degraded" / f"{name}.png"

    def picture(self, name: str) -> Path:
        return self.root / "degradation" / f"{name}.png"

    def uncertainty(self, name: str) -> Path:
        return self.root / "uncertainty" / f"{name}.png"

    def preview(self, name: str) -> Path:
        """The photo as it came in, at the size of the restored one, for the report."""
        return self.root / "preview" / f"{name}.input.jpg"

    def film_strip(self, name: str) -> Path:
        """Estimates of the image along the way, side by side, for the report."""
        return self.root / "preview" / f"{name}.steps.jpg"

    @property
    def report(self) -> Path:
        return self.root / "report.html"

    def json(self, name: str) -> Path:
        return self.root / "degradation" / f"{name}.json"

    @property
    def metrics(self) -> Path:
        return self.root / "metrics.csv"

    @property
    def _metrics_draft(self) -> Path:
        return self.metrics.with_suffix(".csv.tmp")

    def prepare(self) -> None:
        """Create the folder.

        Raises:
            OutputError: if that is impossible, or it cannot be written to.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            probe = self.root / f".writable-{os.getpid()}"
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise OutputError(
                f"--output {self.root} cannot be written to ({error.strerror}): choose another "
                "folder"
            ) from None

    def sweep(self) -> None:
        """Remove what a run that was killed has left half-written; call it under the lock."""
        with self.writing():
            for draft in (self._metrics_draft, self.report.with_suffix(".html.tmp")):
                draft.unlink(missing_ok=True)
            for folder in ("restored", "degradation", "degraded", "uncertainty"):
                for path in (self.root / folder).rglob("*.tmp"):
                    if is_draft(path) or (folder == "degradation" and path.match("*.json.tmp")):
                        path.unlink(missing_ok=True)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Say in one sentence which file cannot be written inside."""
        try:
            yield
        except OSError as error:
            where = error.filename2 or error.filename or self.root
            raise OutputError(
                f"{where} cannot be written ({error.strerror or error}): make room for it, or "
                "choose another --output; finished images are kept"
            ) from error

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the folder for this process; a crash releases it.

        Raises:
            OutputError: if another run holds it.
        """
        with (self.root / ".lock").open("w") as file:
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except (BlockingIOError, PermissionError):
                raise OutputError(
                    f"another run is writing to {self.root}: wait for it or choose another --output"
                ) from None
            except OSError as error:
                raise OutputError(
                    f"--output {self.root} cannot be locked ({error.strerror}): choose a folder on "
                    "a local disk"
                ) from None
            yield

    def state(
        self, name: str, fingerprint: str, input_sha256: str
    ) -> Literal["missing", "complete", "other settings"]:
        """Whether an image has to be restored (again)."""
        record = self.read(name)
        if record is None or record.status != "restored" or not self.restored(name).is_file():
            return "missing"
        if record.input_sha256 != input_sha256:
            return "missing"
        return "complete" if record.fingerprint == fingerprint else "other settings"

    def read(self, name: str) -> Record | None:
        """The record of an image; None if there is none or it is damaged."""
        try:
            return Record(**json.loads(self.json(name).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None

    def write(
        self,
        record: Record,
        restored: Tensor,
        picture: Tensor | None = None,
        *,
        alpha: Tensor | None = None,
        bit_depth: int = 8,
        grey: bool = False,
        icc_profile: bytes | None = None,
        degraded: Tensor | None = None,
        std: Tensor | None = None,
    ) -> None:
        """Write everything about one restored image; the restored picture comes last.

        Args:
            record: what the JSON says.
            restored: `(3, H, W)` in [-1, 1].
            picture: `(h, w)` in [0, 1], the degradation as a picture.
            alpha, bit_depth, grey, icc_profile: as read from the input, see `write_png`.
            degraded: the input that the program made itself from a clean image.
            std: `(1, H, W)`, standard deviation between samples in the units of `restored`.
        """
        name = record.name
        with self.writing():
            # What is left from other settings must not pass for the new record's.
            for place in (self.restored, self.picture, self.degraded, self.uncertainty):
                place(name).unlink(missing_ok=True)
            if picture is not None:
                path = _parent(self.picture(name))
                write_png(path, picture.expand(3, -1, -1) * 2 - 1, grey=True)
            if std is not None:
                picture = uncertainty_picture(std).expand(3, -1, -1) * 2 - 1
                write_png(_parent(self.uncertainty(name)), picture, grey=True, bit_depth=16)
            if degraded is not None:
                write_png(_parent(self.degraded(name)), degraded, grey=grey)
            self._write_json(record)
            write_png(
                _parent(self.restored(name)),
                restored,
                alpha=alpha,
                bit_depth=bit_depth,
                grey=grey,
                icc_profile=icc_profile,
            )

    def write_failure(self, record: Record) -> None:
        """Record that an image could not be restored."""
        with self.writing():
            self._write_json(record)

    def records(self, names: Iterable[str]) -> list[Record]:
        """The records of the images that have one."""
        return [r for r in map(self.read, names) if r is not None]

    def names(self) -> list[str]:
        """The names of all images that have a record, in their order."""
        folder = self.root / "degradation"
        return sorted(str(p.relative_to(folder))[: -len(".json")] for p in folder.rglob("*.json"))

    def write_previews(self, name: str, before: Image.Image, steps: Image.Image | None) -> None:
        """Write the pictures that the report shows beside the results."""
        with self.writing():
            before.save(_parent(self.preview(name)), quality=88)
            self.film_strip(name).unlink(missing_ok=True)
            if steps is not None:
                steps.save(self.film_strip(name), quality=88)

    def write_settings(self, text: str) -> None:
        """Write `config.yaml`, the settings that repeat the run."""
        with self.writing():
            (self.root / "config.yaml").write_text(text, encoding="utf-8")

    def write_page(self, page: str) -> None:
        """Write `report.html`, the old one or all of the new one."""
        draft = self.report.with_suffix(".html.tmp")
        with self.writing():
            draft.write_text(page, encoding="utf-8", errors="backslashreplace")
            draft.replace(self.report)

    def write_metrics(self) -> list[Record]:
        """Rebuild `metrics.csv` from all records in the folder, and return them."""
        records = self.records(self.names())
        fields = list(Record("", "restored", "", "").row())
        temporary = self._metrics_draft
        with (
            self.writing(),
            temporary.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file,
        ):
            writer = csv.DictWriter(file, fields)
            writer.writeheader()
            writer.writerows(r.row() for r in records)
        temporary.replace(self.metrics)
        return records

    def _write_json(self, record: Record) -> None:
        path = _parent(self.json(record.name))
        temporary = path.with_name(path.name + ".tmp")
        text = json.dumps(asdict(record), ensure_ascii=False, indent=1)
        temporary.write_text(text + "\n", encoding="utf-8", errors="backslashreplace")
        temporary.replace(path)


def uncertainty_picture(std: Tensor) -> Tensor:
    """A standard deviation in the units of [-1, 1] as a picture in [0, 1]: black is certain."""
    return (std / 2 / WHITE_STD).clamp(0, 1)


def _parent(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
