"""Inputs as they are read: each file is opened once, and what it holds is kept together."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from d2ir_pl.errors import in_words
from d2ir_pl.image_io import ImageError, Photo, read_apart
from d2ir_pl.inputs.digest import joint_digest
from d2ir_pl.inputs.items import Failure, Item


@dataclass(frozen=True)
class Sample:
    """One input as read.

    Attributes:
        item: where it came from.
        photo: the (first) file's contents.
        y: `(3, H, W)` its pixels, those of the clean x where the program degrades it itself, or
            `(S, 3, H, W)` for the S photos of a scene.
        reference: the clean image's file.
        digest: of the input's contents, that of all photos of a scene together.
    """

    item: Item
    photo: Photo
    y: Tensor
    reference: Photo | None
    digest: str

    def failed(self, reason: str, trace: str = "") -> Failure:
        """The failure to restore it.

        Args:
            reason: sentence for the user.
            trace: traceback of the error behind it, if there is one.
        """
        return Failure(self.item, reason, self.digest, trace)


def read_sample(item: Item, decoded: Mapping[Path, Photo] | None = None) -> Sample | Failure:
    """Read an input and its reference.

    Args:
        item: the input.
        decoded: photos whose files have been read before, by their paths.
    """
    digest, known = "", decoded or {}
    try:
        files = (item.path, *item.others)
        photos = [known[path] if path in known else read_apart(path) for path in files]
        first = photos[0]
        for path, other in zip(item.others, photos[1:], strict=True):
            if other.pixels.shape != first.pixels.shape:
                sizes = f"{_size(other)}, not {_size(first)} as the first of its scene"
                return Failure(item, f"{path} is {sizes}", digest)
        y = torch.stack([photo.pixels for photo in photos]) if item.others else first.pixels
        digest = joint_digest([photo.sha256 for photo in photos])
        reference = None if item.reference is None else read_apart(item.reference)
        return Sample(item, first, y, reference, digest)
    except ImageError as error:
        return Failure(item, str(error), digest)
    except Exception as error:  # whatever one photo does, the others are restored
        reason = f"cannot be read ({in_words(error)}): export it again as a PNG file"
        return Failure(item, f"{item.path} {reason}", digest, traceback.format_exc())


def _size(photo: Photo) -> str:
    return f"{photo.pixels.shape[-2]}x{photo.pixels.shape[-1]}"
