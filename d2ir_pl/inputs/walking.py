"""The files below a folder or of a pattern, and the folders that could not be listed."""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Sequence
from pathlib import Path

RESULTS = frozenset(
    {"restored", "degraded", "degradation", "uncertainty", "interval", "filled_in", "preview"}
    | {"tensorboard"}
)
"""Folders in an output folder, whose pictures are results and no photos."""

_ACCOUNTS = {"config.yaml", "metrics.csv"}
"""Files of which an output folder has at least one."""


class Walk:
    """Looks for files below a folder whose paths match a pattern.

    Hidden files and folders are left out, and so are the results of earlier runs: the folders in
    `RESULTS` beside the settings of a run. Links that lead nowhere count as files: reading them
    says what is wrong.

    Args:
        base: the folder.
        pattern: parts of the pattern; `**` stands for any number of folders, and follows no links,
            which may lead in circles.

    Attributes:
        files: what was found, in the order of the paths.
        unlisted: folders that cannot be listed.
    """

    def __init__(self, base: Path, pattern: Sequence[str] = ("**", "*")) -> None:
        self._files: set[Path] = set()
        self._unlisted: set[Path] = set()
        self._match(base, pattern)
        self.files = sorted(self._files)
        self.unlisted = sorted(self._unlisted)

    def _match(self, folder: Path, pattern: Sequence[str]) -> None:
        try:
            with os.scandir(folder) as listed:
                entries = [entry for entry in listed if not entry.name.startswith(".")]
        except OSError:
            self._unlisted.add(folder)
            return
        names = {entry.name for entry in entries}
        if names & _ACCOUNTS and "degradation" in names:
            entries = [entry for entry in entries if entry.name not in RESULTS]
        if pattern[0] == "**":
            inner = [e for e in entries if _is_dir(e) and not e.is_symlink()]
            for entry in inner:
                self._match(folder / entry.name, pattern)
            pattern = pattern[1:]
        first, *rest = pattern
        matches = re.compile(fnmatch.translate(first)).match
        for entry in filter(lambda entry: matches(entry.name), entries):
            path = folder / entry.name
            if rest and _is_dir(entry):
                self._match(path, rest)
            elif not rest and not _is_dir(entry):
                self._files.add(path)


def _is_dir(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a folder, or a link to one."""
    try:
        return entry.is_dir()
    except OSError:  # of a link whose end cannot be looked at
        return False
