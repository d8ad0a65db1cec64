"""Curves of every step and scores of every image, for TensorBoard and any other logger."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import Logger, TensorBoardLogger

from d2ir_pl.errors import require
from d2ir_pl.prediction.callbacks.base import SparingCallback
from d2ir_pl.prediction.callbacks.event_files import EventFiles
from d2ir_pl.prediction.callbacks.logger_rows import LoggerRows
from d2ir_pl.prediction.outcome import BatchResult, ImageResult
from d2ir_pl.restoration import Step
from d2ir_pl.results.folder import ResultFolder
from d2ir_pl.results.guards import writing
from d2ir_pl.results.record import METRICS


class TrajectoryLogger(SparingCallback):
    """Logs the curves of every step, and the scores and pictures of every image.

    They go to every logger of the trainer. TensorBoard gets a run for each image, in the folder of
    its logger; other loggers, such as `CSVLogger`, get a row for each step of each image, see
    `LoggerRows`. Each process writes the runs of its own images for TensorBoard; the rows of all
    processes come together in the first one, which logs its own as they arise and those of the
    others at the end.

    Scalars: `estimation/loss` and `latent/loss` (mean squared residual in [0, 1]),
    `.../residual_over_sigma` (1: explained to the noise), `.../assumed_error` (noise and model
    error together, in [0, 1]), `latent/x_T_rms` (1: white noise), `estimation/phi_change` (how far
    the degradation moved since the step before), and at the end `score/` with each of `METRICS`
    that the image has, such as `score/psnr`.
    Pictures: `estimation/x0` and `estimation/degradation` (a kernel), the same of `latent`, from
    the first step on, in TensorBoard alone, and at the end `degradation` and
    `input | restored | reference` (or `input | restored`). Where several samples are drawn, the
    steps are those of the first, and `uncertainty` shows their standard deviation. An image that
    is restored again gets a new run of TensorBoard in place of the old one.

    Args:
        folder: results, in which event files go to `tensorboard/` as well; none if None.
        images_every: number of steps from one picture to the next, beside that of the last; 0 for
            no pictures along the way. Stages of more than 20 times as many steps get 20 pictures.
    """

    output = "its curves"

    def __init__(self, folder: ResultFolder | None = None, images_every: int = 5) -> None:
        super().__init__()
        require("images_every", images_every, 0)
        self.folder = folder
        self.images_every = images_every
        self._event_files: list[EventFiles] = []
        self._rows: LoggerRows | None = None
        self._seen: set[tuple[str, str, int]] = set()

    @property
    def steps(self) -> int:
        """Number of rows that loggers other than TensorBoard have got."""
        return 0 if self._rows is None else self._rows.steps

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        super().setup(trainer, pl_module, stage)
        own = [] if self.folder is None else [self.folder.root / "tensorboard"]
        # The first process decides on the number of a version; processes without images come here
        # too, unlike to the start of the prediction.
        named = [
            Path(trainer.strategy.broadcast(logger.log_dir))
            for logger in trainer.loggers
            if isinstance(logger, TensorBoardLogger)
        ]
        self._event_files = [EventFiles(root, self.images_every) for root in (*own, *named)]
        others = [x for x in trainer.loggers if not isinstance(x, TensorBoardLogger)]
        self._rows = self._rows_for(others, trainer.is_global_zero)

    def _rows_for(self, loggers: list[Logger], first: bool) -> LoggerRows | None:
        """Those of an earlier prediction where the loggers are the same: they are counted on."""
        if self._rows is not None and self._rows.loggers == loggers:
            return self._rows
        return LoggerRows(loggers, first) if loggers else None

    def begin(self) -> None:
        self._seen = set()
        for files in self._event_files:
            files.photos = self.photos
        for item in self.items:
            with self._writing([item.name]):
                self._begin(item.name)

    def observe(self, step: Step) -> None:
        if not step.sample:
            names = self.names(step)
            with self._writing(names):
                self._log(step, names)

    def finish(self, result: BatchResult) -> None:
        for image in result.results:
            with self._writing([image.name]):
                scores = _scores(image)
                for sink in self._sinks:
                    sink.end(image, scores)
        names = [image.name for image in result.results] + [f.name for f in result.failures]
        for sink in self._sinks:
            with self._writing(names):
                sink.close(names)
        for image in result.results:
            self.forget(image)

    @contextmanager
    def _writing(self, names: Sequence[str]) -> Iterator[None]:
        """Write curves of some images, whose faults cost these curves alone."""
        place = writing(Path(), True) if self.folder is None else self.folder.writing(*names)
        with self.sparing(names), place:
            yield

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        super().teardown(trainer, pl_module, stage)
        if self._rows is not None and trainer.world_size > 1:
            with writing(Path()):
                self._rows.hand_over()

    @property
    def _sinks(self) -> list[EventFiles | LoggerRows]:
        return [*self._event_files, *([] if self._rows is None else [self._rows])]

    def _begin(self, name: str) -> None:
        """Begin anew with an image."""
        for sink in self._sinks:
            sink.begin(name)
        self._seen = {seen for seen in self._seen if seen[0] != name}

    def _log(self, step: Step, names: Sequence[str]) -> None:
        for name in names:
            if (name, step.stage, step.index) in self._seen:  # it is being restored again
                self._begin(name)
            self._seen.add((name, step.stage, step.index))
        curves = {"loss": step.loss / 4, "residual_over_sigma": step.residual_over_sigma}
        curves["assumed_error"] = step.sigma_y / 2
        if step.latent_norm is not None:
            curves["x_T_rms"] = step.latent_norm
        fetched = torch.stack([*curves.values()]).tolist()  # at once: the host waits for the device
        values = dict(zip(curves, fetched, strict=True))
        for sink in self._sinks:
            sink.log(step, names, values)
        for files in self._event_files:
            write = files.pictures(step, names)
            if write is not None:
                self.later(partial(self._guarded, write, names))

    def _guarded(self, write: Callable[[], None], names: Sequence[str]) -> None:
        with self._writing(names):
            write()


def _scores(image: ImageResult) -> dict[str, float]:
    """The scores that an image has, such as `score/psnr`."""
    record = image.record()
    found = {f"score/{name}": getattr(record, name) for name in METRICS}
    return {tag: float(value) for tag, value in found.items() if value is not None}
