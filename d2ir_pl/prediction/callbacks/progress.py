"""What a terminal shows while images are restored."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from d2ir_pl.console import say
from d2ir_pl.prediction.data import Batch
from d2ir_pl.prediction.module import RestorationModule
from d2ir_pl.prediction.outcome import BatchResult
from d2ir_pl.restoration import Step


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
            notes = "".join(
                f" ({note})"
                for note in (*sample.photo.notes, *outputs.notes[b], *outputs.reasons[b][:1])
            )
            self._line(
                f"restored {number}: {sample.item.name} in {outputs.seconds:.1f} s{gain}{notes}"
            )
        self.done += len(outputs.samples) + len(outputs.failures)

    def _line(self, text: str) -> None:
        say(self._bar.console if self._bar else self.console, text)

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
