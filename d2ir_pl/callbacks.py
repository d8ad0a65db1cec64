"""What happens around the restoration: writing results, curves and pictures, progress."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from PIL import Image
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from d2ir_pl.data import Batch, Failure
from d2ir_pl.degradations.base import Degradation, select
from d2ir_pl.module import BatchResult, RestorationModule
from d2ir_pl.records import Record
from d2ir_pl.restoration import Step
from d2ir_pl.results import ResultFolder, uncertainty_picture


class ImageWriter(pl.Callback):
    """Writes every image as soon as it is restored.

    Args:
        folder: where.
        fingerprint: digest of the settings, kept in every record.
    """

    def __init__(self, folder: ResultFolder, fingerprint: str) -> None:
        self.folder = folder
        self.fingerprint = fingerprint

    def on_predict_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        assert isinstance(pl_module, RestorationModule)
        assert isinstance(outputs, BatchResult)
        for failure in outputs.failures:
            self._fail(failure)
        if outputs.restoration is None:
            return
        pictures = pl_module.degradation.picture(outputs.restoration.phi)
        for b, record in enumerate(records(outputs, pl_module, self.fingerprint)):
            sample = outputs.samples[b]
            x0 = outputs.restoration.x0[b]
            self.folder.write(
                record,
                x0,
                None if pictures is None else pictures[b],
                alpha=_resized(sample.photo.alpha, x0),
                bit_depth=sample.photo.bit_depth,
                grey=sample.photo.grey and pl_module.degradation.keeps_grey,
                icc_profile=sample.photo.icc_profile,
                degraded=None if outputs.scene.true_phi is None else outputs.shown[b],
                std=None if outputs.restoration.std is None else outputs.restoration.std[b],
            )

    def _fail(self, failure: Failure) -> None:
        self.folder.write_failure(
            Record(
                failure.item.name, "failed", self.fingerprint, failure.digest, reason=failure.reason
            )
        )


def records(result: BatchResult, module: RestorationModule, fingerprint: str) -> list[Record]:
    """The record of each restored image; squared residuals and noise brought to [0, 1]."""
    r = result.restoration
    assert r is not None

    def score(name: str, b: int) -> float | None:
        value = result.scores.get(name, [math.nan] * (b + 1))[b]
        return value if math.isfinite(value) else None

    described = module.degradation.describe(r.phi)
    drawn = result.scene.true_phi
    side = max(module.degradation.image_size((result.scene.y.shape[-2], result.scene.y.shape[-1])))
    true_phi = None if drawn is None else module.degradation.describe(drawn)
    return [
        Record(
            name=sample.item.name,
            status="restored",
            fingerprint=fingerprint,
            input_sha256=sample.digest,
            height=r.x0.shape[-2],
            width=r.x0.shape[-1],
            seed=module.seed,
            sigma_y=float(r.sigma_y[b]) / 2,
            residual=float(r.residual[b]) / 4,
            stopped_by=r.stopped_by[b],
            nfe=r.nfe[b],
            num_samples=module.num_samples,
            std=None if r.std is None else float(r.std[b].square().mean().sqrt()) / 2,
            precision="32-true" if result.in_float32[b] else str(module.trainer.precision),
            tile=result.tiles[b] if side > result.tiles[b] else None,
            seconds=round(result.seconds, 3),
            losses={stage: [v / 4 for v in losses[b]] for stage, losses in r.losses.items()},
            phi=described[b],
            true_phi=None if true_phi is None else true_phi[b],
            notes=[*sample.photo.notes, *result.notes[b]],
            psnr=score("psnr", b),
            ssim=score("ssim", b),
            lpips=score("lpips", b),
            input_psnr=score("input_psnr", b),
            reblur_psnr=score("reblur_psnr", b),
        )
        for b, sample in enumerate(result.samples)
    ]


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
        size = (self.height, max(1, round(x0.shape[-1] * self.height / x0.shape[-2])))
        small = F.interpolate(x0.float(), size, mode="bilinear", antialias=True)
        for i, b in enumerate(step.images):
            self._frames.setdefault(b, {})[step.stage, step.index] = _unit(small[i])

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
            before = _image(_unit(outputs.shown[b]))
            before.thumbnail((self.largest, self.largest))
            frames = list(self._frames.get(position, {}).values())
            strip = _image(torch.cat(frames, 2)) if frames else None
            self.folder.write_previews(outputs.samples[b].item.name, before, strip)
        self._frames = {}


class TrajectoryLogger(pl.Callback):
    """TensorBoard curves of every step and pictures along the way; one run per image.

    Scalars: `estimation/loss` and `latent/loss` (mean squared residual in [0, 1]),
    `.../residual_over_sigma` (1: explained to the noise), `latent/x_T_rms` (1: white noise), and
    at the end `score/reblur_psnr`, with a reference also `score/psnr`, `score/ssim` and so on.
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
        self._degradation: Degradation | None = None

    def on_predict_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, RestorationModule)
        self._degradation = pl_module.degradation
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
        rms = (step.loss / step.sigma_y**2).sqrt().tolist()
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
        assert self._degradation is not None
        x0 = step.x0()
        pictures = self._degradation.picture(step.phi)
        for i, b in enumerate(step.images):
            self._writers[b].add_image(f"{step.stage}/x0", _unit(x0[i]), step.index)
            if pictures is not None:
                picture = _enlarge(pictures[i])
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
        assert self._degradation is not None
        with self.folder.writing():
            self._finish(outputs)

    def _finish(self, outputs: BatchResult) -> None:
        assert self._degradation is not None
        restoration = outputs.restoration
        for b, position in enumerate(outputs.positions):
            assert restoration is not None
            writer = self._writers[position]
            row = [outputs.shown[b], restoration.x0[b]]
            if outputs.scene.reference is not None:
                row.append(outputs.scene.reference[b])
            tag = "input | restored | reference" if len(row) == 3 else "input | restored"
            writer.add_image(tag, _unit(torch.cat(row, 2)))
            picture = self._degradation.picture(select(restoration.phi, [b]))
            if picture is not None:
                writer.add_image("degradation", _enlarge(picture[0]))
            if restoration.std is not None:
                writer.add_image("uncertainty", uncertainty_picture(restoration.std[b]))
            for name, values in outputs.scores.items():
                writer.add_scalar(f"score/{name}", values[b])
        for writer in self._writers.values():
            writer.close()
        self._writers = {}


