"""The photographs of a task, those together that are restored in the same way."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from benchmarks.methods import asked, shipped
from benchmarks.tasks import Task
from benchmarks.written import store
from d2ir_pl.batches.plan import Plan
from d2ir_pl.degradations import Degradation
from d2ir_pl.diagnosis.codecs import with_rounding
from d2ir_pl.image_io import Photo, read_image
from d2ir_pl.restoration import RestorationMethod

BATCH = 4
"""Photographs that are restored together."""


@dataclass(frozen=True)
class Alike:
    """Photographs that are restored in the same way.

    Attributes:
        names: their names.
        y: `(B, 3, h, w)` or `(B, S, 3, h, w)` in [-1, 1], the degraded images.
        reference: `(B, 3, H, W)` in [-1, 1], the clean images.
        degradation: the family of degradations, with nothing known of phi but what was read off.
        method: the method.
    """

    names: list[str]
    y: Tensor
    reference: Tensor
    degradation: Degradation
    method: RestorationMethod


def parts(task: Task, stored: str) -> Iterator[Alike]:
    """The photographs of a task as they are restored.

    Args:
        task: the task; with the config `auto`, each photograph is restored as what it is taken for.
        stored: format of the files that they are stored in, such as `jpeg90`, or formats that they
            have in turn, such as `jpeg92/80`; if empty, they are restored as they are.
    """
    if not stored and task.config != "auto":
        for first in range(0, len(task.names), BATCH):
            part = task.part(slice(first, first + BATCH))
            yield Alike(part.names, part.y, part.reference, asked(part), shipped(part))
        return
    codec = stored.rstrip("0123456789/") or "png"
    forms = [codec + quality for quality in stored.removeprefix(codec).split("/")]
    with tempfile.TemporaryDirectory() as folder:
        for b in range(len(task.names)):
            part = task.part(slice(b, b + 1))
            photo = read_image(store(part.y[0], forms[b % len(forms)], Path(folder)))
            yield Alike(part.names, photo.pixels[None], part.reference, *_as_read(photo, part))


def _as_read(photo: Photo, part: Task) -> tuple[Degradation, RestorationMethod]:
    """What a photograph is restored as, by what its file and its pixels show."""
    if part.config == "auto":
        plan = Plan.chosen(photo, photo.pixels, None)
        family, method = plan.degradation, plan.method
    else:
        family, method = with_rounding(asked(part), photo.pixels, photo), shipped(part)
    return family.for_images([photo], part.names), method
