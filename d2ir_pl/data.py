"""Folders of degraded photos as batches of equal size."""

from __future__ import annotations

import glob
import hashlib
import itertools
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from d2ir_pl.image_io import EXTENSIONS, ImageError, Photo, image_size, read_image

LONGEST_NAME = 240
"""Bytes of a name to which a result's extension is appended; file systems allow 255 in all."""


class InputError(ValueError):
    """The inputs cannot be used; the message is one sentence with the remedy."""


@dataclass(frozen=True)
class Item:
    """One input file, or several photos of one scene.

    Attributes:
        path: the file; of a scene, the first one.
        key: its path relative to the input folder (of a scene, the folder's); seeds its noise.
        name: under which results are written.
        reference: the clean image, if there is one.
        others: further photos of the scene, in the order of their names.
    """

    path: Path
    key: str
    name: str
    reference: Path | None = None
    others: tuple[Path, ...] = ()

    def digest(self) -> str:
        """sha256 of the contents, in hexadecimal; empty where a file cannot be read."""
        if not self.others:
            return file_digest(self.path)
        digests = [file_digest(path) for path in (self.path, *self.others)]
        return hashlib.sha256("".join(digests).encode()).hexdigest() if all(digests) else ""


@dataclass(frozen=True)
class Failure:
    """An input that could not be read, and why."""

    item: Item
    reason: str
    digest: str = ""


@dataclass(frozen=True)
class Sample:
    """One input as read.

    Attributes:
        item: where it came from.
        photo: the (first) file's contents.
        y: `(3, H, W)` its pixels, those of the clean x where the program degrades it itself, or
            `(S, 3, H, W)` for the S photos of a scene.
        reference: `(3, H', W')` the clean image.
        digest: of the input's contents.
    """

    item: Item
    photo: Photo
    y: Tensor
    reference: Tensor | None
    digest: str


@dataclass(frozen=True)
class Batch:
    """Samples of one size, and the inputs of that batch that could not be read.

    Attributes:
        y: `(B, 3, H, W)`, or `(B, S, 3, H, W)` of scenes, in [-1, 1]; B may be 0.
    """

    samples: list[Sample]
    failures: list[Failure]
    y: Tensor


class RestorationDataModule(pl.LightningDataModule):
    """The photos to restore.

    Args:
        inputs: a file, a folder (searched recursively for image files) or a glob pattern.
        references: a folder with the clean images under the same relative paths; extensions may
            differ.
        scenes: every folder with photos in it is one scene, of which these are exposures.
        degrade: the inputs are clean: degrade them with the configured degradation first, and
            keep them as references.
        degrade_noise: standard deviation in [0, 1] of the noise that `degrade` adds.
        batch_size: images of equal size that are restored together.
        limit: restore only the first so many images.
        num_workers: processes that read images ahead.

    Raises:
        InputError: if there is nothing to restore, or the settings contradict each other.
    """

    def __init__(
        self,
        inputs: str | None = None,
        references: str | None = None,
        scenes: bool = False,
        degrade: bool = False,
        degrade_noise: float = 0.02,
        batch_size: int = 1,
        limit: int | None = None,
        num_workers: int = 0,
    ) -> None:
        super().__init__()
        if inputs is None:
            raise InputError("no input is given: add --data.inputs with a file, folder or glob")
        if batch_size < 1:
            raise InputError(f"--data.batch_size {batch_size} must be at least 1")
        if num_workers < 0:
            raise InputError(f"--data.num_workers {num_workers} must be at least 0")
        if limit is not None and limit < 1:
            raise InputError(f"--data.limit {limit} must be at least 1")
        if degrade and references is not None:
            raise InputError("--data.degrade true makes its own references: leave out references")
        if degrade and scenes:
            raise InputError("--data.degrade true makes exposures itself: leave out scenes")
        if not 0 <= degrade_noise < 1:
            raise InputError(f"--data.degrade_noise {degrade_noise} must lie in [0, 1)")
        self.scenes = scenes
        self.degrade = degrade
        self.degrade_noise = degrade_noise
        self.batch_size = batch_size
        self.num_workers = num_workers
        # Where there are fewer batches than processes, some have nothing to do.
        self.allow_zero_length_dataloader_with_multiple_devices = True
        self.items = find_items(inputs, references, scenes)[:limit]
        self.pending = self.items
        """The items still to do; the program takes out those that are complete."""

    def predict_dataloader(self) -> DataLoader[Batch]:
        """This process's share of the batches."""
        trainer = self.trainer
        rank, world = (trainer.global_rank, trainer.world_size) if trainer else (0, 1)
        batches = group_by_size(self.pending, self.batch_size)
        dataset = _BatchDataset(batches[rank::world])
        return DataLoader(dataset, batch_size=None, shuffle=False, num_workers=self.num_workers)


