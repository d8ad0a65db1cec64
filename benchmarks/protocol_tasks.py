"""The photographs of a protocol: read, cut out and degraded."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.protocols import Protocol, photograph
from benchmarks.shake_set import photographs
from benchmarks.tasks import Task
from d2ir_pl.diffusion.randomness import image_generator, normal_like
from d2ir_pl.errors import ImageError, UsageError
from d2ir_pl.image_io import read_image


def pictures(folder: Path | None, size: int, limit: int | None) -> Iterator[tuple[str, Tensor]]:
    """Names and squares of photographs, without files that do not serve.

    Args:
        folder: where they lie, also in folders below it; None for those in the public domain.
        size: side of the squares in pixels.
        limit: number of photographs at most; None for all.

    Raises:
        UsageError: if none serves.
    """
    count = 0
    for file in photographs(folder):
        if count == limit:
            break
        try:
            pixels = read_image(file).pixels
        except ImageError as error:
            print(f"left out: {error}", flush=True)
            continue
        if min(pixels.shape[-2:]) < size:
            print(f"left out: {file.name} is smaller than {size}x{size} pixels", flush=True)
            continue
        count += 1
        # Files in several folders may have one name.
        inside = Path(file.name) if folder is None else file.relative_to(folder)
        yield "_".join(inside.with_suffix("").parts), photograph(pixels, size)
    if not count:
        raise UsageError(
            f"no photograph has {size}x{size} pixels: give others, or a smaller --size"
        )


def degraded(protocol: Protocol, name: str, image: Tensor, noise: float) -> Task:
    """One photograph under a protocol, with everything that is known about it.

    Args:
        protocol: the protocol.
        name: name of the photograph, which its damage depends on.
        image: `(3, H, W)` in [-1, 1].
        noise: standard deviation of the noise that is added to values in [-1, 1].
    """
    generator = image_generator(0, f"protocol/{protocol.about}/{name}")
    clean = image[None]
    damage = protocol.draw(generator, (image.shape[-2], image.shape[-1]))
    y = damage.applied(damage.applied.frame.embed(clean), damage.phi)
    added = noise * normal_like(y, [generator])
    if protocol.config == "colorization":
        added = added[:, :1].expand_as(y)  # a grey photo has one channel
    if "mask" in damage.phi:
        added = added * damage.phi["mask"]
    return Task(
        # Names of tasks tell methods what they are for.
        name=f"{'blur' if protocol.blur else 'other'}_{protocol.config}",
        config=protocol.config,
        names=[name],
        y=y + added,
        reference=clean,
        degradation=damage.family,
        phi=damage.phi,
        kernel=None if damage.kernel is None else damage.kernel[None],
        unknown=damage.unknown,
    )


def moved(task: Task, device: torch.device) -> Task:
    """A task on another device."""
    kernel = None if task.kernel is None else task.kernel.to(device)
    y, reference = task.y.to(device), task.reference.to(device)
    return replace(task, y=y, reference=reference, phi=task.phi.to(device), kernel=kernel)
