"""The walk of the degradation's parameters over stage 1: whether they settle."""

from __future__ import annotations

import math

import torch

from d2ir_pl.degradations import Phi
from d2ir_pl.restoration.step import Step


class PhiTrace:
    """An observer that keeps how far phi moves from step to step of stage 1, image by image.

    It watches one batch. Of several samples it follows the first. An image that is restored again
    starts afresh.
    """

    def __init__(self) -> None:
        self._changes: dict[int, list[float | None]] = {}
        self._before: tuple[list[int], Phi] = ([], Phi())

    @torch.no_grad()
    def __call__(self, step: Step) -> None:
        if step.stage != "estimation" or step.sample:
            return
        free = bool(step.degradation.free(step.phi))
        if step.index == 0:  # a photo that is restored again may have nothing left to estimate
            self._changes.update((b, []) for b in step.images)
        elif free and step.images == self._before[0]:
            changes = step.degradation.change(step.phi, self._before[1]).tolist()
            for b, change in zip(step.images, changes, strict=True):
                self._changes[b].append(round(change, 6) if math.isfinite(change) else None)
        self._before = step.images, step.phi

    def changes(self, image: int) -> list[float | None]:
        """The changes of an image so far, by its position in the batch; None where not finite."""
        return self._changes.get(image, [])
