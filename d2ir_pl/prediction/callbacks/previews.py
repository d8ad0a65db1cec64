"""The small pictures that the report is made of."""

from __future__ import annotations

import torch
from PIL import Image
from torch import Tensor

from d2ir_pl.image_io import Photo, as_picture, in_srgb, profile_of, resized, srgb_picture
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
        self._frames: dict[str, dict[tuple[str, int], Tensor]] = {}

    def observe(self, step: Step) -> None:
        every = -(-step.total // self.frames)
        if step.sample or (step.index % every and step.index + 1 != step.total):
            return
        names = self.names(step)
        with self.sparing(names):
            x0 = step.x0()
            width = round(x0.shape[-1] * self.height / x0.shape[-2])
            size = (self.height, min(max(1, width), WIDEST * self.height))
            for name, frame in zip(names, resized(x0, size).cpu(), strict=True):
                self._frames.setdefault(name, {})[step.stage, step.index] = frame

    def finish(self, result: BatchResult) -> None:
        for image in result.results:
            with self.sparing([image.name]):
                photo = image.sample.photo
                before = self._small(image.shown, photo)
                frames = list(self._frames.pop(image.name, {}).values())
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

    def _small(self, pixels: Tensor, photo: Photo) -> Image.Image:
        """A picture in sRGB to look at."""
        picture = as_picture(pixels)
        picture.thumbnail((self.largest, self.largest))
        return in_srgb(picture, profile_of(photo))
