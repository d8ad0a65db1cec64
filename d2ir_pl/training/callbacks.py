"""Checkpoints and progress of a training run."""

from __future__ import annotations

import math
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from rich.console import Console

from d2ir_pl.console import say
from d2ir_pl.errors import OutputError, TerminatedError
from d2ir_pl.stopping import EndingBetween, take_over
from d2ir_pl.training.epochs import epoch_steps, last_step
from d2ir_pl.training.module import PriorTrainingModule


class Checkpoints(pl.Callback):
    """Writes `last.ckpt` at intervals of time, at the end, and where a run is stopped.

    Args:
        path: the file to write; it is replaced as a whole or not at all.
        interval: time between two checkpoints.
    """

    def __init__(self, path: Path, interval: timedelta) -> None:
        self.path = path
        self.interval = interval.total_seconds()
        self._due = 0.0
        self._saved_step = -1
        self._whole = False  # which weights are not while the optimiser moves one after the other

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        del pl_module
        self._due = time.monotonic() + self.interval
        self._saved_step = trainer.global_step
        self._whole = True

    def on_before_optimizer_step(self, *_: Any) -> None:
        self._whole = False

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        del pl_module, outputs, batch
        complete, self._whole = is_complete(trainer, batch_idx), True
        # All processes have to take part: the clock of the first one decides.
        if complete and trainer.strategy.broadcast(time.monotonic() >= self._due):
            self._save(trainer)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        del pl_module
        self._save(trainer)

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        del pl_module
        # After any other error the weights may be broken, or another process dead.
        asked = isinstance(exception, KeyboardInterrupt | TerminatedError)
        if asked and self._whole and trainer.world_size == 1:
            self._save(trainer)

    def _save(self, trainer: pl.Trainer) -> None:
        self._due = time.monotonic() + self.interval
        if trainer.global_step != self._saved_step:
            try:
                trainer.save_checkpoint(self.path)
            except OSError as error:
                raise OutputError(
                    f"{self.path} cannot be written ({error.strerror or error}): make room for it "
                    "and go on with --ckpt_path last"
                ) from error
            self._saved_step = trainer.global_step


def is_complete(trainer: pl.Trainer, batch_idx: int) -> bool:
    """Whether the optimiser has made a step with a batch, rather than waiting for more."""
    return (batch_idx + 1) % trainer.accumulate_grad_batches == 0


class StopBetween(pl.Callback):
    """Ends a training on SIGTERM and SIGINT behind the step at hand; a second SIGINT does at once.

    In the middle of a step, some weights would have moved and others not. Under SLURM, the signal
    for that (SIGUSR1) has the job started again first.

    Raises:
        KeyboardInterrupt, TerminatedError: between two steps.
    """

    def __init__(self) -> None:
        self._handler = EndingBetween("ending after this step; Ctrl-C once more ends at once")

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        del trainer, pl_module
        take_over(self._handler)  # Lightning puts back the handlers of before, when it tears down

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        del pl_module, outputs, batch
        if is_complete(trainer, batch_idx):
            self._handler.require_unasked()

    def on_validation_batch_end(self, *_: Any) -> None:
        self._handler.require_unasked()


class TrainingProgress(pl.Callback):
    """Prints a line at every validation: epoch, step, losses, speed and the time that is left.

    Args:
        console: where the line is printed.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self._begun, self._first = 0.0, 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        del pl_module
        self._begun, self._first = time.monotonic(), trainer.global_step
        steps = epoch_steps(trainer)
        if steps is not None and trainer.is_global_zero:
            length = "1 step" if steps == 1 else f"{steps} steps"
            say(self.console, f"an epoch is {length}, of a patch a photograph")

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.sanity_checking or not trainer.is_global_zero:
            return
        assert isinstance(pl_module, PriorTrainingModule)
        step, steps = trainer.global_step, max(trainer.global_step - self._first, 1)
        pace = (time.monotonic() - self._begun) / steps
        end, of, left = last_step(trainer), "", ""
        if end is not None:
            of = f" of {end}"
            left = f", {timedelta(seconds=round(pace * max(end - step, 0)))} left"
        scores = {k: float(v) for k, v in trainer.callback_metrics.items() if k.startswith("val/")}
        levels = ", ".join(f"{v:.4f}" for k, v in scores.items() if k != "val/loss")
        # The training loss is unknown before the first step that is logged.
        known = math.isfinite(pl_module.last_loss)
        loss = f"loss {pl_module.last_loss:.4f}, " if known else ""
        say(
            self.console,
            f"epoch {trainer.current_epoch + 1}, step {step}{of}: {loss}validation {levels}; "
            f"{pace:.2f} s a step{left}",
        )
