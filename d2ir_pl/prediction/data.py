"""Folders of degraded photos as batches of images of equal size."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import pytorch_lightning as pl
import torch
from pytorch_lightning.accelerators import CPUAccelerator
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, DistributedSampler, get_worker_info

from d2ir_pl.batches.ahead import Ahead
from d2ir_pl.errors import InputError, require
from d2ir_pl.image_io import Format, Output, Photo
from d2ir_pl.inputs.finding import find_items, group_by_size
from d2ir_pl.inputs.items import Failure, Item
from d2ir_pl.inputs.samples import Sample, read_sample
from d2ir_pl.prediction.loading import PhotoLoader

MOST_WORKERS = 4
"""Processes that read and measure photos ahead of a GPU, at most."""
LEAST_SHARED = 2**30
"""Bytes of shared memory, through which they hand over the photos, below which there are none: a
container may have 64 MB."""


@dataclass(frozen=True)
class Batch:
    """Samples of one size, and the inputs of that batch that could not be read.

    Attributes:
        samples: inputs as they were read.
        failures: inputs that could not be read, and why.
        y: `(B, 3, H, W)` their pixels, or `(B, S, 3, H, W)` of scenes, in [-1, 1]; B may be 0.
        degrade_noise: standard deviation in [0, 1] of the noise with which these clean images are
            degraded before they are restored; None where they are degraded photos.
        apart: batches of samples that turned out to have other sizes than their headers said.
        readings: what was read off the samples ahead, see `Ahead`; empty for nothing.
        degrade_photons: photons of a white pixel, whose noise clean images get as well.
    """

    samples: list[Sample]
    failures: list[Failure]
    y: Tensor
    degrade_noise: float | None = None
    apart: tuple[Batch, ...] = ()
    readings: bytes = b""
    degrade_photons: float | None = None

    def __len__(self) -> int:
        return len(self.samples)

    @classmethod
    def of(
        cls,
        read: Sequence[Sample | Failure],
        degrade_noise: float | None = None,
        degrade_photons: float | None = None,
    ) -> Batch:
        """Put together what was read: the samples of the first size, and the others apart.

        Args:
            read: inputs, of which some may have failed.
            degrade_noise: as the batch has it.
            degrade_photons: as the batch has it.
        """
        by_size: dict[torch.Size, list[Sample]] = {}
        for sample in read:
            if isinstance(sample, Sample):
                by_size.setdefault(sample.y.shape, []).append(sample)
        groups = [(own, torch.stack([s.y for s in own])) for own in by_size.values()]
        first, *apart = (
            cls(own, [], y, degrade_noise, degrade_photons=degrade_photons)
            for own, y in groups or [([], torch.empty(0, 3, 1, 1))]
        )
        failures = [failure for failure in read if isinstance(failure, Failure)]
        return replace(first, failures=failures, apart=tuple(apart))

    @property
    def parts(self) -> list[Batch]:
        """The batches of one size each, of which the first is this one."""
        return [replace(self, apart=()), *self.apart]

    def to(self, device: torch.device | str) -> Batch:
        """The same with `y` on a device; what was read from files stays where it is."""
        return replace(self, y=self.y.to(device), apart=tuple(b.to(device) for b in self.apart))

    def select(self, rows: list[int]) -> Batch:
        """The batch of some of the samples, without the failures."""
        samples = [self.samples[b] for b in rows]
        return replace(self, samples=samples, failures=[], y=self.y[rows], apart=())


class RestorationDataModule(pl.LightningDataModule):
    """The photos to restore, which it shares out to the processes of a trainer itself.

    Args:
        inputs: a file, a folder (searched recursively for image files) or a glob pattern; or a list
            of these, named relative to the innermost folder that holds all of them.
        references: a folder with the clean images under the same relative paths; extensions may
            differ.
        scenes: whether every folder with photos in it is one scene, of which these are exposures.
        degrade: whether the inputs are clean: they are degraded with the configured degradation
            first, and kept as references.
        degrade_noise: standard deviation in [0, 1) of the noise that `degrade` adds, before the
            photo is compressed.
        degrade_photons: number of photons that a white pixel collects, where `degrade` adds their
            noise too, which is strongest where the photo is bright; none of it if null.
        batch_size: number of images of equal size that are restored together.
        limit: number of images, the first ones, that are restored; all if null.
        num_workers: number of processes that read and measure images ahead, see `Ahead`. `auto` is
            none on a CPU, which has no time to spare, and some where there is a GPU to keep busy.
        format: kind of file that restored photos are written as: `png`, `jpeg`, `webp`, `tiff`, or
            `same` for that of each photo's own file, see `Output`.
        quality: of JPEG and WebP files, 1 to 100; that of the photo's own JPEG file, or a high one,
            if null.
        strip_metadata: whether what tells of a place or a person is left out of what is written.
        mark_generated: whether the files of restored photos say, in the words of IPTC, that they
            were edited with a generative model.

    Raises:
        ValueError: if a number is out of its range.
        InputError: if there is nothing to restore, or the settings contradict each other.
    """

    def __init__(
        self,
        inputs: str | Path | list[str] | None = None,
        references: str | Path | None = None,
        scenes: bool = False,
        degrade: bool = False,
        degrade_noise: float = 0.02,
        degrade_photons: float | None = None,
        batch_size: int = 1,
        limit: int | None = None,
        num_workers: int | Literal["auto"] = "auto",
        format: Format = "png",  # noqa: A002
        quality: int | None = None,
        strip_metadata: bool = False,
        mark_generated: bool = True,
    ) -> None:
        super().__init__()
        if inputs is None:
            raise InputError("inputs: no input is given, name a file, a folder or a glob")
        require("batch_size", batch_size, 1)
        if num_workers != "auto":
            require("num_workers", num_workers, 0)
        if limit is not None:
            require("limit", limit, 1)
        if degrade and references is not None:
            raise InputError("degrade true makes its own references: leave out references")
        if degrade and scenes:
            raise InputError("degrade true makes exposures itself: leave out scenes")
        require("degrade_noise", degrade_noise, 0, below=1)
        if degrade_photons is not None:
            require("degrade_photons", degrade_photons, above=0, remedy="such as 500")
        self.output = Output(format, quality, strip_metadata, mark_generated)
        inputs = inputs if isinstance(inputs, list) else str(inputs)
        references = None if references is None else str(references)
        self.save_hyperparameters()
        self.scenes = scenes
        self.degrade = degrade
        self.degrade_noise = degrade_noise
        self.degrade_photons = degrade_photons
        self.batch_size = batch_size
        self.num_workers = num_workers
        # Where there are fewer batches than processes, some have nothing to do.
        self.allow_zero_length_dataloader_with_multiple_devices = True
        self.items = find_items(inputs, references, scenes)[:limit]
        self.pending = self.items
        """The items still to do; the program takes out those that are complete."""
        self.decoded: dict[Path, Photo] = {}
        """Photos whose files have been read before, by their paths; the others are read."""
        self.ahead: Ahead | None = None
        """What worker processes read off the photos; the module that restores them sets it."""

    def predict_dataloader(self) -> DataLoader[Batch]:
        """This process's share of the batches."""
        trainer = self.trainer
        rank, world = (trainer.global_rank, trainer.world_size) if trainer else (0, 1)
        batches = group_by_size(self.pending, self.batch_size)
        noise = self.degrade_noise if self.degrade else None
        own = batches[rank::world]
        dataset = _BatchDataset(own, noise, self.decoded, self.ahead, self.degrade_photons)
        # Lightning would share out what is shared out already, were it not for such a sampler.
        whole: DistributedSampler[Batch] = DistributedSampler(
            dataset, num_replicas=1, rank=0, shuffle=False
        )
        return PhotoLoader(
            dataset, batch_size=None, sampler=whole, num_workers=self._workers(len(own))
        )

    def _workers(self, batches: int) -> int:
        """Number of processes that read this process's share of the batches ahead."""
        if self.num_workers != "auto":
            return self.num_workers
        trainer = self.trainer
        if batches < 2 or trainer is None or isinstance(trainer.accelerator, CPUAccelerator):
            return 0
        shared = Path("/dev/shm")
        if shared.is_dir() and shutil.disk_usage(shared).free < LEAST_SHARED:
            return 0
        cores = (os.cpu_count() or 1) // max(1, trainer.num_devices)
        return max(1, min(MOST_WORKERS, batches - 1, cores - 1))


class _BatchDataset(Dataset[Batch]):
    """Whole batches as items, so that no sampler has to know about sizes or ranks."""

    def __init__(
        self,
        batches: list[list[Item]],
        degrade_noise: float | None,
        decoded: dict[Path, Photo],
        ahead: Ahead | None,
        degrade_photons: float | None = None,
    ) -> None:
        self.batches = batches
        self.degrade_noise = degrade_noise
        self.decoded = decoded
        self.ahead = ahead
        self.degrade_photons = degrade_photons

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, index: int) -> Batch:
        read = [read_sample(item, self.decoded) for item in self.batches[index]]
        batch = Batch.of(read, self.degrade_noise, self.degrade_photons)
        if self.ahead is None or self.degrade_noise is not None or get_worker_info() is None:
            return batch
        samples = [sample for part in batch.parts for sample in part.samples]
        return replace(batch, readings=self.ahead(samples))
