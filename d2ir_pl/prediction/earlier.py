"""What an earlier run has found of the photos, from which another run starts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from d2ir_pl.degradations.saved import SavedPhi
from d2ir_pl.errors import InputError
from d2ir_pl.inputs.items import Item
from d2ir_pl.inputs.samples import Sample
from d2ir_pl.results.folder import ResultFolder


class EarlierRun:
    """The phi of photos that were restored before, by their names, or that of one for all photos.

    Args:
        path: an output folder of `predict`, or the `.json` of one photo in it.

    Raises:
        InputError: if it is neither.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._one: SavedPhi | None = None
        if path.is_dir():
            if not (path / "degradation").is_dir():
                raise InputError(
                    f"start {path} holds no results: give the --output of an earlier run, or the "
                    ".json of one photo in it"
                )
        elif path.is_file():
            try:
                self._one = SavedPhi.read(path)
            except ValueError as error:
                raise InputError(f"start {error}") from None
        else:
            raise InputError(
                f"start {path} does not exist: give the --output of an earlier run, or the .json "
                "of one photo in it"
            )

    def __call__(self, sample: Sample) -> SavedPhi:
        """The phi of a photo.

        Raises:
            ValueError: if the run has none for it, or one of another file of the same name.
        """
        if self._one is not None:
            return self._one
        name = sample.item.name
        file = ResultFolder(self.path).json(name)
        if not file.is_file():
            raise ValueError(
                f"{self.path} has no result for {name}: restore it there first, or without start"
            )
        saved = SavedPhi.read(file)
        if sample.digest and saved.input_sha256 != sample.digest:
            raise ValueError(
                f"{file} is about another file of that name: restore this one there first, or give "
                "that .json itself as the start of all photos"
            )
        restored = ResultFolder(self.path).restored(name)
        return replace(saved, restored=restored if restored.is_file() else None)

    def digest(self, item: Item) -> str:
        """The digest of the phi of a photo; empty if there is none."""
        if self._one is not None:
            return self._one.digest
        try:
            return SavedPhi.read(ResultFolder(self.path).json(item.name)).digest
        except ValueError:
            return ""
