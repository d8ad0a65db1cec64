"""The photos that a run has restored, as far as they still are where its settings say.

Settings may be a stranger's, so nothing is searched for: a few paths are tried for each image, and
a file is taken only if it is the one of the record, by its digest.
"""

from __future__ import annotations

import glob
import itertools
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from d2ir_pl.image_io import EXTENSIONS
from d2ir_pl.inputs.digest import file_digest, joint_digest
from d2ir_pl.results.folder import ResultFolder
from d2ir_pl.results.record import Record
from d2ir_pl.results.settings import settings_tree

MOST_INPUTS = 100
"""Inputs of a run, of those that it names, that are looked at."""

MOST_EXPOSURES = 1000
"""Entries of the folder of a scene that are looked at."""


@dataclass(frozen=True)
class Photos:
    """Where the inputs and the references of a run may lie.

    Attributes:
        inputs: files, and folders that the names of the images are relative to.
        references: folder of the clean images; None if there is none.
    """

    inputs: tuple[Path, ...]
    references: Path | None

    @classmethod
    def of(cls, folder: ResultFolder) -> Photos:
        """Those that the settings of a run name.

        Raises:
            OutputError: if the settings are damaged.
        """
        data = settings_tree(folder.root).get("data")
        data = data if isinstance(data, dict) else {}
        inputs = data.get("inputs")
        several = inputs if isinstance(inputs, list) else [inputs]
        named = [path for path in several if isinstance(path, str)]
        references = data.get("references")
        return cls(
            tuple(_base(path) for path in named[:MOST_INPUTS]),
            Path(references) if isinstance(references, str) else None,
        )

    def of_record(self, record: Record) -> tuple[Path | None, Path | None]:
        """The photo of a record and its clean image, each None if it is not at hand."""
        photo = _first(self._candidates(record.name), record.input_sha256)
        if self.references is None:
            return photo, None
        beside = _with_extensions(self.references / record.name)
        return photo, _first(beside, record.reference_sha256)

    def _candidates(self, name: str) -> Iterator[Path]:
        for base in self.inputs:
            if base.suffix.lower() in EXTENSIONS:
                yield base
            # The innermost folder that holds all inputs may lie above the one that is named.
            parts = Path(name).parts
            for start in range(min(len(parts), 8)):
                yield from _with_extensions(base.joinpath(*parts[start:]))


def _base(inputs: str) -> Path:
    """A file or folder, or the folder of a pattern, up to its first wildcard."""
    parts = Path(inputs).parts
    return Path(*itertools.takewhile(lambda part: not glob.has_magic(part), parts))


def _with_extensions(path: Path) -> Iterator[Path]:
    """The paths that a file of a name may have."""
    yield path
    for extension in sorted(EXTENSIONS):
        yield path.with_name(path.name + extension)
        yield path.with_name(path.name + extension.upper())


def _first(paths: Iterator[Path], digest: str) -> Path | None:
    """The first file with a digest, or the first exposure of a scene with it."""
    for path in paths if digest else ():
        with suppress(OSError):  # what may not be read any more is not shown
            exposures = [path] if path.is_file() else _exposures(path) if path.is_dir() else []
            if exposures and joint_digest([file_digest(one) for one in exposures]) == digest:
                return exposures[0]
    return None


def _exposures(folder: Path) -> list[Path]:
    """The photos in a folder, none if there are too many for a scene."""
    entries = list(itertools.islice(folder.iterdir(), MOST_EXPOSURES))
    photos = (path for path in entries if path.suffix.lower() in EXTENSIONS and path.is_file())
    return sorted(path for path in photos if not path.name.startswith("."))
