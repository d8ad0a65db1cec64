"""The function `restore`."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any, TypedDict, Unpack, overload

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from d2ir_pl.api.arguments import check_types
from d2ir_pl.api.restored import Restored
from d2ir_pl.api.task import Task, loaded
from d2ir_pl.batches.amount import Amount
from d2ir_pl.batches.attempts import Attempted, Attempts, Outcome
from d2ir_pl.batches.observation import Observation
from d2ir_pl.batches.plan import Plan
from d2ir_pl.batches.restoring import exact_gradients, restore_batch
from d2ir_pl.degradations import Degradation
from d2ir_pl.errors import RestorationError, UsageError, require
from d2ir_pl.image_io import Photo, to_array, to_pillow, to_tensor
from d2ir_pl.inputs.given import read_given, several
from d2ir_pl.inputs.samples import Sample
from d2ir_pl.priors import Prior
from d2ir_pl.priors.precision import Precision
from d2ir_pl.restoration import Observer, RestorationMethod, silent


class Options(TypedDict, total=False):
    """The types of the arguments of `restore` that are given by name."""

    sigma_y: float | None
    seed: int
    num_samples: int | None
    label: int | None
    precision: Precision
    device: str | int | torch.device | None
    batch_size: int
    start: str | os.PathLike[str] | None
    observer: Observer
    second_opinion: bool | None
    strength: float
    keep_grain: float
    region: str | list[int] | None


@overload
def restore(
    image: str | os.PathLike[str] | Image.Image,
    degradation: Degradation | str | None = None,
    method: RestorationMethod | None = None,
    prior: str | os.PathLike[str] | Prior = "natural-small",
    **options: Unpack[Options],
) -> Restored[Image.Image]: ...


@overload
def restore(  # their number of dimensions, which no type tells, makes a list or not
    image: Tensor | NDArray[Any],
    degradation: Degradation | str | None = None,
    method: RestorationMethod | None = None,
    prior: str | os.PathLike[str] | Prior = "natural-small",
    **options: Unpack[Options],
) -> Any: ...


@overload
def restore(
    image: list[Any] | tuple[Any, ...] | Iterator[Any],
    degradation: Degradation | str | None = None,
    method: RestorationMethod | None = None,
    prior: str | os.PathLike[str] | Prior = "natural-small",
    **options: Unpack[Options],
) -> list[Restored[Any]]: ...


def restore(
    image: Any,
    degradation: Degradation | str | None = None,
    method: RestorationMethod | None = None,
    prior: str | os.PathLike[str] | Prior = "natural-small",
    *,
    sigma_y: float | None = None,
    seed: int = 0,
    num_samples: int | None = None,
    label: int | None = None,
    precision: Precision = "auto",
    device: str | int | torch.device | None = None,
    batch_size: int = 1,
    start: str | os.PathLike[str] | None = None,
    observer: Observer = silent,
    second_opinion: bool | None = None,
    strength: float = 1.0,
    keep_grain: float = 0.0,
    region: str | list[int] | None = None,
) -> Restored[Any] | list[Restored[Any]]:
    """Restore one image, or several.

    A file comes out as `predict` writes it: with the same seed, settings and precision,
    `restore("photo.jpg").save("photo.png")` makes the same file, to the bit, as `d2ir predict
    --data.inputs photo.jpg`. Its noise depends on the seed and on the file's name; that of an image
    in memory on the seed alone.

    Args:
        image: a path; a PIL image, which is treated as a file of its mode, `info` included; an
            array `(H, W)`, `(H, W, 3)` or `(H, W, 4)` of uint8, of uint16, or of floats in [0, 1],
            in the order red, green, blue, alpha; or a tensor `(3, H, W)` or `(1, H, W)` of the
            same types. A list of these, or a batch `(B, 3, H, W)`, `(B, 1, H, W)` or
            `(B, H, W, 3)` (a tensor or an array), makes a list of results in the same order, each
            as if it were restored alone.
        degradation: what happened to the image; an unknown isotropic Gaussian blur if None. A
            string is the name of a shipped config, such as `denoising`, whose method and number of
            samples are then the defaults; with `auto` the program looks at each image and chooses.
        method: how the image is restored; `D2IR()` if None, or what the config or the program's
            choice says.
        prior: a name or path, which is loaded at every call, or a loaded prior, which is moved to
            the device and otherwise used as it is.
        sigma_y: standard deviation of the image's noise in [0, 1]; estimated if None.
        seed: seed of all noise that is drawn; the same one gives the same result.
        num_samples: number of restorations whose mean is the result, 1 if None and no config says
            otherwise; `restoration.std` is then their standard deviation.
        label: class of every prediction, where a prior given by name is class-conditional.
        precision: what a prior given by name computes in; `auto` is half precision where the
            device has arithmetic for it, without which it is very slow on a CPU.
        device: the device to compute on, such as `cuda:1` or its number; a GPU if there is one.
        batch_size: number of images of equal size that are restored together, which changes speed
            and memory, and the results by no more than rounding.
        start: the `.json` that `predict` wrote about a photo, whose estimated degradation all
            images have; it is taken as known. With the degradation `auto`, its kind is too.
        observer: a function that is told of every step, with the positions of its images.
        second_opinion: whether a result that is likely to be further from the truth than its image
            is replaced by that of a gentler hypothesis, or by the image itself, and whether an
            image to be enlarged is restored as if made smaller with and without anti-aliasing;
            None is what the config says, and true for `auto`. A degradation that is known from
            `start` is not doubted.
        strength: how much of the restoration is kept, from 0 for the image itself to 1: less than 1
            leaves a share of the blur and of the grain, see `d2ir_pl.batches.amount.Amount`.
        keep_grain: share of what was taken for noise that comes back, in [0, 1].
        region: where the restoration applies: a mask file whose bright pixels are restored, a
            folder of these, or the box [top, left, height, width]; everywhere if None.

    Returns:
        A `Restored`; a list of them where several images are given.

    Raises:
        ImageError: if an image cannot be read, or has a wrong shape, type or range. All images are
            read before the first is restored, and the message names every one that is wrong.
        InputError: if there is no config of the given name, or `start` holds no parameters, or
            those of another degradation.
        PriorError: if the prior cannot be loaded.
        UsageError: if an argument is of a wrong type.
        ValueError: if the method does not fit the degradation, if a label is given for a loaded
            prior, or if a number is out of range.
        RestorationError: if an image cannot be restored; its `restored` holds the others.
    """
    check_types(locals())
    if sigma_y is not None:
        require("sigma_y", sigma_y, 0, below=1)
    require("batch_size", batch_size, 1)
    amount = Amount(strength, keep_grain, region)
    task = Task.of(degradation, method, num_samples).started(start)
    images = several(image)
    given = [image] if images is None else images
    samples = read_given(given, alone=images is None)
    device = _device(device)
    results: list[Restored[Any] | None] = [None] * len(samples)
    failures = Outcome()
    with exact_gradients(device):
        attempts = Attempts(loaded(prior, label, precision, device))
        task.check(samples, attempts.prior)
        for part in _batches(samples, 1 if task.degradation is None else batch_size):
            plan = task.plan(samples[part[0]], sigma_y, device)
            observations = {n: _observation(samples[n], plan, device) for n in part}
            outcome = restore_batch(
                attempts,
                observations,
                plan,
                [observer],
                seed=seed,
                sigma_y=sigma_y,
                num_samples=task.num_samples,
                second_opinion=task.second_opinion if second_opinion is None else second_opinion,
                amount=amount,
            )
            for n, attempted in outcome.restored.items():
                own = outcome.plans[n]
                results[n] = _restored(given[n], observations[n], own, attempted)
            failures.failed |= outcome.failed
            failures.traces |= outcome.traces
    if failures.failed:
        raise _error(samples, results, failures)
    found = [result for result in results if result is not None]
    return found[0] if images is None else found


def _batches(samples: Sequence[Sample], batch_size: int) -> list[list[int]]:
    """Positions of images of equal size, at most `batch_size` at a time."""
    batches: list[list[int]] = []
    filling: dict[torch.Size, list[int]] = {}
    for n, sample in enumerate(samples):
        batch = filling.get(sample.y.shape)
        if batch is None or len(batch) == batch_size:
            batch = filling[sample.y.shape] = []
            batches.append(batch)
        batch.append(n)
    return batches


def _device(device: str | int | torch.device | None) -> torch.device:
    """The device of a name or of the number of a GPU.

    Raises:
        UsageError: if there is no such device.
    """
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        found = torch.device("cuda", device) if isinstance(device, int) else torch.device(device)
    except RuntimeError as error:
        raise UsageError(f"device {device!r} is unknown: use 'cpu', 'cuda' or 'cuda:1'") from error
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if found.type == "cuda" and (found.index or 0) >= count:
        there = f"there are {count}, from 0" if count else "there is none: use 'cpu'"
        raise UsageError(f"device {device!r} is a GPU that is not there: {there}")
    return found


def _observation(sample: Sample, plan: Plan, device: torch.device) -> Observation:
    given = Observation.given(sample, sample.y[None].to(device), plan.degradation)
    return given.started(plan.start)


@torch.no_grad()
def _restored(
    image: Any, observation: Observation, plan: Plan, attempted: Attempted
) -> Restored[Any]:
    """The result for an image, of the kind that went in."""
    restoration, degradation = attempted.restoration.cpu(), plan.degradation
    photo = observation.restored_as.photo.restored(restoration.x0[0], degradation.keeps_grey)
    picture = degradation.picture(restoration.phi)
    return Restored(
        _like(image, photo),
        None if picture is None else picture[0],
        degradation.describe(restoration.phi)[0],
        restoration,
        tuple(observation.reasons(plan, restoration.phi)),
        (*photo.notes, *attempted.notes, *restoration.remarks),
        attempted.opinion,
        photo=photo,
    )


def _like(image: Any, photo: Photo) -> Tensor | NDArray[Any] | Image.Image:
    if isinstance(image, Tensor):
        return to_tensor(photo, image)
    return to_array(photo, image) if isinstance(image, np.ndarray) else to_pillow(photo)


def _error(
    samples: Sequence[Sample], results: Sequence[Restored[Any] | None], failures: Outcome
) -> RestorationError:
    """Why images were not restored, with the others and with what was raised."""
    items = {n: samples[n].item for n in failures.failed}
    names = {n: str(item.path) if item.key else item.name for n, item in items.items()}
    reasons = "; ".join(f"{names[n]}: {reason}" for n, reason in sorted(failures.failed.items()))
    if len(samples) > 1:
        reasons = f"{len(names)} of {len(samples)} images are not restored: {reasons}"
    error = RestorationError(reasons, results)
    for n in sorted(names):
        if n in failures.traces:
            error.add_note(failures.traces[n])
    return error