class _BatchDataset(Dataset[Batch]):
    """Whole batches as items, so that no sampler has to know about sizes or ranks."""

    def __init__(self, batches: list[list[Item]]) -> None:
        self.batches = batches

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, index: int) -> Batch:
        read = [read_sample(item) for item in self.batches[index]]
        samples = [s for s in read if isinstance(s, Sample)]
        failures = [s for s in read if isinstance(s, Failure)]
        y = torch.stack([s.y for s in samples]) if samples else torch.empty(0, 3, 1, 1)
        return Batch(samples, failures, y)


def read_sample(item: Item) -> Sample | Failure:
    """Read an input and its reference."""
    digest = ""
    try:
        photo = read_image(item.path)
        y = photo.pixels
        if item.others:
            photos = [photo.pixels, *(read_image(path).pixels for path in item.others)]
            for path, pixels in zip(item.others, photos[1:], strict=True):
                if pixels.shape != y.shape:
                    reason = f"{path} is {_size(pixels)}, not {_size(y)} as the first of its scene"
                    return Failure(item, reason, digest)
            y = torch.stack(photos)
        digest = item.digest()
        reference = None if item.reference is None else read_image(item.reference).pixels
        return Sample(item, photo, y, reference, digest)
    except ImageError as error:
        return Failure(item, str(error), digest)


def _size(pixels: Tensor) -> str:
    return f"{pixels.shape[-2]}x{pixels.shape[-1]}"


def file_digest(path: Path) -> str:
    """sha256 of a file in hexadecimal; empty where the file cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""


def group_by_size(items: Sequence[Item], batch_size: int) -> list[list[Item]]:
    """Batches of at most `batch_size` images of equal size, in the order of their first images.

    Files whose header cannot be read stand alone; reading them says what is wrong.
    """
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


def find_items(inputs: str, references: str | None, scenes: bool = False) -> list[Item]:
    """The input files (or scenes) with their names, and their references.

    Raises:
        InputError: if nothing is found, or an image has no reference or several.
    """
    clean = None if references is None else _references(Path(references))
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


def unique_names(keys: Sequence[str]) -> list[str]:
    """Relative paths without extension; with it where that alone tells two files apart."""
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


def _find(inputs: str, excluded: Path | None) -> tuple[Path, list[Path]]:
    """The folder that names are relative to, and the image files in it."""
    path = Path(inputs)
    if path.is_file():
        return path.parent, [path]
    if path.is_dir():
        found = _images_below(path, excluded)
        if not found:
            kinds = " ".join(sorted(EXTENSIONS))
            raise InputError(f"folder {path} holds no image files ({kinds})")
        return path, found
    if glob.has_magic(inputs):
        fixed = list(itertools.takewhile(lambda part: not glob.has_magic(part), path.parts))
        base, pattern = Path(*fixed), list(path.parts[len(fixed) :])
        if ".." in pattern:
            raise InputError(f"pattern {inputs} goes up behind a wildcard: name the folder instead")
        if pattern[-1] == "**":
            pattern.append("*")
        # Unlike the module glob's, this one's ** does not follow links, which may lead in circles.
        found = sorted(p for p in base.glob("/".join(pattern)) if _is_image(p, base))
        if not found:
            raise InputError(f"pattern {inputs} matches no image files: check it, and quote it")
        return base, found
    raise InputError(f"input {inputs} does not exist: give a file, a folder or a quoted glob")


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


def _references(folder: Path) -> dict[str, list[Path]]:
    """Relative path without extension -> files."""
    if not folder.is_dir():
        raise InputError(f"references {folder} is not a folder: give the folder of clean images")
    found: dict[str, list[Path]] = {}
    for path in _images_below(folder, None):
        key = str(path.relative_to(folder).with_suffix(""))
        found.setdefault(key, []).append(path)
    return found
