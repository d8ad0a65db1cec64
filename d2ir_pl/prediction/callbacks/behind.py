"""Giving an account of images in a thread of its own, while the next ones are restored."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pytorch_lightning as pl
import torch

from d2ir_pl.prediction.callbacks.base import RestorationCallback, batch_result
from d2ir_pl.prediction.outcome import BatchResult

MOST_PIXELS = 4_000_000
"""Pixels of a batch from which nothing else is restored meanwhile: its images take memory."""

_logger = logging.getLogger(__name__)


class Behind(pl.Callback):
    """Lets callbacks finish with a batch in a thread, while the next batch is restored.

    They finish in their order, and with the batches in theirs, so that what is written last of an
    image still comes last. One batch at most waits for the one at hand; where more come, the
    restoration waits. The first error ends the run, with the next batch or at its end.

    Args:
        callbacks: what is told of the batches. Their `finish` runs in the thread, with what they
            leave for `later`, and everything else where it would without it.
    """

    def __init__(self, callbacks: Sequence[RestorationCallback]) -> None:
        self.callbacks = callbacks
        self._thread = Thread()
        for callback in callbacks:
            callback.later = self._thread.put

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        for callback in self.callbacks:
            callback.setup(trainer, pl_module, stage)

    def on_predict_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        for callback in self.callbacks:
            callback.on_predict_start(trainer, pl_module)

    def on_predict_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        del trainer, pl_module, batch, batch_idx, dataloader_idx
        given = batch_result(self, outputs)
        # Other callbacks look at the lists meanwhile.
        result = BatchResult(list(given.results), list(given.failures))
        self._thread.put(partial(self._finish, result))
        if _pixels(given) > MOST_PIXELS:
            self._thread.wait()

    def on_predict_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._thread.wait()
        for callback in self.callbacks:
            callback.on_predict_end(trainer, pl_module)

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        try:
            self._thread.wait()
        except Exception:  # the first error is told
            _logger.info("a batch was not finished with", exc_info=True)
        for callback in self.callbacks:
            callback.on_exception(trainer, pl_module, exception)

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        for callback in self.callbacks:
            callback.teardown(trainer, pl_module, stage)

    def _finish(self, result: BatchResult) -> None:
        with torch.inference_mode():  # which is that of each thread; the images are made in it
            for callback in self.callbacks:
                callback.finish(result)


def _pixels(result: BatchResult) -> int:
    return sum(image.x0[0].numel() for image in result)


class Thread:
    """A thread that does one piece of work after the other, until one fails.

    It lives while there is work.
    """

    def __init__(self) -> None:
        self._works: queue.Queue[Callable[[], None] | None] = queue.Queue(1)
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def put(self, work: Callable[[], None]) -> None:
        """Hand over a piece of work, and wait while another one waits already.

        Raises:
            BaseException: the error of an earlier piece, since which nothing is done any more.
        """
        if self._error is not None:
            self.wait()
        if self._thread is None:
            self._works = queue.Queue(1)
            self._thread = threading.Thread(target=self._run, name="d2ir-behind", daemon=True)
            self._thread.start()
        self._works.put(work)

    def wait(self) -> None:
        """Wait until all work is done.

        Raises:
            BaseException: the error of a piece that failed.
        """
        if self._thread is not None:
            self._works.put(None)
            self._thread.join()
            self._thread = None
        error, self._error = self._error, None
        if error is not None:
            raise error

    def _run(self) -> None:
        while (work := self._works.get()) is not None:
            if self._error is not None:
                continue
            try:
                work()
            except BaseException as error:
                self._error = error
