"""TensorBoard: curves and pictures of every step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from d2ir_pl.image_io import eight_bits, enlarged
from d2ir_pl.prediction.callbacks.writing import records
from d2ir_pl.prediction.data import Batch
from d2ir_pl.prediction.module import RestorationModule
from d2ir_pl.prediction.outcome import BatchResult
from d2ir_pl.restoration import Restoration, Step
from d2ir_pl.results.folder import ResultFolder
from d2ir_pl.results.pictures import uncertainty_picture
from d2ir_pl.results.record import METRICS

_SIDE = 168
"""Longest side in pixels to which small pictures are enlarged: eight times the usual kernel."""


class TrajectoryLogger(pl.Callback):
    """TensorBoard curves of every step and pictures along the way; one run per image.

    Scalars: `estimation/loss` and `latent/loss` (mean squared residual in [0, 1]),
    `.../residual_over_sigma` (1: explained to the noise), `latent/x_T_rms` (1: white noise),
    `estimation/phi_change` (how far the degradation moved since the step before), and at the end
    `score/` with each of `METRICS` that the image has, such as `score/psnr`.
    Pictures: `estimation/x0` and `estimation/degradation` (a kernel), the same of `latent`, from
    the first step on, and at the end `degradation` and `input | restored | reference` (or
    `input | restored`). Where several samples are drawn, the steps are those of the first, and
    `uncertainty` shows their standard deviation. An image that is restored again gets a new run
    in place of the old one.

    Args:
        folder: the results, in which event files go to `tensorboard/`.
        images_every: a picture at every so many steps, and at the last; 0 for none. Stages of
            more than 20 times as many steps get 20 pictures.
    """

    def __init__(self, folder: ResultFolder, images_every: int = 5) -> None:
        if images_every < 0:
            raise ValueError(f"images_every {images_every} must be at least 0")
        self.folder = folder
        self.images_every = images_every
        self._writers: dict[int, SummaryWriter] = {}
        self._runs: list[Path] = []
        self._seen: set[tuple[int, str, int]] = set()
        self._module: RestorationModule | None = None

    def on_predict_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, RestorationModule)
        self._module = pl_module
        pl_module.observers.append(self.observe)

    def on_predict_batch_start(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        self._runs = [self.folder.root / "tensorboard" / s.item.name for s in batch.samples]
        self._seen = set()
        with self.folder.writing():
            for b in range(len(self._runs)):
                self._begin(b)

    def _begin(self, image: int) -> None:
        """A new run for an image, in place of an old one."""
        if image in self._writers:
            self._writers[image].close()
        for old in self._runs[image].glob("events.out.tfevents.*"):
            old.unlink()
        self._writers[image] = SummaryWriter(self._runs[image])
        self._seen = {seen for seen in self._seen if seen[0] != image}

    def observe(self, step: Step) -> None:
        if not step.sample:
            with self.folder.writing():
                self._log(step)

    def _log(self, step: Step) -> None:
        for b in step.images:
            if (b, step.stage, step.index) in self._seen:  # it is being restored again
                self._begin(b)
            self._seen.add((b, step.stage, step.index))
        rms = step.residual_over_sigma.tolist()
        for i, b in enumerate(step.images):
            writer = self._writers[b]
            writer.add_scalar(f"{step.stage}/loss", float(step.loss[i]) / 4, step.index)
            writer.add_scalar(f"{step.stage}/residual_over_sigma", rms[i], step.index)
            if step.latent_norm is not None:
                writer.add_scalar(f"{step.stage}/x_T_rms", float(step.latent_norm[i]), step.index)
        every = max(self.images_every, step.total // 20)
        if self.images_every and (step.index % every == 0 or step.index + 1 == step.total):
            self._pictures(step)

    def _pictures(self, step: Step) -> None:
        assert self._module is not None
        x0 = step.x0()
        pictures = self._module.degradation.picture(step.phi)
        for i, b in enumerate(step.images):
            self._writers[b].add_image(f"{step.stage}/x0", eight_bits(x0[i]), step.index)
            if pictures is not None:
                picture = _enlarged(pictures[i])
                self._writers[b].add_image(f"{step.stage}/degradation", picture, step.index)

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
        assert isinstance(pl_module, RestorationModule)
        with self.folder.writing():
            if outputs.restoration is not None:
                self._finish(outputs, outputs.restoration, pl_module)
            for writer in self._writers.values():
                writer.close()
        self._writers = {}

    def _finish(
        self, outputs: BatchResult, restoration: Restoration, module: RestorationModule
    ) -> None:
        scored = records(outputs, module, fingerprint="")
        for b, position in enumerate(outputs.positions):
            writer = self._writers[position]
            row = [outputs.shown[b], restoration.x0[b]]
            if outputs.scene.reference is not None:
                row.append(outputs.scene.reference[b])
            tag = "input | restored | reference" if len(row) == 3 else "input | restored"
            writer.add_image(tag, eight_bits(torch.cat(row, 2)))
            picture = module.degradation.picture(restoration.phi.select([b]))
            if picture is not None:
                writer.add_image("degradation", _enlarged(picture[0]))
            if restoration.std is not None:
                writer.add_image("uncertainty", uncertainty_picture(restoration.std[b]))
            for i, change in enumerate(outputs.phi_change[b]):
                if change is not None:
                    writer.add_scalar("estimation/phi_change", change, i + 1)
            for name in METRICS:
                if (value := getattr(scored[b], name)) is not None:
                    writer.add_scalar(f"score/{name}", value)


def _enlarged(picture: Tensor) -> Tensor:
    """`(1, h, w)` of a picture `(h, w)`, small ones such as kernels at several times their size."""
    return enlarged(picture.float().cpu().nan_to_num(), _SIDE)[None]
