"""Digests of files, which tell whether an input is still the same."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path


def file_digest(path: Path) -> str:
    """sha256 of a file in hexadecimal; empty where the file cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""


def joint_digest(digests: Sequence[str]) -> str:
    """Of one file, its own digest; of several, that of their digests; empty if one is missing."""
    if len(digests) == 1:
        return digests[0]
    return hashlib.sha256("".join(digests).encode()).hexdigest() if all(digests) else ""
