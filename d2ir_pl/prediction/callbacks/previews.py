"""The small pictures that the report is made of."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from d2ir_pl.image_io import as_picture, resized
from d2ir_pl.prediction.data import Batch
from d2ir_pl.prediction.module import RestorationModule
from d2ir_pl.prediction.outcome import BatchResult
from d2ir_pl.restoration import Step
from d2ir_pl.results.folder import ResultFolder
from d2ir_pl.results.pictures import write_previews


class Previews(pl.Callback):
    """Keeps the pictures of each image that the report shows: the photo, and x0 along the way.

    Comes before `ImageWriter`, whose restored picture is the mark that all of an image is there.

    Args:
        folder: where they go.
        height: of the pictures along the way, in pixels.
        largest: longest side of the photo's picture.
        frames: pictures along the way at most, and the last.
    """

    def __init__(
        self, folder: ResultFolder, height: int = 96, largest: int = 640, frames: int = 12
    ) -> None:
        self.folder = folder
        self.height = height
        self.largest = largest
        self.frames = frames
        self._frames: dict[int, dict[tuple[str, int], Tensor]] = {}

    def on_predict_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, RestorationModule)
        pl_module.observers.append(self.observe)

    def observe(self, step: Step) -> None:
        every = -(-step.total // self.frames)
        if step.sample or (step.index % every and step.index + 1 != step.total):
            return
        x0 = step.x0()
        width = round(x0.shape[-1] * self.height / x0.shape[-2])
        # Many side by side have to be one picture, also those of a long, thin photo.
        size = (self.height, min(max(1, width), 4 * self.height))
        small = resized(x0, size)
        for i, b in enumerate(step.images):
            self._frames.setdefault(b, {})[step.stage, step.index] = small[i].cpu()

    def on_predict_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        assert isinstance(outputs, BatchResult)
        for b, position in enumerate(outputs.positions):
            before = as_picture(outputs.shown[b])
            before.thumbnail((self.largest, self.largest))
            frames = list(self._frames.get(position, {}).values())
            strip = as_picture(torch.cat(frames, 2)) if frames else None
            write_previews(self.folder, outputs.samples[b].item.name, before, strip)
        self._frames = {}
