"""TensorBoard: curves and pictures of every step."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from d2ir_pl.errors import require
from d2ir_pl.image_io import eight_bits, enlarged
from d2ir_pl.prediction.callbacks.base import RestorationCallback
from d2ir_pl.prediction.outcome import BatchResult, ImageResult
from d2ir_pl.restoration import Step
from d2ir_pl.results.folder import ResultFolder
from d2ir_pl.results.pictures import uncertainty_picture
from d2ir_pl.results.record import METRICS

MOST_PICTURES = 20
"""Pictures along the way of one stage, at most."""
SIDE = 168
"""Longest side in pixels to which small pictures are enlarged: eight times the usual kernel."""


class TrajectoryLogger(RestorationCallback):
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
        folder: results, in which event files go to `tensorboard/`.
        images_every: number of steps from one picture to the next, beside that of the last; 0 for
            no pictures. Stages of more than 20 times as many steps get 20 pictures.
    """

    def __init__(self, folder: ResultFolder, images_every: int = 5) -> None:
        require("images_every", images_every, 0)
        self.folder = folder
        self.images_every = images_every
        self._writers: dict[str, SummaryWriter] = {}
        self._seen: set[tuple[str, str, int]] = set()

    def begin(self) -> None:
        self._seen = set()
        with self.folder.writing():
            for item in self.items:
                self._begin(item.name)

    def observe(self, step: Step) -> None:
        if not step.sample:
            with self.folder.writing():
                self._log(step)

    def finish(self, result: BatchResult) -> None:
        with self.folder.writing():
            for image in result.results:
                _write_end(self._writers[image.name], image)
            for writer in self._writers.values():
                writer.close()
        self._writers = {}

    def _begin(self, name: str) -> None:
        """A new run for an image, in place of an old one."""
        if name in self._writers:
            self._writers[name].close()
        run = self.folder.root / "tensorboard" / name
        for old in run.glob("events.out.tfevents.*"):
            old.unlink()
        self._writers[name] = SummaryWriter(run)
        self._seen = {seen for seen in self._seen if seen[0] != name}

    def _log(self, step: Step) -> None:
        names = self.names(step)
        for name in names:
            if (name, step.stage, step.index) in self._seen:  # it is being restored again
                self._begin(name)
            self._seen.add((name, step.stage, step.index))
        curves = {"loss": step.loss / 4, "residual_over_sigma": step.residual_over_sigma}
        if step.latent_norm is not None:
            curves["x_T_rms"] = step.latent_norm
        for title, values in curves.items():
            for name, value in zip(names, values.tolist(), strict=True):
                self._writers[name].add_scalar(f"{step.stage}/{title}", value, step.index)
        every = max(self.images_every, step.total // MOST_PICTURES)
        if self.images_every and (step.index % every == 0 or step.index + 1 == step.total):
            self._pictures(step, names)

    def _pictures(self, step: Step, names: list[str]) -> None:
        pictures = step.degradation.picture(step.phi)
        for i, (name, x0) in enumerate(zip(names, step.x0(), strict=True)):
            writer = self._writers[name]
            writer.add_image(f"{step.stage}/x0", eight_bits(x0), step.index)
            if pictures is not None:
                writer.add_image(f"{step.stage}/degradation", _enlarged(pictures[i]), step.index)


def _write_end(writer: SummaryWriter, image: ImageResult) -> None:
    """The pictures and scores of a restored image."""
    row = {"input": image.shown, "restored": image.x0}
    if image.reference is not None:
        row["reference"] = image.reference
    writer.add_image(" | ".join(row), eight_bits(torch.cat([*row.values()], 2)))
    if image.picture is not None:
        writer.add_image("degradation", _enlarged(image.picture))
    if image.std is not None:
        writer.add_image("uncertainty", uncertainty_picture(image.std))
    for i, change in enumerate(image.phi_change):
        if change is not None:
            writer.add_scalar("estimation/phi_change", change, i + 1)
    record = image.record()
    for name in METRICS:
        if (value := getattr(record, name)) is not None:
            writer.add_scalar(f"score/{name}", value)


def _enlarged(picture: Tensor) -> Tensor:
    """`(1, h, w)` of a picture `(h, w)`, small ones such as kernels at several times their size."""
    return enlarged(picture.float().cpu().nan_to_num(), SIDE)[None]
