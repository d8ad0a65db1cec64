"""Images given in Python as samples: paths, PIL images, arrays and tensors."""

from __future__ import annotations

import glob
import io
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from d2ir_pl.errors import ImageError
from d2ir_pl.image_io import Photo, from_array, from_pillow, from_tensor, read_image
from d2ir_pl.inputs.items import Item
from d2ir_pl.inputs.samples import Sample

_KINDS = "a path, a PIL image, an array or a tensor"


def several(given: Any) -> list[Any] | None:
    """The images that a list, an iterator or a batch holds; None for one image.

    Args:
        given: image, list of images, `(B, C, H, W)` tensor or `(B, H, W, C)` array.

    Raises:
        ImageError: if there are none, or it is of a wrong type.
    """
    if isinstance(given, str | os.PathLike | Image.Image):
        return None
    if isinstance(given, Tensor | np.ndarray):
        images = list(given) if given.ndim == 4 else None
    elif isinstance(given, Iterable) and not isinstance(
        given, bytes | bytearray | Mapping | io.IOBase
    ):
        images = list(given)
    else:
        raise ImageError(_unknown(given))
    if images is not None and not images:
        raise ImageError("no image is given: the list or the batch is empty")
    return images


def read_given(images: Sequence[Any], alone: bool = False) -> list[Sample]:
    """Read every image; the noise of one in memory is that of a file without a name.

    Args:
        images: paths, PIL images, arrays and tensors.
        alone: whether the only image was given by itself, which messages need not number.

    Raises:
        ImageError: if any of them is wrong; the message names all that are.
    """
    samples, problems = [], []
    for number, image in enumerate(images):
        try:
            samples.append(_sample(image, "the image" if alone else f"image {number}"))
        except ImageError as error:
            named = alone or isinstance(image, str | os.PathLike)
            problems.append(str(error) if named else f"image {number}: {error}")
    if not problems:
        return samples
    if len(images) == 1:
        raise ImageError(problems[0])
    count = f"{len(problems)} of {len(images)} images"
    raise ImageError(f"{count} cannot be read, and none was restored: {'; '.join(problems)}")


def _sample(image: Any, name: str) -> Sample:
    path, key = Path(), ""
    if isinstance(image, str | os.PathLike):
        path = Path(os.fspath(image))
        key, name = path.name, path.stem
    photo = _read(image, path)
    return Sample(Item(path, key, name), photo, photo.pixels, None, photo.sha256)


def _read(image: Any, path: Path) -> Photo:
    if isinstance(image, Tensor):
        return from_tensor(image)
    if isinstance(image, np.ndarray):
        return from_array(image)
    if isinstance(image, Image.Image):
        return from_pillow(image)
    if not isinstance(image, str | os.PathLike):
        raise ImageError(_unknown(image))
    if path.is_dir():
        raise ImageError(
            f"{path} is a folder: give the files in it, such as sorted(Path({str(path)!r})"
            ".glob('*.png')), or restore it with 'd2ir predict'"
        )
    if glob.has_magic(str(path)) and not path.exists():
        raise ImageError(
            f"{path} does not exist: for a pattern give glob.glob({str(path)!r}), a list of files"
        )
    return read_image(path)


def _unknown(image: object) -> str:
    remedy = "use one of these, or a list of them"
    if isinstance(image, bytes | bytearray | io.IOBase):
        opened = "image" if isinstance(image, io.IOBase) else "io.BytesIO(image)"
        remedy = f"open it with PIL.Image.open({opened})"
    return f"an image must be {_KINDS}, not {type(image).__name__}: {remedy}"
