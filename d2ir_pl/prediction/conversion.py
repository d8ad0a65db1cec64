"""Batches of a DataLoader of one's own, as batches of photos to restore."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from torch import Tensor

from d2ir_pl.errors import InputError
from d2ir_pl.image_io import Photo
from d2ir_pl.inputs.items import Item
from d2ir_pl.inputs.samples import Sample
from d2ir_pl.prediction.data import Batch

KEYS = ("image", "name", "reference", "mask")
"""What a dictionary may hold."""

Names = Callable[[int], Sequence[str]]
"""A function that names as many images as it is asked for."""


def numbered(count: int) -> list[str]:
    """The names `0`, `1` and so on."""
    return [str(number) for number in range(count)]


def as_batch(data: object, names: Names = numbered, forgiving: bool = False) -> Batch:
    """Make a batch of photos to restore of what a DataLoader gives.

    Args:
        data: one of

            - a tensor `(B, 3, H, W)` or, for grey photos, `(B, 1, H, W)` of floats in [0, 1];
            - a tuple or list of that tensor alone, as a `TensorDataset` gives it, of it and a list
              of B names, or of it and the clean images `(B, 3, H', W')`;
            - a dictionary of `image`, that tensor, and of none or some of `name`, a list of B
              names; `reference`, the clean images; and `mask`, `(B, 1, H, W)`, for `Mask`: 1
              where a pixel was observed and 0 where it is missing;
            - a `Batch`, which stays as it is.
        names: function that names the images where the data do not. An image's name seeds its
            noise, and that of a file in a folder is its path in there, such as `cats/1.png`.
        forgiving: whether an image with values outside [0, 1], or such a reference, is a failure
            of its own rather than an error, and names may be other texts than relative paths
            inside a folder.

    Raises:
        InputError: if the data are none of these, or values lie outside [0, 1].
    """
    if isinstance(data, Batch):
        return data
    parts = _parts(data)
    images = _images(parts["image"], "image", forgiving)
    count, grey = len(images), images.shape[1] == 1
    own = parts.get("name")
    called = names(count) if own is None else _names(own, count, forgiving)
    references = _references(parts.get("reference"), count, forgiving)
    masks = _masks(parts.get("mask"), images)
    y = (images.expand(-1, 3, -1, -1) * 2 - 1).contiguous()
    samples = []
    for b, name in enumerate(called):
        photo = _photo(y[b], grey, None if masks is None else masks[b].cpu())
        clean = None if references is None else _photo(references[b], grey)
        samples.append(Sample(Item(Path(name), name, name), photo, photo.pixels, clean, ""))
    reasons = {}
    for b in range(count) if forgiving else ():
        if reason := _beyond(images[b]):
            reasons[b] = f"image {reason}"
        elif references is not None and (reason := _beyond((references[b] + 1) / 2)):
            reasons[b] = f"reference {reason}"
    failures = [samples[b].failed(reason) for b, reason in reasons.items()]
    good = Batch(samples, [], y).select([b for b in range(count) if b not in reasons])
    return replace(good, failures=failures)


def _parts(data: object) -> dict[str, Any]:
    """What was given, by the names in `KEYS`."""
    if isinstance(data, Mapping):
        if wrong := [key for key in data if key not in KEYS]:
            raise InputError(
                f"the key {wrong[0]!r} of a batch is unknown: its keys are {', '.join(KEYS)}"
            )
        if "image" not in data:
            raise InputError("a batch has no key 'image': give the photos under it")
        return dict(data)
    if isinstance(data, Tensor):
        return {"image": data}
    if isinstance(data, tuple | list) and data:
        if len(data) > 2:
            raise InputError(
                f"a batch of {len(data)} parts is ambiguous: give a dictionary of {', '.join(KEYS)}"
            )
        second = data[1] if len(data) == 2 else None
        return {"image": data[0], "reference" if isinstance(second, Tensor) else "name": second}
    raise InputError(
        f"a batch is {_what(data)}: give a tensor (B, 3, H, W) of floats in [0, 1], a pair of it "
        f"and names, or a dictionary of {', '.join(KEYS)}"
    )


def _images(images: object, name: str, forgiving: bool = False) -> Tensor:
    """Photos as float32 tensors, checked, but for their values if `forgiving`."""
    if not isinstance(images, Tensor) or images.ndim != 4 or images.shape[1] not in (1, 3):
        remedy = "add the dimension of the batch" if _is_single(images) else "convert it"
        raise InputError(
            f"{name} is {_what(images)}, and must be a tensor (B, 3, H, W) or (B, 1, H, W): "
            f"{remedy}"
        )
    if not images.is_floating_point():
        remedy = "divide it by 255" if images.dtype == torch.uint8 else "scale it"
        raise InputError(f"{name} is {_what(images)}, and must be floats in [0, 1]: {remedy}")
    if 0 in images.shape:
        raise InputError(f"{name} is {_what(images)}, without a pixel: leave it out")
    unit = images.detach().float()
    if not forgiving and (reason := _beyond(unit)):
        raise InputError(f"{name} {reason}")
    return unit


def _beyond(unit: Tensor) -> str:
    """What is wrong with values that lie outside [0, 1]; empty where none do.

    Values that are not finite pass: the photos that have them are failures of their own.
    """
    finite = unit[unit.isfinite()]
    if not len(finite) or (finite.min() >= 0 and finite.max() <= 1):
        return ""
    return (
        f"has values from {float(finite.min()):g} to {float(finite.max()):g}: scale them to [0, 1]"
    )


def _is_single(images: object) -> bool:
    return isinstance(images, Tensor) and images.ndim == 3 and images.shape[0] in (1, 3)


def _names(names: object, count: int, forgiving: bool) -> list[str]:
    """Names given for the images, checked."""
    texts = [names] if isinstance(names, str) else names
    if not isinstance(texts, list | tuple) or not all(isinstance(text, str) for text in texts):
        raise InputError(f"name is {_what(names)}, and must be a list of texts, one an image")
    if len(texts) != count:
        raise InputError(f"{len(texts)} names are given for {count} images: give one for each")
    for text in texts:
        path = PurePosixPath(text)
        outside = not path.name or path.is_absolute() or ".." in path.parts
        if outside and not forgiving:
            raise InputError(
                f"name {text!r} is no relative path inside a folder: give one, such as 'cats/1'"
            )
    return list(texts)


def _references(references: object, count: int, forgiving: bool) -> Tensor | None:
    """Clean images `(B, 3, H, W)` in [-1, 1] on the CPU, checked."""
    if references is None:
        return None
    if isinstance(references, Tensor) and references.ndim < 4:
        raise InputError(
            f"reference is {_what(references)}, and must be the clean images (B, 3, H, W): leave "
            "labels out"
        )
    clean = _images(references, "reference", forgiving).cpu()
    if len(clean) != count:
        raise InputError(f"{len(clean)} references are given for {count} images: give one for each")
    return (clean.expand(-1, 3, -1, -1) * 2 - 1).contiguous()


def _masks(masks: object, images: Tensor) -> Tensor | None:
    """Masks `(B, 1, H, W)` of 0 and 1, checked."""
    if masks is None:
        return None
    shape = (len(images), 1, *images.shape[-2:])
    if not isinstance(masks, Tensor) or masks.shape != shape:
        raise InputError(f"mask is {_what(masks)}, and must be a tensor {shape} as the images are")
    if not bool(((masks == 0) | (masks == 1)).all()):
        raise InputError("mask has other values than 0 and 1: round it, 1 is an observed pixel")
    return masks.detach().float()


def _photo(pixels: Tensor, grey: bool, mask: Tensor | None = None) -> Photo:
    return Photo(pixels.cpu(), grey=grey, mask=mask)


def _what(data: object) -> str:
    """What something is, in an error's words."""
    if isinstance(data, Tensor):
        return f"a tensor {tuple(data.shape)} of {str(data.dtype).removeprefix('torch.')}"
    return f"of type {type(data).__name__}"
