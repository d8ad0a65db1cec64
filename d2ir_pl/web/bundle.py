"""All restored photos of a visitor as one file."""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self


class Bundle:
    """A ZIP file that grows photo by photo, in a file without a name until it is written.

    What is in it is compressed already, but for the report and the settings. Two photos of one
    name get numbers.
    """

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115
        self._zip = zipfile.ZipFile(self._file, "w", zipfile.ZIP_DEFLATED, compresslevel=1)
        self._names: set[str] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._zip.close()
        self._file.close()

    def add(self, files: Sequence[Path]) -> None:
        """Add the files of a photo."""
        for path in files:
            name, number = path.name, 2
            while name in self._names:
                name, number = f"{path.stem}-{number}{path.suffix}", number + 1
            self._names.add(name)
            self._zip.write(path, name)

    def written(self, folder: Path) -> Path:
        """Write the file into a folder, and return its path; nothing can be added any more."""
        self._zip.close()
        path = folder / "restored.zip"
        self._file.seek(0)
        with path.open("wb") as target:
            while block := self._file.read(2**20):
                target.write(block)
        return path
