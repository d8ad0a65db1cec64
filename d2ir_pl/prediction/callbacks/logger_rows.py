"""Curves and scores of images as rows of numbers, for any of Lightning's loggers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from pytorch_lightning.loggers import CSVLogger, Logger, MLFlowLogger, WandbLogger
from torch import Tensor

from d2ir_pl.prediction.callbacks.event_files import last_pictures
from d2ir_pl.prediction.outcome import ImageResult
from d2ir_pl.restoration import Step

Row = dict[str, float]


class LoggerRows:
    """Hands the curves and scores of each image to loggers, as rows under the same few names.

    A row is a step of one image: its `image` (a number, from 0 in the order of logging),
    `estimation/step` and the values of the step; or the `score/` values of the image, its last row.
    The names of the columns are the same for all images, so that thousands of them are one table.
    The step that the logger sees counts the rows. The name of the image is in the column `name` of
    loggers that take text (CSV and Weights & Biases).

    Rows are logged when the image is restored. Loggers write in the first process alone: other
    processes hold their rows until `hand_over`. Pictures go to Weights & Biases and MLflow, of the
    images of the first process.

    Args:
        loggers: the loggers.
        first: whether this is the first process.
    """

    def __init__(self, loggers: Sequence[Logger], first: bool) -> None:
        self.loggers = loggers
        self.first = first
        self.steps = 0
        self._images = 0
        self._rows: dict[str, dict[tuple[str, int], Row]] = {}
        self._held: list[tuple[str, list[Row]]] = []

    def begin(self, name: str) -> None:
        """Forget what is known of an image, which is restored (again)."""
        self._rows[name] = {}

    def log(self, step: Step, names: Sequence[str], curves: Mapping[str, Sequence[float]]) -> None:
        """Take note of the values of a step.

        Args:
            step: the step.
            names: names of the n images that it concerns.
            curves: n values by the name of their curve, such as `loss`.
        """
        for i, name in enumerate(names):
            row = {f"{step.stage}/{title}": float(values[i]) for title, values in curves.items()}
            self._row(name, step.stage, step.index).update(row)

    def end(self, image: ImageResult, scores: Mapping[str, float]) -> None:
        """Log the rows of a restored image, or hold them where this is not the first process."""
        for i, change in enumerate(image.phi_change):
            if change is not None:
                self._row(image.name, "estimation", i + 1)["estimation/phi_change"] = change
        rows = [*self._rows.pop(image.name, {}).values(), dict(scores)]
        if not self.first:
            self._held.append((image.name, rows))
            return
        self._write(image.name, rows)
        for tag, picture in last_pictures(image).items():
            for logger in self.loggers:
                _log_picture(logger, tag, image.name, picture, self.steps - 1)

    def close(self, names: Iterable[str]) -> None:
        """Forget some images, whose rows are logged, or which have failed."""
        for name in names:
            self._rows.pop(name, None)

    def hand_over(self) -> None:
        """Log what the other processes hold; all processes of the run have to call it."""
        gathered: list[Any] = [None] * torch.distributed.get_world_size()
        torch.distributed.all_gather_object(gathered, self._held)
        self._held = []
        if self.first:
            for name, rows in (image for held in gathered for image in held):
                self._write(name, rows)

    def _row(self, name: str, stage: str, index: int) -> Row:
        rows = self._rows.setdefault(name, {})
        return rows.setdefault((stage, index), {f"{stage}/step": index})

    def _write(self, name: str, rows: Sequence[Row]) -> None:
        for row in rows:
            for logger in self.loggers:
                named: dict[str, Any] = {"image": self._images, **row}
                if isinstance(logger, CSVLogger | WandbLogger):
                    named["name"] = name
                logger.log_metrics(named, self.steps)
            self.steps += 1
        self._images += 1


def _log_picture(logger: Logger, tag: str, name: str, picture: Tensor, step: int) -> None:
    """Hand a picture `(C, h, w)`, of 8 bits or in [0, 1], to a logger that takes pictures."""
    if not isinstance(logger, WandbLogger | MLFlowLogger):
        return
    pixels = np.moveaxis(picture.numpy(), 0, -1)
    if pixels.dtype != np.uint8:
        pixels = (255 * pixels.clip(0, 1)).round().astype(np.uint8)
    if isinstance(logger, WandbLogger):
        logger.log_image(tag, [pixels], step, caption=[name])
    else:
        file = f"{tag.replace(' | ', ', ')}/{name}.png"
        logger.experiment.log_image(logger.run_id, pixels, file)
