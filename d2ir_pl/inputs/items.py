"""Folders of degraded photos as batches of equal size."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from d2ir_pl.image_io import ImageError, Photo, read_image
from d2ir_pl.inputs.digest import file_digest


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
