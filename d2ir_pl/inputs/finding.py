"""The input files that a path, a folder or a pattern names."""

from __future__ import annotations

import glob
import itertools
import os
from collections.abc import Sequence
from pathlib import Path

from d2ir_pl.errors import InputError
from d2ir_pl.image_io import EXTENSIONS, ImageError, image_size
from d2ir_pl.inputs.items import Item
from d2ir_pl.inputs.names import result_names


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
    base, paths = _find(inputs, Path(references) if references else None)
    groups = [[path] for path in paths]
    keys = [path.relative_to(base).as_posix() for path in paths]
    if scenes:
        folders = list(dict.fromkeys(path.parent for path in paths))
        groups = [[path for path in paths if path.parent == folder] for folder in folders]
        keys = [folder.relative_to(base).as_posix() for folder in folders]
        # A folder that is a scene itself is known by its name.
        keys = [
            folder.name if key == "." else key for folder, key in zip(folders, keys, strict=True)
        ]
    items = []
    for (path, *others), key, name in zip(groups, keys, result_names(keys), strict=True):
        reference = None
        if clean is not None:
            found = clean.get(str(Path(key).with_suffix("")), [])
            if len(found) != 1:
                what = "no reference" if not found else f"{len(found)} references"
                subject = path.parent if others else path
                raise InputError(f"{subject} has {what} in {references}: give exactly one")
            reference = found[0]
        items.append(Item(path, key, name, reference, tuple(others)))
    return items


def _find(inputs: str | Sequence[str], excluded: Path | None) -> tuple[Path, list[Path]]:
    """The folder that names are relative to, and the image files in it."""
    if isinstance(inputs, str):
        return _find_one(inputs, excluded)
    if not inputs:
        raise InputError("inputs [] is empty: name a file, a folder or a glob")
    found = [_find_one(one, excluded) for one in inputs]
    if len(found) == 1:
        return found[0]
    bases = [base for base, _ in found]
    paths = [path for _, several in found for path in several]
    if len({base.is_absolute() for base in bases}) > 1 or any(".." in base.parts for base in bases):
        bases, paths = ([Path(os.path.abspath(p)) for p in several] for several in (bases, paths))
    return Path(os.path.commonpath(bases)), list(dict.fromkeys(paths))


def _find_one(inputs: str, excluded: Path | None) -> tuple[Path, list[Path]]:
    """The same for one file, folder or pattern."""
    path = Path(inputs)
    if path.is_file():
        return path.parent, [path]
    if path.is_dir():
        found = _images_below(path, excluded)
        if not found:
            kinds = " ".join(sorted(EXTENSIONS))
            raise InputError(f"inputs {inputs} is a folder without image files ({kinds})")
        return path, found
    if glob.has_magic(inputs):
        fixed = list(itertools.takewhile(lambda part: not glob.has_magic(part), path.parts))
        base, pattern = Path(*fixed), list(path.parts[len(fixed) :])
        if ".." in pattern:
            raise InputError(f"inputs {inputs} goes up behind a wildcard: name the folder instead")
        if pattern[-1] == "**":
            pattern.append("*")
        # Unlike the module glob's, this one's ** does not follow links, which may lead in circles.
        found = sorted(p for p in base.glob("/".join(pattern)) if _is_image(p, base))
        if not found:
            raise InputError(f"inputs {inputs} matches no image files: check the pattern")
        return base, found
    raise InputError(f"inputs {inputs} does not exist: give a file, a folder or a quoted glob")


def _images_below(folder: Path, excluded: Path | None) -> list[Path]:
    excluded = excluded.resolve() if excluded else None
    if excluded is not None and folder.resolve() not in excluded.parents:
        excluded = None
    found = []
    for path in sorted(folder.rglob("*")):
        if not _is_image(path, folder):
            continue
        if excluded is not None and excluded in path.resolve().parents:
            continue
        found.append(path)
    return found


def _is_image(path: Path, base: Path) -> bool:
    """Whether a file below `base` has the extension of an image and is not hidden."""
    hidden = any(part.startswith(".") for part in path.relative_to(base).parts)
    return not hidden and path.suffix.lower() in EXTENSIONS and path.is_file()


def _references(references: str) -> dict[str, list[Path]]:
    """The image files of a folder by their relative paths without extension."""
    folder = Path(references)
    if not folder.is_dir():
        raise InputError(
            f"references {references} is not a folder: give the folder of clean images"
        )
    found: dict[str, list[Path]] = {}
    for path in _images_below(folder, None):
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
    for item in items:
        try:
            size = image_size(item.path)
        except ImageError:
            batches.append([item])
            continue
        kind = (*size, len(item.others))
        batch = filling.get(kind)
        if batch is None or len(batch) == batch_size:
            batch = filling[kind] = []
            batches.append(batch)
        batch.append(item)
    return batches
