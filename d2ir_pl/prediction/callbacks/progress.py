"""What a terminal shows while images are restored."""

from __future__ import annotations

import pytorch_lightning as pl
from pytorch_lightning.utilities.combined_loader import CombinedLoader
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from d2ir_pl.console import say
from d2ir_pl.prediction.callbacks.base import SparingCallback
from d2ir_pl.prediction.outcome import BatchResult, ImageResult
from d2ir_pl.restoration import Step

SHARES = {"estimation": (0.0, 0.9), "latent": (0.9, 0.1)}
"""Where the bar of an image begins for a stage, and how long it is. Stage 2 usually stops early: it
is given the last tenth."""


class RestorationProgress(SparingCallback):
    """A line that names image, stage, step, loss and time left; one plain line an image elsewhere.

    Images that failed are named in the summary of the run.

    Of several processes the first speaks, of its own share of the images.

    Args:
        total: number of images to restore by all processes together; if None, what the DataLoaders
            tell of it.
        console: where to draw; stderr by default.
    """

    output = "its line"

    def __init__(self, total: int | None, console: Console | None = None) -> None:
        super().__init__()
        self.total = total
        self.console = console or Console(stderr=True)
        self.done = 0
        self._silent = False
        self._bar: Progress | None = None
        self._task: TaskID | None = None

    def on_predict_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        super().on_predict_start(trainer, pl_module)
        self._silent = trainer.global_rank > 0
        loader = trainer.predict_dataloaders
        if self.total is None:
            self.total = _images(trainer)
        elif trainer.world_size > 1 and loader is not None:
            self.total = sum(map(len, loader.dataset.batches))  # this process's share
        if self.console.is_terminal and not self._silent:
            self._bar = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                TimeRemainingColumn(),
                console=self.console,
                transient=True,
            )
            self._task = self._bar.add_task("starting", total=self.total)
            self._bar.start()

    def observe(self, step: Step) -> None:
        with self.sparing([]):
            self._draw(step)

    def _draw(self, step: Step) -> None:
        if self._bar is None or self._task is None:
            return
        count = len(self.items)
        name = self.names(step)[0] + (f" +{count - 1}" if count > 1 else "")
        number = self.done + 1 if self.total is None else min(self.done + 1, self.total)
        loss = float(step.loss.mean()) / 4
        begun, share = SHARES.get(step.stage, (0.0, 1.0))
        fraction = step.sample + begun + share * (step.index + 1) / step.total
        fraction /= step.num_samples
        sample = f"sample {step.sample + 1}/{step.num_samples}, " if step.num_samples > 1 else ""
        self._bar.update(
            self._task,
            completed=self.done + fraction * count,
            description=f"image {number}{self._of(' of ')} ({name}), {sample}{step.stage} "
            f"{step.index + 1}/{step.total}, loss {loss:.2e}",
        )

    def finish(self, result: BatchResult) -> None:
        for number, image in enumerate(result.results, self.done + 1):
            with self.sparing([]):
                self._line(f"restored {number}{self._of('/')}: {_account(image)}")
        self.done += len(result.results) + len(result.failures)

    def close(self) -> None:
        super().close()
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _of(self, between: str) -> str:
        return "" if self.total is None else f"{between}{self.total}"

    def _line(self, text: str) -> None:
        if not self._silent:
            say(self._bar.console if self._bar else self.console, text)


def _images(trainer: pl.Trainer) -> int | None:
    """The number of images that this process's DataLoaders hold, if they tell."""
    loaders = CombinedLoader(trainer.predict_dataloaders, "sequential").flattened
    total = 0
    try:
        for loader, batches in zip(loaders, trainer.num_predict_batches, strict=True):
            size = getattr(loader.batch_sampler, "batch_size", None) or loader.batch_size
            total += int(min(len(loader.sampler), batches * size))
    except (AttributeError, TypeError, ValueError):  # such as those of iterable data sets
        return None
    return total


def _account(image: ImageResult) -> str:
    """The name of an image, and what there is to say of its restoration."""
    scores, gain = image.scores, ""
    if "psnr" in scores and "input_psnr" in scores:
        gain = f", PSNR {scores['input_psnr']:.2f} -> {scores['psnr']:.2f} dB"
    remarks = (*image.sample.photo.notes, *image.notes, *image.reasons[:1])
    notes = "".join(f" ({remark})" for remark in remarks)
    return f"{image.name} in {image.seconds:.1f} s{gain}{notes}"
