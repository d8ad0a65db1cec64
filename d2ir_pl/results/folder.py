"""The output folder: where everything lies, what is complete, and the table of all results."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Literal

from d2ir_pl.errors import OutputError
from d2ir_pl.results.guards import MAPS, PLACES, files_below, locked, require_no_link, writing
from d2ir_pl.results.record import Record

RESTORED = (".png", ".jpg", ".webp", ".tif")
"""Suffixes that a restored photo may have."""


class ResultFolder:
    """Layout of an output folder, and what is already in it.

    An image is complete when its JSON is there under the same settings and its restored picture
    exists; the JSON is written first and the picture is renamed into place last. What writes the
    pictures is in `pictures.py`: a folder is read without PyTorch.

    Args:
        root: the folder, which need not exist.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def restored(self, name: str) -> Path:
        """The restored photo, of whatever kind it was written as; a PNG file if there is none."""
        files = [self.restored_as(name, suffix) for suffix in RESTORED]
        return next((file for file in files if os.path.lexists(file)), files[0])

    def restored_as(self, name: str, suffix: str) -> Path:
        """The restored photo as a file of one of the suffixes in `RESTORED`."""
        return self.root / "restored" / f"{name}{suffix}"

    def degraded(self, name: str) -> Path:
        return self.root / "degraded" / f"{name}.png"

    def picture(self, name: str) -> Path:
        return self.root / "degradation" / f"{name}.png"

    def uncertainty(self, name: str) -> Path:
        return self.root / "uncertainty" / f"{name}.png"

    def filled_in(self, name: str) -> Path:
        return self.root / "filled_in" / f"{name}.png"

    def interval(self, name: str) -> Path:
        return self.root / "interval" / f"{name}.png"

    def preview(self, name: str) -> Path:
        """The photo as it came in, at the size of the restored one, for the report."""
        return self.root / "preview" / f"{name}.input.jpg"

    def preview_restored(self, name: str) -> Path:
        """The restored photo in sRGB, where its own colours are others."""
        return self.root / "preview" / f"{name}.restored.jpg"

    def film_strip(self, name: str) -> Path:
        """Estimates of the image along the way, side by side, for the report."""
        return self.root / "preview" / f"{name}.steps.jpg"

    @property
    def report(self) -> Path:
        return self.root / "report.html"

    def json(self, name: str) -> Path:
        return self.root / "degradation" / f"{name}.json"

    @property
    def config(self) -> Path:
        """The settings that repeat the run."""
        return self.root / "config.yaml"

    @property
    def metrics(self) -> Path:
        return self.root / "metrics.csv"

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
            reason = error.strerror
            if isinstance(error, FileExistsError):
                lost = self.root.is_symlink()
                reason = "it is a link that leads nowhere" if lost else "it is a file"
            raise OutputError(
                f"--output {self.root} cannot be written to ({reason}): choose another folder"
            ) from None

    def sweep(self) -> None:
        """Remove texts that a run which was killed has left half-written; call it under the lock.

        Pictures are swept by `pictures.sweep_pictures`.

        Raises:
            OutputError: if a folder stands where a file will be written.
        """
        for path in (self.metrics, self.report, self.config):
            if path.is_dir():  # which would be noticed only when all is done
                raise OutputError(f"{path} is a folder: move it away, or choose another --output")
        with self.writing():
            drafts = [_draft_of(path) for path in (self.metrics, self.report, self.config)]
            for draft in (*drafts, *(self.root / "degradation").rglob("*.json.tmp")):
                draft.unlink(missing_ok=True)

    def writing(self, *names: str) -> AbstractContextManager[None]:
        """Make one sentence of an error inside: it says which file cannot be written.

        Args:
            names: images, of which alone files are written, so that what is wrong with their names
                concerns no other; none where files of all are.

        Raises:
            OutputError: with that sentence, in place of an OSError; an `UnwritableError` where the
                name of one file is to blame. Before anything is written, if a link stands where a
                folder has to be.
        """
        for place in PLACES:
            for name in names or ("",):
                require_no_link(self.root, self.root / place / name)
        return writing(self.root, bool(names))

    def lock(self) -> AbstractContextManager[None]:
        """Hold the folder for this process; a crash releases it.

        Raises:
            OutputError: if another run holds it, or it cannot be locked.
        """
        return locked(self.root)

    def state(
        self,
        name: str,
        fingerprint: str,
        digest: Callable[[], str],
        start: Callable[[], str] = str,
    ) -> Literal["missing", "complete", "other settings"]:
        """Whether an image has to be restored (again).

        Args:
            name: the image's.
            fingerprint: digest of the settings.
            digest: computes that of the input; called only where there is a result.
            start: computes that of the phi that it starts from; empty where there is none.
        """
        record = self.read(name)
        if record is None or record.status != "restored" or not os.path.isfile(self.restored(name)):
            return "missing"
        if record.input_sha256 != digest():
            return "missing"
        same = record.fingerprint == fingerprint and start() in ("", record.start_sha256)
        return "complete" if same else "other settings"

    def read(self, name: str) -> Record | None:
        """The record of an image; None if there is none or it is damaged."""
        try:
            return Record.read(self.json(name), name)
        except ValueError:
            return None

    def claim(self, name: str) -> bool:
        """Take a name for an image by an empty record; False if another image has it."""
        with self.writing(name):
            try:
                parent_made(self.json(name)).open("x").close()
            except FileExistsError:
                return False
        return True

    def remove(self, name: str) -> None:
        """Remove all that is there of an image."""
        with self.writing(name):
            self.remove_pictures(name)
            self.remove_curves(name)
            self.json(name).unlink(missing_ok=True)

    def remove_pictures(self, name: str) -> None:
        """Remove the pictures that are there of an image, that of its restoration first."""
        maps = (self.root / place / f"{name}.png" for place in MAPS)
        with self.writing(name):
            for file in (*(self.restored_as(name, suffix) for suffix in RESTORED), *maps):
                file.unlink(missing_ok=True)
        self.remove_previews(name)

    def remove_previews(self, name: str) -> None:
        """Remove the pictures for the report that are there of an image."""
        with self.writing(name):
            for place in (self.preview, self.preview_restored, self.film_strip):
                place(name).unlink(missing_ok=True)

    def remove_curves(self, name: str) -> None:
        """Remove the run of TensorBoard that is there of an image."""
        with self.writing(name):
            for file in (self.root / "tensorboard" / name).glob("events.out.tfevents.*"):
                file.unlink(missing_ok=True)

    @contextmanager
    def replacing(self, path: Path, *names: str) -> Iterator[Path]:
        """A draft that takes the place of a file: that holds the old contents or all of the new."""
        draft = _draft_of(path)
        with self.writing(*names):
            draft.unlink(missing_ok=True)  # it may be a link that leads out of the folder
            draft.open("x").close()
            yield draft
            draft.replace(path)

    def write_record(self, record: Record) -> None:
        """Write the JSON of an image."""
        text = json.dumps(asdict(record), ensure_ascii=False, indent=1)
        with self.writing(record.name):
            path = parent_made(self.json(record.name))
            with self.replacing(path, record.name) as draft:
                draft.write_text(text + "\n", encoding="utf-8", errors="backslashreplace")

    def damaged(self) -> dict[str, str]:
        """Why records that are there cannot be read, by the names of their images.

        Empty ones are left out: they only mark a name as taken, or a run was killed there.
        """
        found = {}
        for name in self.names():
            path = self.json(name)
            try:
                if path.is_file() and path.stat().st_size == 0:
                    continue
                Record.read(path, name)
            except (OSError, ValueError) as error:
                found[name] = str(error)
        return found

    def records(self, names: Iterable[str]) -> list[Record]:
        """The records of the images that have one, as `Record.brief` has them."""
        return [record.brief for record in map(self.read, names) if record is not None]

    def names(self) -> list[str]:
        """The names of all images that have a record, in their order.

        Raises:
            OutputError: if a folder of records cannot be listed.
        """
        folder = self.root / "degradation"
        records = [str(p.relative_to(folder)) for p in files_below(folder) if p.suffix == ".json"]
        return sorted(record[: -len(".json")] for record in records)

    def write_settings(self, text: str) -> None:
        """Write `config.yaml`, the settings that repeat the run."""
        with self.replacing(self.config) as draft:
            draft.write_text(text, encoding="utf-8")

    def write_page(self, parts: Iterable[str]) -> None:
        """Write `report.html`, of which no more than a part is in memory."""
        with (
            self.replacing(self.report) as draft,
            draft.open("w", encoding="utf-8", errors="backslashreplace") as file,
        ):
            file.writelines(parts)

    def write_metrics(self) -> None:
        """Rebuild `metrics.csv` from all records in the folder."""
        records = (r for r in map(self.read, self.names()) if r is not None)
        with (
            self.replacing(self.metrics) as draft,
            draft.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file,
        ):
            writer = csv.DictWriter(file, list(Record("", "restored", "", "").row()))
            writer.writeheader()
            writer.writerows(r.row() for r in records)


def parent_made(path: Path) -> Path:
    """The path itself, once the folder that it lies in exists."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _draft_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.tmp")