class RestorationProgress(pl.Callback):
    """A line that names image, stage, step, loss and time left; one plain line an image elsewhere.

    Args:
        total: images to restore by all processes together.
        console: where to draw; stderr by default.
    """

    def __init__(self, total: int, console: Console | None = None) -> None:
        self.total = total
        self.console = console or Console(stderr=True)
        self.done = 0
        self._names: list[str] = []
        self._bar: Progress | None = None
        self._task: TaskID | None = None

    def on_predict_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.global_rank:
            return
        assert isinstance(pl_module, RestorationModule)
        loader = trainer.predict_dataloaders
        if trainer.world_size > 1 and loader is not None:
            self.total = sum(map(len, loader.dataset.batches))  # this process's share
        pl_module.observers.append(self.observe)
        if self.console.is_terminal:
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                TimeRemainingColumn(),
                console=self.console,
                transient=True,
            )
            self._task = self._bar.add_task("starting", total=self.total)
            self._bar.start()

    def on_predict_batch_start(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        self._names = [s.item.name for s in batch.samples]

    def observe(self, step: Step) -> None:
        if self._bar is None or self._task is None:
            return
        name = self._names[step.images[0]] + (f" +{len(self._names) - 1}" * (len(self._names) > 1))
        number = min(self.done + 1, self.total)
        loss = float(step.loss.mean()) / 4
        # Stage 2 usually stops early: it is given the last tenth of an image's share.
        share = {"estimation": 0.9, "latent": 0.1}.get(step.stage, 1.0)
        begun = 0.9 if step.stage == "latent" else 0.0
        fraction = step.sample + begun + share * (step.index + 1) / step.total
        fraction /= step.num_samples
        sample = f"sample {step.sample + 1}/{step.num_samples}, " * (step.num_samples > 1)
        self._bar.update(
            self._task,
            completed=self.done + fraction * len(self._names),
            description=f"image {number} of {self.total} ({name}), {sample}{step.stage} "
            f"{step.index + 1}/{step.total}, loss {loss:.2e}",
        )

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
        if trainer.global_rank:
            return
        for failure in outputs.failures:
            self._line(f"failed: {failure.item.name}: {failure.reason}")
        for b, sample in enumerate(outputs.samples):
            scores = outputs.scores
            gain = (
                f", PSNR {scores['input_psnr'][b]:.2f} -> {scores['psnr'][b]:.2f} dB"
                if "psnr" in scores and "input_psnr" in scores
                else ""
            )
            number = f"{self.done + b + 1}/{self.total}"
            notes = "".join(f" ({note})" for note in (*sample.photo.notes, *outputs.notes[b]))
            self._line(
                f"restored {number}: {sample.item.name} in {outputs.seconds:.1f} s{gain}{notes}"
            )
        self.done += len(outputs.samples) + len(outputs.failures)

    def _line(self, text: str) -> None:
        (self._bar.console if self._bar else self.console).print(
            text, markup=False, highlight=False, soft_wrap=True
        )

    def on_predict_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.close()

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        self.close()

    def close(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def _resized(alpha: Tensor | None, image: Tensor) -> Tensor | None:
    """Transparency at the size of the restored image, which may be larger than the photo."""
    if alpha is None or alpha.shape[-2:] == image.shape[-2:]:
        return alpha
    return F.interpolate(alpha[None], image.shape[-2:], mode="bilinear")[0]


def _unit(image: Tensor) -> Tensor:
    return ((image.float().cpu() + 1) / 2).nan_to_num().clamp(0, 1)


def _image(unit: Tensor) -> Image.Image:
    """A picture of `(3, h, w)` in [0, 1]."""
    return Image.fromarray((unit * 255).round().byte().permute(1, 2, 0).numpy())


def _enlarge(picture: Tensor) -> Tensor:
    """`(1, h, w)`, small pictures such as kernels at eight times their size."""
    factor = max(1, 168 // max(picture.shape))
    picture = picture.float().cpu().nan_to_num()
    return F.interpolate(picture[None, None], scale_factor=factor, mode="nearest")[0]
