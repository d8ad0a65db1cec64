"""The input files that a path, a folder or a pattern names."""

from __future__ import annotations

import glob
import itertools
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from d2ir_pl.errors import InputError
from d2ir_pl.image_io import EXTENSIONS, ImageError, sizes_apart
from d2ir_pl.inputs.items import Item
from d2ir_pl.inputs.names import result_names
from d2ir_pl.inputs.walking import Walk

NOT_READ = frozenset(
    {".mov", ".mp4", ".m4v", ".avi", ".mkv", ".webm", ".3gp", ".mts", ".mpg", ".mpeg", ".wmv"}
    | {
        ".psd",
        ".xcf",
        ".svg",
        ".pdf",
        ".eps",
        ".jp2",
        ".j2k",
        ".jxr",
        ".tga",
        ".exr",
        ".hdr",
        ".ico",
    }
)
"""Extensions of films, and of pictures of kinds that are not read."""


def find_items(
    inputs: str | Sequence[str], references: str | None, scenes: bool = False
) -> list[Item]:
    """The input files (or scenes) with their names, and their references.

    Args:
        inputs: a file, a folder (searched recursively) or a glob pattern; or several of these,
            whose names are relative to the innermost folder that holds all of them.
        references: folder with a clean image of each input, under the same relative path but for
            the extension.
        scenes: whether the photos of each folder are exposures of one scene.

    Raises:
        InputError: if nothing is found, or an image has no reference or several.
    """
    clean = None if references is None else _references(references)
    found = _find(inputs, Path(references) if references else None)
    groups = [[path] for path in found.paths]
    keys = [path.relative_to(found.base).as_posix() for path in found.paths]
    if scenes:
        folders = list(dict.fromkeys(path.parent for path in found.paths))
        groups = [[path for path in found.paths if path.parent == folder] for folder in folders]
        keys = [folder.relative_to(found.base).as_posix() for folder in folders]
        # A folder that is a scene itself is known by its name.
        keys = [
            folder.name if key == "." else key for folder, key in zip(folders, keys, strict=True)
        ]
    unlisted = [path.relative_to(found.base).as_posix() for path in found.unlisted]
    names = result_names([*keys, *unlisted])
    items = []
    for (path, *others), key, name in zip(groups, keys, names[: len(keys)], strict=True):
        reference = None
        if clean is not None:
            matching = clean.get(str(Path(key).with_suffix("")), [])
            if len(matching) != 1:
                what = "no reference" if not matching else f"{len(matching)} references"
                subject = path.parent if others else path
                raise InputError(f"{subject} has {what} in {references}: give exactly one")
            reference = matching[0]
        items.append(Item(path, key, name, reference, tuple(others)))
    # Whatever lies in folders that cannot be listed is not left out in silence: reading fails.
    left = zip(found.unlisted, unlisted, names[len(keys) :], strict=True)
    return items + [Item(path, key, name) for path, key, name in left]


def not_read(inputs: str | Sequence[str]) -> list[str]:
    """The names of films and pictures in the input folders that are of kinds which are not read."""
    folders = [Path(one) for one in ([inputs] if isinstance(inputs, str) else inputs)]
    found = [file for folder in folders if folder.is_dir() for file in Walk(folder).files]
    return [file.name for file in found if file.suffix.lower() in NOT_READ]


@dataclass(frozen=True)
class _Found:
    """What was found.

    Attributes:
        base: folder that names are relative to.
        paths: image files in it.
        unlisted: folders in it that cannot be listed.
    """

    base: Path
    paths: list[Path]
    unlisted: list[Path] = field(default_factory=list)


def _find(inputs: str | Sequence[str], excluded: Path | None) -> _Found:
    """The image files of all inputs."""
    if isinstance(inputs, str):
        return _find_one(inputs, excluded)
    if not inputs:
        raise InputError("inputs [] is empty: name a file, a folder or a glob")
    found = [_find_one(one, excluded) for one in inputs]
    if len(found) == 1:
        return found[0]
    bases = [one.base for one in found]
    paths = [path for one in found for path in one.paths]
    unlisted = [path for one in found for path in one.unlisted]
    if len({base.is_absolute() for base in bases}) > 1 or any(".." in base.parts for base in bases):
        bases, paths, unlisted = (
            [Path(os.path.abspath(p)) for p in several] for several in (bases, paths, unlisted)
        )
    base = Path(os.path.commonpath(bases))
    return _Found(base, list(dict.fromkeys(paths)), list(dict.fromkeys(unlisted)))


