"""How long an epoch and a training are, and which epoch a resumed training stands in."""

from __future__ import annotations

import math
from typing import Any

import pytorch_lightning as pl

from d2ir_pl import compat
from d2ir_pl.errors import TrainingError
from d2ir_pl.training.data import PriorDataModule


def epoch_length(trainer: pl.Trainer) -> int | None:
    """Number of batches of a process in an epoch, None where the user has data of another class.

    Args:
        trainer: one that trains; its `limit_train_batches` shortens an epoch.
    """
    data = trainer.datamodule  # type: ignore[attr-defined]
    if not isinstance(data, PriorDataModule):
        return None
    length = data.epoch_length()
    limit: int | float = trainer.limit_train_batches
    return max(1, min(length, limit) if isinstance(limit, int) else int(length * limit))


def epoch_steps(trainer: pl.Trainer) -> int | None:
    """Number of optimiser steps in an epoch, None where the user has data of another class.

    Args:
        trainer: one that trains; it steps at the end of an epoch in any case.
    """
    length = epoch_length(trainer)
    return None if length is None else math.ceil(length / trainer.accumulate_grad_batches)


def last_step(trainer: pl.Trainer) -> int | None:
    """Number of optimiser steps after which a training ends, None where none is known.

    Args:
        trainer: one that trains, of which `max_steps` or `max_epochs`, which comes first, ends it.
    """
    ends = [trainer.max_steps] if trainer.max_steps > 0 else []
    steps = epoch_steps(trainer)
    if steps is not None and trainer.max_epochs is not None and trainer.max_epochs > 0:
        ends.append(trainer.max_epochs * steps)
    return min(ends) if ends else None


class ResumedEpoch(pl.Callback):
    """Lets a resumed training stand where its step is, whatever epochs were when it was saved.

    Lightning counts a training that was stopped in mid-epoch as if it had finished the epoch, and
    the batches of a checkpoint may be of another size.
    """

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Move the epoch and the batch of a checkpoint.

        Raises:
            TrainingError: if it has had all epochs that are asked for.
        """
        del pl_module
        length, steps = epoch_length(trainer), epoch_steps(trainer)
        if length is None or steps is None:
            return
        epochs, step = divmod(int(checkpoint["global_step"]), steps)
        most = trainer.max_epochs
        if most is not None and 0 < most < epochs:
            raise TrainingError(
                f"--trainer.max_epochs {most} is less than the {epochs} epochs of the checkpoint: "
                "give more to go on"
            )
        compat.set_epoch(checkpoint, length, epochs, step * trainer.accumulate_grad_batches)
