"""The photos of a run: those found in files, or those that data of one's own yield."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import replace
from functools import partial

import pytorch_lightning as pl
from pytorch_lightning.utilities.combined_loader import CombinedLoader
from pytorch_lightning.utilities.model_helpers import is_overridden

from d2ir_pl.errors import ImageError, InputError, OutputError, UsageError
from d2ir_pl.image_io import sizes_apart
from d2ir_pl.inputs.finding import group_by_size, not_read
from d2ir_pl.inputs.headers import file_size, pixels_at_most
from d2ir_pl.inputs.items import Item
from d2ir_pl.inputs.names import possible_names
from d2ir_pl.prediction.data import Batch, RestorationDataModule
from d2ir_pl.prediction.module import RestorationModule
from d2ir_pl.results.folder import ResultFolder


class Photos(ABC):
    """What a run knows of its photos.

    Attributes:
        count: number of photos to restore by all processes together; None where it is not known.
        found: number of photos that there are; 0 where it is not known.
        skipped: number of photos that are complete already.
        pending: whether there may be photos to restore, those included that a limit leaves out.
        rename: gives the photos the names of their results, where they have none yet.
    """

    count: int | None = None
    found: int = 0
    skipped: int = 0
    pending: bool = True
    rename: FreeNames | None = None

    @abstractmethod
    def names(self) -> list[str]:
        """The names of the photos that the run is about, once it has ended."""

    def pixels(self, least: int) -> int:  # noqa: ARG002
        """The pixels of all photos to restore, as far as their headers tell.

        Args:
            least: number below which it does not matter: no file is opened where all of them
                together are too small to hold so many.
        """
        return 0

    def work(self) -> dict[str, float]:
        """How much work each photo to restore is, in any unit, by its name; none where unknown."""
        return {}

    def not_read(self) -> list[str]:
        """The names of files beside the photos that may be taken for some, and are not read."""
        return []

    @abstractmethod
    def left_out(self) -> str:
        """What the summary says of photos that a limit left out; empty if it left out none."""


class FoundPhotos(Photos):
    """Photos in files, of which those that are complete are taken out of `data.pending`.

    Args:
        module: module that restores them.
        data: the photos.
        trainer: trainer of the run.

    Raises:
        UsageError: if the module cannot do what the data ask for.
    """

    def __init__(
        self, module: RestorationModule, data: RestorationDataModule, trainer: pl.Trainer
    ) -> None:
        self.data = data
        self.trainer = trainer
        self.found = len(data.items)
        self._start = _no_start if module.start is None else module.start.digest
        self._beyond: set[str] = set()
        self._work: dict[str, float] = {}
        if module.chooses_degradation and (data.degrade or data.scenes):
            option = "data.degrade" if data.degrade else "data.scenes"
            raise UsageError(f"--{option} true needs a --model.degradation other than auto")

    def skip_complete(self, folder: ResultFolder, fingerprint: str, overwrite: bool) -> None:
        """Leave only what has to be done in `data.pending`.

        Args:
            folder: results that may be there already.
            fingerprint: digest of the settings.
            overwrite: whether all photos are restored again.

        Raises:
            OutputError: if there are results that were made with other settings.
        """
        if not overwrite:
            self.data.pending = self._pending(folder, fingerprint)
            self.skipped = len(self.data.items) - len(self.data.pending)
        self.pending = bool(self.data.pending)
        self._beyond = _beyond_limit(self.data, self.trainer)
        self.count = len(self.data.pending) - len(self._beyond)

    def names(self) -> list[str]:
        return [item.name for item in self.data.items if item.name not in self._beyond]

    def pixels(self, least: int) -> int:
        items = self._to_restore()
        paths = [item.path for item in items]
        if pixels_at_most(paths) < least:
            return 0
        sizes = [0 if isinstance(s, ImageError) else math.prod(s) for s in sizes_apart(paths)]
        self._work = {item.name: float(n) for item, n in zip(items, sizes, strict=True)}
        return sum(sizes)

    def work(self) -> dict[str, float]:
        # No file is opened for it: where no headers were looked at, larger files are more work.
        return self._work or {item.name: float(file_size(item.path)) for item in self._to_restore()}

    def not_read(self) -> list[str]:
        return not_read(self.data.hparams["inputs"])

    def left_out(self) -> str:
        if not self._beyond:
            return ""
        number = len(self._beyond)
        photos = f"{number} image" if number == 1 else f"{number} images"
        return (
            f"only a part was done: --trainer.{_limit(self.trainer)} left out {photos}; the same "
            "command without it does the rest"
        )

    def _to_restore(self) -> list[Item]:
        return [item for item in self.data.pending if item.name not in self._beyond]

    def _pending(self, folder: ResultFolder, fingerprint: str) -> list[Item]:
        pending, other = [], []
        for item in self.data.items:
            start = partial(self._start, item)
            state = folder.state(item.name, fingerprint, item.digest, start)
            if state == "other settings":
                other.append(item.name)
            if state != "complete":
                pending.append(item)
        if other:
            raise OutputError(
                f"{folder.root} holds {len(other)} results made with other settings ({other[0]} "
                "among them): add --overwrite true to replace them, or choose another --output"
            )
        return pending


class YieldedPhotos(Photos):
    """Photos that data of one's own yield, which have names only when they come.

    All of them are restored. So that no two runs are mixed, the folder has to be empty of results,
    or is emptied of them; what is in it when the run has ended is the run's.

    Args:
        data: data with a `predict_dataloader` that yields what `as_batch` takes.
        trainer: trainer of the run.
        folder: folder for the results.

    Raises:
        UsageError: if the data have nothing to predict.
    """

    def __init__(
        self, data: pl.LightningDataModule, trainer: pl.Trainer, folder: ResultFolder
    ) -> None:
        self._kind = type(data).__name__
        if not is_overridden("predict_dataloader", data, pl.LightningDataModule):
            raise UsageError(
                f"--data {self._kind} has no predict_dataloader, which yields the photos to "
                "restore: write one"
            )
        self.trainer = trainer
        self.folder = folder
        self.rename = FreeNames(folder)

    def make_room(self, overwrite: bool) -> None:
        """Remove the results that are in the folder.

        Args:
            overwrite: whether that is allowed.

        Raises:
            OutputError: if there are some, and it is not.
        """
        earlier = self.folder.names()
        if earlier and not overwrite:
            raise OutputError(
                f"{self.folder.root} holds results of {len(earlier)} images, and --data "
                f"{self._kind} is restored from its first image on: add --overwrite true to remove "
                "them, or choose another --output"
            )
        for name in earlier:
            self.folder.remove(name)

    def names(self) -> list[str]:
        found = self.folder.names()
        if not found and self.trainer.limit_predict_batches:
            raise InputError(f"--data {self._kind} has yielded no image: nothing is restored")
        return found

    def left_out(self) -> str:
        loaders = self.trainer.predict_dataloaders
        if not _is_limited(self.trainer) or loaders is None:
            return ""
        try:
            whole = sum(map(len, CombinedLoader(loaders, "sequential").flattened))
        except TypeError:  # it ends when it ends
            whole = None
        if whole is not None and sum(self.trainer.num_predict_batches) >= whole:
            return ""
        return (
            f"only a part was done: --trainer.{_limit(self.trainer)} left out what comes behind; "
            "leave it out, and add --overwrite true, to restore all"
        )


class FreeNames:
    """Gives each image of a batch a name that is a path inside the folder, and its alone.

    An image keeps its key, which seeds its noise. Of two images of one name, also in different
    processes, the second one gets another name.

    Args:
        folder: folder of the results, in which an empty record marks a name as taken.
    """

    def __init__(self, folder: ResultFolder) -> None:
        self.folder = folder

    def __call__(self, batch: Batch) -> Batch:
        """The batch with such names."""
        samples = [replace(s, item=self._renamed(s.item)) for s in batch.samples]
        failures = [replace(f, item=self._renamed(f.item)) for f in batch.failures]
        apart = tuple(map(self, batch.apart))
        return replace(batch, samples=samples, failures=failures, apart=apart)

    def _renamed(self, item: Item) -> Item:
        return replace(item, name=next(filter(self.folder.claim, possible_names(item.name))))


def _no_start(item: Item) -> str:  # noqa: ARG001
    """The digest of the phi that a photo starts from, where it is estimated."""
    return ""


def _beyond_limit(data: RestorationDataModule, trainer: pl.Trainer) -> set[str]:
    """Names of the pending images that a limit of batches leaves out, in all processes."""
    limit, world = trainer.limit_predict_batches, trainer.world_size
    if not _is_limited(trainer):
        return set()
    batches = group_by_size(data.pending, data.batch_size)
    shares = [batches[rank::world] for rank in range(world)]
    beyond = [
        share[limit if isinstance(limit, int) else int(limit * len(share)) :] for share in shares
    ]
    return {item.name for share in beyond for batch in share for item in batch}


def _is_limited(trainer: pl.Trainer) -> bool:
    """Whether batches are left out: 1.0 is all of them, and 1 a single one."""
    limit = trainer.limit_predict_batches
    return isinstance(limit, int) or limit != 1.0


def _limit(trainer: pl.Trainer) -> str:
    """The option of the trainer that limits the number of batches."""
    limit = f"limit_predict_batches {trainer.limit_predict_batches}"
    return "fast_dev_run" if trainer.fast_dev_run else limit  # type: ignore[attr-defined]
