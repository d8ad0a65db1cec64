"""What a terminal shows while images are restored."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import pytorch_lightning as pl
from pytorch_lightning.utilities.combined_loader import CombinedLoader
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from d2ir_pl.console import say
from d2ir_pl.prediction.callbacks.base import SparingCallback
from d2ir_pl.prediction.outcome import BatchResult, ImageResult
from d2ir_pl.restoration import Step
from d2ir_pl.results.warnings import in_short
from d2ir_pl.shipped.durations import in_time

SHARES = {"estimation": (0.0, 0.9), "latent": (0.9, 0.1)}
"""Where the bar of an image begins for a stage, and how long it is. Stage 2 usually stops early: it
is given the last tenth."""


STAGES_IN_WORDS = {"estimation": "step", "latent": "refining"}
"""What the stages are called in the bar."""

EVERY = 60.0
"""Seconds between two lines about the time left, where there is no terminal."""


def fraction_done(step: Step) -> float:
    """The share of a photo's restoration that is done with a step."""
    begun, share = SHARES.get(step.stage, (0.0, 1.0))
    done = step.sample + begun + share * (step.index + 1) / step.total
    return done / step.num_samples


class RestorationProgress(SparingCallback):
    """A bar with the image, its step and the time left; where there is no terminal, plain lines.

    There is one line an image then, and one a minute about the time left.

    Images that failed are named in the summary of the run.

    Of several processes the first speaks, of its own share of the images.

    Args:
        total: number of images to restore by all processes together; if None, what the DataLoaders
            tell of it.
        console: where to draw; stderr by default.
        work: how much work each image is, in any unit, by its name; the same for all if not given.
    """

    output = "its line"

    def __init__(
        self,
        total: int | None,
        console: Console | None = None,
        work: Mapping[str, float] = MappingProxyType({}),
    ) -> None:
        super().__init__()
        self.total = total
        self._work = work
        self._all: float | None = None
        self.console = console or Console(stderr=True)
        self._done = self._before = self._at_hand = _Amount()
        self._reached = 0.0
        self._silent = False
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._begun = self._said = time.monotonic()

    def on_predict_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        super().on_predict_start(trainer, pl_module)
        self._silent = trainer.global_rank > 0
        loader = trainer.predict_dataloaders
        if self.total is None:
            self.total = _images(trainer)
        elif trainer.world_size > 1 and loader is not None:
            own = [item.name for batch in loader.dataset.batches for item in batch]
            self.total = len(own)  # this process's share
            self._work = {name: self._work.get(name, 1.0) for name in own}
        self._all = sum(self._work.values()) if self._work else self.total
        if self.console.is_terminal and not self._silent:
            self._bar = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                TimeRemainingColumn(),
                console=self.console,
                transient=True,
            )
            self._task = self._bar.add_task("starting", total=self._all)
            self._bar.start()
        self._begun = self._said = time.monotonic()

    def begin(self) -> None:
        # Those before may not be written yet.
        self._before += self._at_hand
        self._at_hand = self._amount(item.name for item in self.items)

    def observe(self, step: Step) -> None:
        with self.sparing([]):
            self._draw(step)

    def _draw(self, step: Step) -> None:
        count, done = len(self.items), max(self._done, self._before)
        # A second opinion restores a photo again, from the first step on.
        self._reached = max(self._reached, done.work + fraction_done(step) * self._at_hand.work)
        if self._bar is None or self._task is None:
            self._say_what_is_left(self._reached)
            return
        name = self.names(step)[0] + (f" +{count - 1}" if count > 1 else "")
        number = done.images + 1 if self.total is None else min(done.images + 1, self.total)
        sample = (
            f"restoration {step.sample + 1}/{step.num_samples}, " if step.num_samples > 1 else ""
        )
        self._bar.update(
            self._task,
            completed=self._reached,
            description=f"image {number}{self._of(' of ')} ({name}), {sample}"
            f"{STAGES_IN_WORDS.get(step.stage, step.stage)} {step.index + 1}/{step.total}",
        )

    def _say_what_is_left(self, done: float) -> None:
        """A line where the last one is a minute old."""
        now = time.monotonic()
        if not self._all or done <= 0 or now - self._said < EVERY:
            return
        self._said = now
        left = (now - self._begun) / done * max(0.0, self._all - done)
        self._line(f"{min(1.0, done / self._all):.0%} done, about {in_time(left)} left")

    def finish(self, result: BatchResult) -> None:
        for number, image in enumerate(result.results, self._done.images + 1):
            with self.sparing([]):
                self._line(f"restored {number}{self._of('/')}: {_account(image)}")
        failed = [failure.item.name for failure in result.failures]
        self._done += self._amount([*(image.name for image in result.results), *failed])

    def close(self) -> None:
        super().close()
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _amount(self, names: Iterable[str]) -> _Amount:
        work = [self._work.get(name, 1.0) for name in names]
        return _Amount(len(work), sum(work))

    def _of(self, between: str) -> str:
        return "" if self.total is None else f"{between}{self.total}"

    def _line(self, text: str) -> None:
        if not self._silent:
            say(self._bar.console if self._bar else self.console, text)


@dataclass(frozen=True, order=True)
class _Amount:
    """A number of images, and the work that they are."""

    images: int = 0
    work: float = 0.0

    def __add__(self, other: _Amount) -> _Amount:
        return _Amount(self.images + other.images, self.work + other.work)


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
    reason = [reason.partition(" (")[0] for reason in image.reasons[:1]]
    remarks = (*image.sample.photo.notes, *map(in_short, image.notes), *reason)
    notes = "".join(f" ({remark})" for remark in remarks)
    return f"{image.name} in {image.seconds:.1f} s{gain}{notes}"
