"""Photos from and to arrays of NumPy and tensors of PyTorch."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from d2ir_pl.errors import ImageError
from d2ir_pl.image_io.photo import Photo, Raster, RefusedError, to_photo
from d2ir_pl.image_io.png import integer_samples

_WHITES = {"uint8": (255.0, 8), "uint16": (65535.0, 16)}
"""White, and the bits a channel, of arrays of whole numbers."""


def from_array(array: NDArray[np.generic]) -> Photo:
    """A photo of an array, whose channels come last.

    Args:
        array: `(H, W)` or `(H, W, C)` of uint8, of uint16, or of floats in [0, 1]; C is 1 for grey
            or 3 for RGB, and one more with alpha. Floats are a photo of 16 bits.

    Raises:
        ImageError: if it has another shape, type or range.
    """
    try:
        samples = array[..., None] if array.ndim == 2 else array
        if samples.ndim != 3 or samples.shape[-1] not in (1, 2, 3, 4):
            shape = array.shape
            first = array.ndim == 3 and shape[0] in (1, 3, 4)
            remedy = "use array.transpose(1, 2, 0)" if first else "the channels come last"
            raise RefusedError(f"must be (H, W), (H, W, 3) or (H, W, 4), not {shape}: {remedy}")
        return _photo(samples, array.dtype.name)
    except RefusedError as refusal:
        raise ImageError(f"an array {refusal}") from None


def from_tensor(tensor: Tensor) -> Photo:
    """A photo of a tensor, whose channels come first.

    Args:
        tensor: `(1, H, W)` grey or `(3, H, W)` RGB of floats in [0, 1], or of uint8 or uint16.

    Raises:
        ImageError: if it has another shape, type or range.
    """
    shape = tuple(tensor.shape)
    try:
        if tensor.ndim != 3 or shape[0] not in (1, 3):
            remedy = "leave out alpha: image[:3]" if shape[:1] == (4,) else "use one of these"
            remedy = "use image[None]" if tensor.ndim == 2 else remedy
            if tensor.ndim == 3 and shape[-1] in (1, 3):
                remedy = "use image.permute(2, 0, 1)"
            raise RefusedError(
                f"must be (3, H, W) or (1, H, W), or a batch of these, not {shape}: {remedy}"
            )
        values = tensor.detach().cpu()
        values = values.float() if values.is_floating_point() else values
        return _photo(values.numpy().transpose(1, 2, 0), str(tensor.dtype).removeprefix("torch."))
    except RefusedError as refusal:
        raise ImageError(f"a tensor {refusal}") from None


def to_array(photo: Photo, like: NDArray[np.generic]) -> NDArray[np.generic]:
    """A photo as an array of the type of another one, with as many dimensions where it is grey.

    Args:
        photo: the photo.
        like: array that the photo, or what it was restored from, was made of.
    """
    if like.dtype.name in _WHITES:
        samples = integer_samples(photo.pixels, photo.alpha, photo.bit_depth, photo.grey)
    else:
        samples = _unit(photo).permute(1, 2, 0).numpy().astype(like.dtype)
    return samples[..., 0] if like.ndim == 2 and samples.shape[-1] == 1 else samples


def to_tensor(photo: Photo, like: Tensor) -> Tensor:
    """A photo as a tensor of the type of another one, on its device.

    Args:
        photo: the photo.
        like: tensor that the photo, or what it was restored from, was made of.
    """
    if like.is_floating_point():
        return _unit(photo).to(like)
    samples = integer_samples(photo.pixels, photo.alpha, photo.bit_depth, photo.grey)
    return torch.from_numpy(np.ascontiguousarray(samples.transpose(2, 0, 1))).to(like)


def _unit(photo: Photo) -> Tensor:
    """The channels `(C, H, W)` of a photo in [0, 1], alpha the last."""
    colour = (photo.pixels.clamp(-1, 1) + 1) / 2
    colour = colour.mean(0, keepdim=True) if photo.grey else colour
    return colour if photo.alpha is None else torch.cat([colour, photo.alpha])


def _photo(samples: NDArray[np.generic], dtype: str) -> Photo:
    """A photo of samples `(H, W, C)`.

    Raises:
        RefusedError: if their type or range is a wrong one.
    """
    if 0 in samples.shape:
        raise RefusedError("has no pixels: check how it was cut out")
    if dtype in _WHITES:
        white, bits = _WHITES[dtype]
        return to_photo(Raster(samples, white, bits, 1, None, ()))
    if samples.dtype.kind != "f":
        remedy = "divide it by the value of white"
        remedy = "use image * 1.0" if dtype == "bool" else remedy
        raise RefusedError(
            f"must be of uint8, of uint16 or of floats in [0, 1], not {dtype}: {remedy}"
        )
    low, high = float(samples.min()), float(samples.max())
    if not (low >= 0 and high <= 1):  # a NaN makes this false, too
        remedy = "scale them to [0, 1]"
        if low >= -1 and high <= 1:
            remedy = "use (image + 1) / 2"
        elif low >= 0 and 1 < high <= 255:
            remedy = "use image / 255"
        elif not np.isfinite(samples.astype(np.float32)).all():
            remedy = "repair the values that are not finite"
        raise RefusedError(f"has values from {low:g} to {high:g}, not in [0, 1]: {remedy}")
    return to_photo(Raster(samples, 1.0, 16, 1, None, ()))