def _find_one(inputs: str, excluded: Path | None) -> _Found:
    """The same for one file, folder or pattern."""
    path = Path(inputs)
    try:
        if path.is_dir():
            return _below(path, inputs, excluded)
        # What is no regular file, and links that lead nowhere, are refused when they are read.
        if os.path.lexists(path):
            path.lstat()
            return _Found(path.parent, [path])
    except OSError as error:
        raise InputError(
            f"inputs {inputs} cannot be looked at ({error.strerror}): check its permissions"
        ) from None
    if glob.has_magic(inputs):
        fixed = list(itertools.takewhile(lambda part: not glob.has_magic(part), path.parts))
        base, pattern = Path(*fixed), list(path.parts[len(fixed) :])
        if ".." in pattern:
            raise InputError(f"inputs {inputs} goes up behind a wildcard: name the folder instead")
        if pattern[-1] == "**":
            pattern.append("*")
        walk = Walk(base, pattern)
        found = [file for file in walk.files if _is_image(file)]
        if not found and not walk.unlisted:
            raise InputError(f"inputs {inputs} matches no image files: check the pattern")
        return _Found(base, found, walk.unlisted)
    raise InputError(f"inputs {inputs} does not exist: give a file, a folder or a quoted glob")


def _below(folder: Path, inputs: str, excluded: Path | None) -> _Found:
    """The image files below a folder, but for those below an excluded one."""
    walk = Walk(folder)
    if folder in walk.unlisted:
        os.scandir(folder).close()  # raises why
    if excluded is not None and folder.resolve() in excluded.resolve().parents:
        inside = excluded.resolve()
        left_out = {file for file in walk.files if inside in file.resolve().parents}
    else:
        left_out = set()
    found = [file for file in walk.files if _is_image(file) and file not in left_out]
    if not found and not walk.unlisted:
        kinds = " ".join(sorted(EXTENSIONS))
        raise InputError(f"inputs {inputs} is a folder without image files ({kinds})")
    return _Found(folder, found, walk.unlisted)


def _is_image(path: Path) -> bool:
    """Whether a file has the extension of an image."""
    return path.suffix.lower() in EXTENSIONS


def _references(references: str) -> dict[str, list[Path]]:
    """The image files of a folder by their relative paths without extension."""
    folder = Path(references)
    if not folder.is_dir():
        raise InputError(
            f"references {references} is not a folder: give the folder of clean images"
        )
    walk = Walk(folder)
    if walk.unlisted:
        raise InputError(
            f"references {references}: the folder {walk.unlisted[0]} cannot be listed: check its "
            "permissions"
        )
    found: dict[str, list[Path]] = {}
    for path in filter(_is_image, walk.files):
        key = str(path.relative_to(folder).with_suffix(""))
        found.setdefault(key, []).append(path)
    return found


def group_by_size(items: Sequence[Item], batch_size: int) -> list[list[Item]]:
    """Batches of at most `batch_size` images of equal size, in the order of their first images.

    Files whose header cannot be read stand alone; reading them says what is wrong. No file is
    opened where every image is a batch of its own.

    Args:
        items: images in the order in which they are restored.
        batch_size: number of images in a batch at most.
    """
    if batch_size == 1:
        return [[item] for item in items]
    batches: list[list[Item]] = []
    filling: dict[tuple[int, int, int], list[Item]] = {}
    for item, size in zip(items, sizes_apart([item.path for item in items]), strict=True):
        if isinstance(size, ImageError):
            batches.append([item])
            continue
        kind = (*size, len(item.others))
        batch = filling.get(kind)
        if batch is None or len(batch) == batch_size:
            batch = filling[kind] = []
            batches.append(batch)
        batch.append(item)
    return batches
