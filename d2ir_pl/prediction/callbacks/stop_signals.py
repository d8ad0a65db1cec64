"""Ending a prediction when the system asks for it."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.plugins.environments import SLURMEnvironment

from d2ir_pl.errors import TerminatedError


class StopSignals(pl.Callback):
    """Ends a prediction at once on SIGTERM, in every process; the photo at hand is dropped.

    Lightning notes the signal and goes on, which is right for a training and its checkpoint alone.
    Under SLURM with requeueing, the signal for that (SIGUSR1) has the job requeued first: the same
    command then skips what is complete.

    Raises:
        TerminatedError: from wherever the main thread is.
    """

    def __init__(self) -> None:
        self._trainer: pl.Trainer | None = None

    def on_predict_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        del pl_module
        if threading.current_thread() is not threading.main_thread():
            return
        self._trainer = trainer
        # Lightning puts back the handlers of before, when it tears down.
        signal.signal(signal.SIGTERM, self._end)
        if SLURMEnvironment.detect():
            signal.signal(signal.SIGUSR1, self._requeue)

    def _end(self, *_: Any) -> None:
        launcher = None if self._trainer is None else self._trainer.strategy.launcher
        if launcher is not None:
            launcher.kill(signal.SIGTERM)
        raise TerminatedError

    def _requeue(self, *_: Any) -> None:
        if self._trainer is not None and self._trainer.is_global_zero:
            job = os.environ.get("SLURM_JOB_ID", "")
            if array := os.environ.get("SLURM_ARRAY_JOB_ID"):
                job = f"{array}_{os.environ.get('SLURM_ARRAY_TASK_ID', '')}"
            subprocess.run(["scontrol", "requeue", job], check=False)
        self._end()
