"""Restoration of one image in three lines, without Lightning."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from d2ir_pl.degradations import Degradation, GaussianBlur
from d2ir_pl.diagnosis.proposal import propose
from d2ir_pl.diffusion.randomness import image_generator
from d2ir_pl.errors import require
from d2ir_pl.image_io import Photo, as_picture, read_image
from d2ir_pl.priors import Prior, load_prior
from d2ir_pl.priors.precision import DTYPES, Precision, resolve
from d2ir_pl.restoration import (
    D2IR,
    Observer,
    Problem,
    Restoration,
    RestorationMethod,
    configs,
    restore_samples,
    silent,
)

ImageLike = TypeVar("ImageLike", Tensor, NDArray[np.generic], Image.Image, Path, str)


@dataclass(frozen=True)
class Restored(Generic[ImageLike]):
    """A restored image and everything behind it.

    Attributes:
        image: the restored image, of the kind that went in; a PIL image where a path went in.
        picture: the estimated degradation as a picture, `(h, w)` in [0, 1]; None if it has none.
        parameters: the estimated degradation as numbers.
        restoration: tensors, residuals and losses of a batch of one.
        reasons: sentences that say why the degradation was chosen, if the program has chosen it.
    """

    image: ImageLike | Image.Image
    picture: Tensor | None
    parameters: dict[str, object]
    restoration: Restoration
    reasons: tuple[str, ...] = ()


def restore(
    image: ImageLike,
    degradation: Degradation | str | None = None,
    method: RestorationMethod | None = None,
    prior: str | Prior = "natural-small",
    *,
    sigma_y: float | None = None,
    seed: int = 0,
    num_samples: int = 1,
    label: int | None = None,
    precision: Precision = "auto",
    device: str | torch.device | None = None,
    observer: Observer = silent,
) -> Restored[ImageLike]:
    """Restore one image.

    Args:
        image: a path; a PIL image (RGB, RGBA with alpha kept, or grey); an array `(H, W)`,
            `(H, W, 3)` of uint8, or of floats in [0, 1]; or a tensor `(3, H, W)` or
            `(1, H, W)` of floats in [0, 1].
        degradation: what happened to the image; an unknown isotropic Gaussian blur if None. A
            string is the name of a shipped config, such as `denoising`, whose method is then the
            default; with `auto` the program looks at the image and chooses.
        method: how the image is restored; `D2IR()` if None, or what the config or the program's
            choice says.
        prior: a name or path, which is loaded at every call, or a loaded prior, which is moved to
            the device and otherwise used as it is.
        sigma_y: standard deviation of the image's noise in [0, 1]; estimated if None.
        seed: seed of all noise that is drawn; the same one gives the same result.
        num_samples: number of restorations whose mean is the result; `restoration.std` is then
            their standard deviation.
        label: class of every prediction, where a prior given by name is class-conditional.
        precision: what a prior given by name computes in; `auto` is half precision where the
            device has arithmetic for it, without which it is very slow on a CPU.
        device: the device to compute on; a GPU if there is one.
        observer: a function that is told of every step.

    Raises:
        ImageError: if a file cannot be read as an image.
        InputError: if there is no config of the given name.
        PriorError: if the prior cannot be loaded.
        ValueError: if the image has another shape, type or range, if a label is given for a loaded
            prior, or if sigma_y or num_samples is out of range.
    """
    if sigma_y is not None:
        require("sigma_y", sigma_y, 0, below=1)
    file = read_image(image) if isinstance(image, (str, Path)) else None
    pixels = _to_pixels(image) if file is None else file.pixels
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    reasons: tuple[str, ...] = ()
    if degradation == "auto":
        proposal = propose(pixels, None if file is None else file.tables, sigma_y)
        degradation, reasons = proposal.degradation, proposal.reasons
        method = proposal.method if method is None else method
    elif isinstance(degradation, str):
        setup = configs.load(degradation)
        degradation = setup.degradation
        method = setup.method if method is None else method
    degradation = (GaussianBlur() if degradation is None else degradation).to(device)
    if file is not None:
        degradation = degradation.for_images([file], [Path(str(image)).name])
    method = D2IR() if method is None else method
    if isinstance(prior, str):
        dtype = DTYPES[resolve(precision, device)]
        prior = load_prior(prior, label=label).cast(dtype)
    elif label is not None:
        raise ValueError(f"label {label} comes too late for a loaded prior: give it to load_prior")
    noise = None if sigma_y is None else torch.full((1,), 2 * sigma_y)
    generators = [image_generator(seed, "")]
    problem = Problem.of(pixels[None].to(device), degradation, generators, noise)
    restoration = restore_samples(method, num_samples, problem, prior.to(device), observer).cpu()
    picture = degradation.picture(restoration.phi)
    return Restored(
        _like(image, restoration.x0[0], degradation.keeps_grey, file),
        None if picture is None else picture[0],
        degradation.describe(restoration.phi)[0],
        restoration,
        reasons,
    )


def _to_pixels(image: Tensor | NDArray[np.generic] | Image.Image) -> Tensor:
    """An image as `(3, H, W)` float32 in [-1, 1].

    Raises:
        ValueError: if it has another shape, type or range than `restore` takes.
    """
    if isinstance(image, Image.Image):
        if image.mode not in ("L", "RGB", "RGBA"):
            raise ValueError(f"PIL images of mode {image.mode} are ambiguous: convert to 'RGB'")
        image = np.asarray(image.convert("RGB"))
    unit = _unit_tensor(image) if isinstance(image, Tensor) else _unit_array(image)
    if not bool(((unit >= 0) & (unit <= 1)).all()):
        raise ValueError(
            f"values range from {float(unit.min()):g} to {float(unit.max()):g}: scale to [0, 1]"
        )
    return (unit.expand(3, -1, -1) * 2 - 1).contiguous()


def _unit_tensor(image: Tensor) -> Tensor:
    """A tensor as `(3, H, W)` or `(1, H, W)` float32 in its own range."""
    if image.ndim != 3 or image.shape[0] not in (1, 3) or not image.is_floating_point():
        raise ValueError(
            f"a tensor must be (3, H, W) or (1, H, W) of floats in [0, 1], not {image.dtype} "
            f"{tuple(image.shape)}"
        )
    return image.detach().float()


def _unit_array(image: NDArray[np.generic]) -> Tensor:
    """An array as `(3, H, W)` or `(1, H, W)` float32, in [0, 1] if it is of uint8."""
    if image.dtype != np.uint8 and image.dtype.kind != "f":
        raise ValueError(f"an array must be uint8, or floats in [0, 1], not {image.dtype}")
    scale = 255.0 if image.dtype == np.uint8 else 1.0
    unit = torch.from_numpy(np.asarray(image, dtype=np.float32) / scale)
    unit = unit[..., None] if unit.ndim == 2 else unit
    if unit.ndim != 3 or unit.shape[2] not in (1, 3):
        raise ValueError(f"an array must be (H, W) or (H, W, 3), not {image.shape}")
    return unit.permute(2, 0, 1)


def _like(
    image: ImageLike, x0: Tensor, keeps_grey: bool, file: Photo | None
) -> ImageLike | Image.Image:
    """The restored image in the form of the one that went in, at the size of x0.

    Args:
        image: what went in.
        x0: the restored image, `(3, H, W)` in [-1, 1].
        keeps_grey: whether the restoration of a grey image is grey.
        file: what was read from the path that went in; None if it was no path.
    """
    unit = (x0 + 1) / 2
    if isinstance(image, Tensor):
        grey = image.shape[0] == 1 and keeps_grey
        return (unit.mean(0, keepdim=True) if grey else unit).to(image)
    if isinstance(image, np.ndarray):
        values = unit.permute(1, 2, 0).numpy()
        if keeps_grey and (image.ndim == 2 or image.shape[2] == 1):
            values = values.mean(2, keepdims=image.ndim == 3)
        if image.dtype == np.uint8:
            values = (values * 255).round()
        return values.astype(image.dtype)
    grey, alpha = False, None
    if file is not None:
        grey, alpha = file.grey, None if file.alpha is None else file.alpha[0].numpy()
    elif isinstance(image, Image.Image):
        grey = image.mode == "L"
        alpha = np.array(image)[..., 3] / 255 if image.mode == "RGBA" else None
    picture = as_picture(x0)
    if grey and keeps_grey:
        picture = picture.convert("L")
    if alpha is not None:
        opacity = Image.fromarray((alpha * 255).round().astype(np.uint8))
        picture.putalpha(opacity.resize(picture.size))
    return picture
