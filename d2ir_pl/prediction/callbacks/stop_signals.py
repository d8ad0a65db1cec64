"""Ending a prediction when the user or the system asks for it."""

from __future__ import annotations

import signal
from typing import Any

import pytorch_lightning as pl

from d2ir_pl.stopping import Ending, take_over


class StopSignals(pl.Callback):
    """Ends a prediction at once on SIGTERM and SIGINT; the photo at hand is dropped.

    Lightning notes SIGTERM and goes on, which is right for a training and its checkpoint alone.
    Under SLURM, the signal for that (SIGUSR1) has the job started again first: the same command
    then skips what is complete.

    Raises:
        KeyboardInterrupt, TerminatedError: from wherever the main thread is.
    """

    def __init__(self) -> None:
        self._handler = Ending()

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        del trainer, pl_module, stage
        before = signal.getsignal(signal.SIGTERM)
        if isinstance(before, Ending):
            self._handler = before

    def on_predict_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        del trainer, pl_module
        take_over(self._handler)  # Lightning puts back the handlers of before, when it tears down

    def on_predict_batch_start(self, *_: Any) -> None:
        self._handler.require_unasked()

    def on_predict_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        del trainer, pl_module
        self._handler.require_unasked()
