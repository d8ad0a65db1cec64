"""The photographs that a prior is trained on: which files serve, and their pixels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from torch import Tensor

from d2ir_pl.errors import ImageError, InputError
from d2ir_pl.image_io import eight_bits, read_apart, sizes_apart
from d2ir_pl.inputs.finding import find_items


def usable_photographs(inputs: str | Sequence[str], side: int) -> tuple[list[Path], list[str]]:
    """Find the photographs that patches of `side` pixels can be cut from.

    Args:
        inputs: a folder (searched recursively), a glob pattern or a file; or several of these.
        side: least height and width of a photograph in pixels.

    Returns:
        The photographs, and a sentence for each file that is left out.

    Raises:
        InputError: if there is none.
    """
    usable, skipped = [], []
    paths = [item.path for item in find_items(inputs, None)]
    for path, size in zip(paths, sizes_apart(paths), strict=True):
        if isinstance(size, ImageError):
            skipped.append(str(size))
        elif min(size) < side:
            skipped.append(f"{path} is smaller than a patch of {side} pixels")
        else:
            usable.append(path)
    if not usable:
        reason = f", for instance: {skipped[0]}" if skipped else ""
        raise InputError(f"no photograph in {named(inputs)} can be used{reason}")
    return usable, skipped


def named(inputs: str | Sequence[str]) -> str:
    """What was searched for photographs, for a message."""
    return inputs if isinstance(inputs, str) else ", ".join(inputs)


class Photographs:
    """Photographs as `(3, H, W)` tensors; `to_float` brings them to [-1, 1].

    They are uint8 where the file has no more than 8 bits, and float32 otherwise.

    Args:
        paths: the files.
        cache_gb: gigabytes; where the decoded photographs fit into them, they are kept in memory.

    Raises:
        InputError: if the photographs are to be kept, and none can be decoded.
    """

    def __init__(self, paths: Sequence[Path], cache_gb: float) -> None:
        self.paths = paths
        self._kept: list[Tensor | None] | None = None
        sizes = [size for size in sizes_apart(paths) if not isinstance(size, ImageError)]
        if sum(3 * math.prod(size) for size in sizes) <= cache_gb * 1e9:
            with ThreadPoolExecutor() as pool:
                self._kept = list(pool.map(_read, paths))
            if not any(photograph is not None for photograph in self._kept):
                raise self._nothing()

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Tensor:
        """Photograph `index`, or the next one that can be decoded.

        Raises:
            InputError: if none can be decoded.
        """
        for i in range(index, index + len(self.paths)):
            i %= len(self.paths)
            photograph = self._kept[i] if self._kept is not None else _read(self.paths[i])
            if photograph is not None:
                return photograph
        raise self._nothing()

    def _nothing(self) -> InputError:
        return InputError(f"none of the {len(self.paths)} photographs can be decoded")


def to_float(pixels: Tensor) -> Tensor:
    """Pixels of a photograph in [-1, 1], float32."""
    return pixels.float() / 127.5 - 1 if pixels.dtype == torch.uint8 else pixels


def _read(path: Path) -> Tensor | None:
    """The pixels of a file, or None if it cannot be decoded."""
    try:
        photograph = read_apart(path)
    except (ImageError, OSError):
        return None
    return photograph.pixels if photograph.bit_depth > 8 else eight_bits(photograph.pixels)
