"""What the callbacks around the restoration share."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any

import pytorch_lightning as pl

from d2ir_pl.errors import UnwritableError, UsageError, UserError, in_words
from d2ir_pl.image_io import Photo
from d2ir_pl.inputs.items import Item
from d2ir_pl.prediction.data import Batch
from d2ir_pl.prediction.module import RestorationModule
from d2ir_pl.prediction.outcome import BatchResult, ImageResult
from d2ir_pl.restoration import Observer, Step

_logger = logging.getLogger(__name__)


def _at_once(work: Callable[[], None]) -> None:
    work()


class RestorationCallback(pl.Callback):
    """Is told of every batch, of every step of its restoration, and of what became of its images.

    It observes the module from the start of a prediction until it ends or breaks off, so that a
    module which predicts again has no observers of before.

    Attributes:
        items: images of the batch at hand; `Step.images` holds positions in this list.
        photos: contents of their files, by their names.
        later: does a piece of work for which the restoration need not wait; at once, unless the
            callback is one of `Behind`, which does it in its thread before the next `finish`.
    """

    items: Sequence[Item] = ()
    photos: Mapping[str, Photo] = MappingProxyType({})
    later: Callable[[Callable[[], None]], None] = staticmethod(_at_once)

    def begin(self) -> None:
        """Prepare for a batch, whose images are in `items`."""

    def observe(self, step: Step) -> None:
        """Take note of a step."""

    def finish(self, result: BatchResult) -> None:
        """Take note of what became of the images of a batch.

        The next batch may be on its way already, see `Behind`: only what is kept by the names of
        these images is theirs.
        """

    def close(self) -> None:
        """Clean up when the prediction has ended or broken off."""

    def names(self, step: Step) -> list[str]:
        """Names of the images that a step concerns."""
        return [self.items[b].name for b in step.images]

    def on_predict_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        del trainer
        if not isinstance(pl_module, RestorationModule):
            raise UsageError(
                f"{type(self).__name__} watches a RestorationModule, not "
                f"{type(pl_module).__name__}: make that a subclass of it"
            )
        pl_module.batch_observers.append(self._receive)
        pl_module.observers.append(self.observe)

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
        self.finish(batch_result(self, outputs))

    def on_predict_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        del trainer
        self._leave(pl_module)

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        del trainer, exception
        self._leave(pl_module)

    def _receive(self, batch: Batch) -> None:
        self.items = [sample.item for sample in batch.samples]
        self.photos = {sample.item.name: sample.photo for sample in batch.samples}
        self.begin()

    def _leave(self, pl_module: pl.LightningModule) -> None:
        if not isinstance(pl_module, RestorationModule):
            return
        if self._receive in pl_module.batch_observers:
            pl_module.batch_observers.remove(self._receive)
        if self.observe in pl_module.observers:
            pl_module.observers.remove(self.observe)
        self.close()


def batch_result(callback: pl.Callback, outputs: Any) -> BatchResult:
    """What a prediction step has returned, which has to be what callbacks like this one take.

    Raises:
        UsageError: if it is something else.
    """
    if not isinstance(outputs, BatchResult):
        raise UsageError(
            f"{type(callback).__name__} needs the BatchResult that predict_step of "
            f"RestorationModule returns, not {type(outputs).__name__}: return it from your own"
        )
    return outputs


class SparingCallback(RestorationCallback):
    """A callback of the program, whose own faults cost its output for an image and not the image.

    What such a fault left out is a note of the image. That the folder cannot be written to is no
    fault of an image, and ends the run.

    Attributes:
        output: what is left out, as the note names it, such as `its curves`.
    """

    output = "a part of its results"

    def __init__(self) -> None:
        self._faults: dict[str, str] = {}

    @contextmanager
    def sparing(self, names: Iterable[str]) -> Iterator[None]:
        """Keep a fault inside from ending the run.

        Args:
            names: names of the images that the output inside is of.

        Raises:
            UserError: if the fault is none of an image.
        """
        try:
            yield
        except UnwritableError as error:
            self._remember(names, str(error))
        except UserError:
            raise
        except Exception as error:  # whatever one photo does, the others are restored
            _logger.info("%s is left out", self.output, exc_info=True)
            self._remember(names, in_words(error))

    def forget(self, image: ImageResult) -> None:
        """Note at an image what was left out of it."""
        if (reason := self._faults.pop(image.name, None)) is not None:
            image.notes.append(f"{self.output} could not be made ({reason})")

    def close(self) -> None:
        self._faults = {}

    def _remember(self, names: Iterable[str], reason: str) -> None:
        for name in names:
            self._faults.setdefault(name, reason)


class Observers(RestorationCallback):
    """Hands every step on to functions.

    Args:
        observers: the functions.
    """

    def __init__(self, observers: Sequence[Observer]) -> None:
        self._observers = observers

    def observe(self, step: Step) -> None:
        for observer in self._observers:
            observer(step)
