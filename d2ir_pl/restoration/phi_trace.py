"""The walk of the degradation's parameters over stage 1: whether they settle."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from d2ir_pl.degradations import Phi
from d2ir_pl.operators.fetching import fetched
from d2ir_pl.restoration.step import Step


class PhiTrace:
    """An observer that keeps how far phi moves from step to step of stage 1, image by image.

    It watches one batch. Of several samples it follows the first. An image that is restored again
    starts afresh.
    """

    def __init__(self) -> None:
        self._kept: list[tuple[list[int], Tensor]] = []
        self._numbers: list[list[float]] = []
        """The numbers of those of `_kept` that were asked for, which a device is waited for."""
        self._first: dict[int, int] = {}
        """Where in `_kept` the changes of an image begin."""
        self._before: tuple[list[int], Phi] = ([], Phi())

    @torch.no_grad()
    def __call__(self, step: Step) -> None:
        if step.stage != "estimation" or step.sample:
            return
        free = bool(step.degradation.free(step.phi))
        if step.index == 0:  # a photo that is restored again may have nothing left to estimate
            self._first.update(dict.fromkeys(step.images, len(self._kept)))
        elif free and step.images == self._before[0]:
            self._kept.append((step.images, step.degradation.change(step.phi, self._before[1])))
        self._before = step.images, step.phi

    def changes(self, image: int) -> list[float | None]:
        """The changes of an image so far, by its position in the batch; None where not finite."""
        new = fetched([values for _, values in self._kept[len(self._numbers) :]])
        self._numbers += [values.tolist() for values in new]
        first = self._first.get(image, len(self._kept))
        own = [
            numbers[images.index(image)]
            for (images, _), numbers in zip(self._kept[first:], self._numbers[first:], strict=True)
            if image in images
        ]
        return [round(change, 6) if math.isfinite(change) else None for change in own]
