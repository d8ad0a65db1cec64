"""Names under which results are written."""

from __future__ import annotations

import hashlib
import unicodedata
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

LONGEST_NAME = 240
"""Bytes of a name to which a result's extension is appended; file systems allow 255 in all."""


def unique_names(keys: Sequence[str]) -> list[str]:
    """Names of files: their paths without extension, or with it where that tells two apart.

    Args:
        keys: relative paths of the files.
    """
    names = [str(Path(key).with_suffix("")) for key in keys]
    while True:
        count = Counter(names)
        clashes = [i for i, name in enumerate(names) if count[name] > 1 and name != keys[i]]
        if not clashes:
            return names
        for i in clashes:
            names[i] = keys[i]


def result_names(keys: Sequence[str]) -> list[str]:
    """`unique_names`, changed where a file system or a terminal could not take them.

    Control characters and bytes that are no text become `%0A`, `%FF` and so on, and names too long
    for what is appended to them are cut, with a digest of the whole at the end.

    Args:
        keys: relative paths of the files.
    """
    names: list[str] = []
    taken = set()
    for name in unique_names(keys):
        safe = "/".join(map(_safe_part, name.split("/")))
        if safe in taken:  # a file has the very name that another one was changed to
            safe = _safe_part(f"{_digest(name)}~{safe.rpartition('/')[2]}")
            safe = "/".join([*map(_safe_part, name.split("/")[:-1]), safe])
        taken.add(safe)
        names.append(safe)
    return names


def _safe_part(part: str) -> str:
    escaped = "".join(map(_safe_character, part))
    if len(escaped.encode()) <= LONGEST_NAME:
        return escaped
    return escaped.encode()[: LONGEST_NAME - 9].decode(errors="ignore") + "~" + _digest(part)


def _safe_character(character: str) -> str:
    if unicodedata.category(character) not in ("Cc", "Cs"):  # control, and bytes that are no text
        return character
    return "".join(f"%{byte:02X}" for byte in character.encode("utf-8", "surrogateescape"))


def _digest(name: str) -> str:
    return hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()[:8]
