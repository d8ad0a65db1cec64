"""Names under which results are written."""

from __future__ import annotations

import hashlib
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path, PurePosixPath

from d2ir_pl.image_io import EXTENSIONS, SUFFIXES

LONGEST_NAME = 240
"""Bytes of a name to which a result's extension is appended; file systems allow 255 in all."""

ENDINGS = (".json", ".json.tmp", *SUFFIXES.values(), ".input.jpg", ".steps.jpg", ".restored.jpg")
"""What is appended to a name for the files of its results."""


def unique_names(keys: Sequence[str]) -> list[str]:
    """Names of files: their paths without extension, or with it where that tells two apart.

    Args:
        keys: relative paths of the files.
    """
    names = [str(Path(key).with_suffix("")) for key in keys]
    while True:
        times = Counter(names)
        clashes = [i for i, name in enumerate(names) if times[name] > 1 and name != keys[i]]
        if not clashes:
            return names
        for i in clashes:
            names[i] = keys[i]


def result_names(keys: Sequence[str]) -> list[str]:
    """`unique_names`, changed where a file system or a terminal could not take them.

    Control characters and bytes that are no text become `%0A`, `%FF` and so on, and names too long
    for what is appended to them are cut, with a digest of the whole at the end. A folder `a.png`
    becomes `a%2Epng` where the image `a` lies beside it.

    Args:
        keys: relative paths of the files.
    """
    names: list[str] = []
    taken = set()
    unique = unique_names(keys)
    files = {name + ending for name in unique for ending in ENDINGS}
    for name in unique:
        folders = [str(parent) for parent in PurePosixPath(name).parents][:-1]
        if any(folder in files for folder in folders):
            *above, last = name.split("/")
            name = "/".join([*map(_apart, above), last])
        safe = "/".join(map(_safe_part, name.split("/")))
        if safe in taken:  # a file has the very name that another one was changed to
            safe = _safe_part(f"{_digest(name)}~{safe.rpartition('/')[2]}")
            safe = "/".join([*map(_safe_part, name.split("/")[:-1]), safe])
        taken.add(safe)
        names.append(safe)
    return names


def possible_names(text: str) -> Iterator[str]:
    """Names for an image that is called `text`, the first of which is best, without an end.

    Each is a relative path that stays inside a folder and that a file system takes: `cats/1.png`
    may be `cats/1`, `cats/1.png`, `cats/1~2` and so on, and `../x` may be `%2E%2E/x`.

    Args:
        text: any text.
    """
    parts = [_inner_part(part) for part in text.split("/") if part not in ("", ".")]
    *above, last = parts or ["unnamed"]
    above = [_apart(part) for part in above]
    stem = Path(last).stem if Path(last).suffix.lower() in EXTENSIONS else last
    for name in (stem, last) if stem != last else (stem,):
        yield "/".join((*above, name))
    for number in count(2):
        yield "/".join((*above, f"{stem}~{number}"))


def _inner_part(part: str) -> str:
    return "%2E%2E" if part == ".." else _safe_part(part)


def _apart(folder: str) -> str:
    """A folder's name that no result has: `a.png` may be the image `a`."""
    stem, _, ending = folder.rpartition(".")
    return f"{stem}%2E{ending}" if folder.endswith(ENDINGS) else folder


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
