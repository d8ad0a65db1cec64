"""The small pictures that the report is made of."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from PIL import Image
from torch import Tensor

from d2ir_pl.image_io import Photo, as_picture, in_srgb, profile_of, resized, srgb_picture
from d2ir_pl.operators.fetching import fetched
from d2ir_pl.prediction.callbacks.base import SparingCallback
from d2ir_pl.prediction.outcome import BatchResult
from d2ir_pl.restoration import Step
from d2ir_pl.results.folder import ResultFolder
from d2ir_pl.results.pictures import write_previews

WIDEST = 4
"""Ratio of width to height at which pictures along the way are cut short: many of a long, thin
photo, side by side, have to be one picture."""


class Previews(SparingCallback):
    """Keeps the pictures of each image that the report shows: the photo, and x0 along the way.

    It comes before `ImageWriter`, whose restored picture is the mark that all of an image is there.

    Args:
        folder: results that the pictures belong to.
        height: height in pixels of the pictures along the way.
        largest: longest side in pixels of the photo's picture.
        frames: number of pictures along the way at most, beside the last.
    """

    output = "its pictures for the report"

    def __init__(
        self, folder: ResultFolder, height: int = 96, largest: int = 640, frames: int = 12
    ) -> None:
        super().__init__()
        self.folder = folder
        self.height = height
        self.largest = largest
        self.frames = frames
        self._frames: dict[str, dict[tuple[str, int], tuple[Tensor, int]]] = {}
        """Of each image its pictures along the way by stage and step, each as those of a batch,
        where they were made, and the position among them."""

    def observe(self, step: Step) -> None:
        every = -(-step.total // self.frames)
        if step.sample or (step.index % every and step.index + 1 != step.total):
            return
        names = self.names(step)
        with self.sparing(names):
            x0 = step.x0()
            width = round(x0.shape[-1] * self.height / x0.shape[-2])
            size = (self.height, min(max(1, width), WIDEST * self.height))
            frames = resized(x0, size)
            for b, name in enumerate(names):
                self._frames.setdefault(name, {})[step.stage, step.index] = frames, b

    def finish(self, result: BatchResult) -> None:
        of_image = self._fetched([image.name for image in result.results])
        for image in result.results:
            with self.sparing([image.name]):
                photo = image.sample.photo
                before = self._small(image.shown, photo)
                frames = of_image.get(image.name, [])
                strip = srgb_picture(torch.cat(frames, 2), photo) if frames else None
                own_colours = profile_of(photo) is not None
                after = self._small(image.x0, photo) if own_colours else None
                write_previews(self.folder, image.name, before, strip, after)
            self.forget(image)
        for failure in result.failures:
            self._frames.pop(failure.name, None)

    def close(self) -> None:
        super().close()
        self._frames = {}

    def _fetched(self, names: Sequence[str]) -> dict[str, list[Tensor]]:
        """The pictures along the way of some images, on the CPU, which are forgotten here."""
        with self.sparing(names):
            own = {name: [*self._frames.pop(name, {}).values()] for name in names}
            here = iter(fetched([frames for kept in own.values() for frames, _ in kept]))
            return {name: [next(here)[b] for _, b in kept] for name, kept in own.items()}
        return {}

    def _small(self, pixels: Tensor, photo: Photo) -> Image.Image:
        """A picture in sRGB to look at."""
        picture = as_picture(pixels)
        picture.thumbnail((self.largest, self.largest))
        return in_srgb(picture, profile_of(photo))
