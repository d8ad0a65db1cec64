"""Patches of a folder of photographs as a LightningDataModule, for training a prior."""

from __future__ import annotations

import hashlib
import math
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from d2ir_pl.errors import InputError, TrainingError, naming, require
from d2ir_pl.training.patches import (
    CentralPatches,
    EpochBatches,
    PatchBatch,
    RandomPatches,
    collate,
)
from d2ir_pl.training.photographs import Photographs, named, usable_photographs

_SMALLEST_PATCH = 8
_VALIDATION_CACHE_GB = 1.0


class PriorDataModule(pl.LightningDataModule):
    """Random patches for training and fixed ones for validation, from a folder of photographs.

    Sample i of a run is decided by (seed, i) alone: which photograph, where, how large, how turned,
    with which noise. Neither the number of processes, nor workers, nor a stop and resumption
    change it. A patch of P pixels shows P/s pixels of the photograph, s drawn log-uniformly from
    [min_scale, 1], reduced with antialiasing.

    An epoch has as many patches as there are photographs to train on, rounded up to whole steps of
    the optimiser. The photograph of each patch is drawn anew, so that an epoch shows some of them
    several times and others not at all.

    Args:
        inputs: a folder of photographs (searched recursively), a glob pattern or a file; or a list
            of these.
        val_inputs: photographs to validate on; if null, a share of `inputs` is validated on
            instead of being trained on.
        val_fraction: this share, between 0 and 1; it is at least one photograph.
        val_limit: largest number of photographs to validate on.
        patch_size: P in pixels, a multiple of what the network needs (8 for four levels).
        val_patch_size: side in pixels of the central patches that are validated on.
        batch_size: number of patches of a process and step.
        min_scale: smallest scale of a photograph, in (0, 1].
        flips: whether patches are mirrored and turned by quarter turns; false where up and down
            differ.
        num_workers: number of processes that prepare patches.
        cache_gb: gigabytes of memory for decoded photographs, shared by the workers; they are kept
            if all of them fit, and decoded again for each patch otherwise.
        seed: seed of every draw; the program sets it.

    Attributes:
        train_paths: photographs that are trained on.
        val_paths: photographs that are validated on.
        skipped: why files are left out, a sentence each.

    Raises:
        ValueError: if a setting is out of range.
        InputError: if there is nothing to train on.
    """

    def __init__(
        self,
        inputs: str | list[str] | None = None,
        val_inputs: str | None = None,
        val_fraction: float = 0.05,
        val_limit: int = 32,
        patch_size: int = 64,
        val_patch_size: int = 128,
        batch_size: int = 16,
        min_scale: float = 0.35,
        flips: bool = True,
        num_workers: int = 1,
        cache_gb: float = 4.0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if inputs is None:
            raise InputError("inputs: nothing to train on is given, name a folder of photographs")
        require("patch_size", patch_size, _SMALLEST_PATCH)
        require("val_patch_size", val_patch_size, _SMALLEST_PATCH)
        require("batch_size", batch_size, 1)
        require("val_limit", val_limit, 1)
        require("num_workers", num_workers, 0)
        require("min_scale", min_scale, above=0, high=1)
        require("val_fraction", val_fraction, above=0, below=1)
        self.patch_size = patch_size
        self.val_patch_size = val_patch_size
        self.batch_size = batch_size
        self.min_scale = min_scale
        self.flips = flips
        self.num_workers = num_workers
        self.cache_gb = cache_gb
        self.seed = seed
        paths, self.skipped = usable_photographs(inputs, patch_size)
        if val_inputs is None:
            if len(paths) < 2:
                raise InputError(
                    f"{named(inputs)} has {len(paths)} photograph to train on: give at least two, "
                    "or others to validate on with --data.val_inputs"
                )
            held_out = max(1, min(val_limit, round(val_fraction * len(paths))))
            ranked = sorted(paths, key=lambda path: _digest(f"{seed} {path.name}"))
            self.val_paths = sorted(ranked[:held_out])
            self.train_paths = sorted(ranked[held_out:])
        else:
            self.train_paths = paths
            with naming("val_inputs"):
                val_paths, skipped = usable_photographs(val_inputs, _SMALLEST_PATCH)
            self.val_paths = val_paths[:val_limit]
            self.skipped += skipped
        self._photographs: Photographs | None = None

    def require_multiple(self, multiple: int) -> None:
        """Check that patches have sizes that the network accepts.

        Args:
            multiple: number of pixels of which every size has to be a multiple.

        Raises:
            TrainingError: if one is not.
        """
        for name, size in (
            ("patch_size", self.patch_size),
            ("val_patch_size", self.val_patch_size),
        ):
            if size % multiple:
                raise TrainingError(
                    f"--data.{name} {size} must be a multiple of {multiple}, as the network halves "
                    "it so often"
                )

    def describe(self) -> dict[str, Any]:
        """What a prior's provenance says of its training data."""
        names = "\n".join(path.name for path in self.train_paths)
        return {
            "photographs": len(self.train_paths),
            "names_sha256": _digest(names),
            "patch_size": self.patch_size,
            "min_scale": self.min_scale,
            "flips": self.flips,
        }

    def setup(self, stage: str) -> None:
        del stage
        if self._photographs is None:
            self._photographs = Photographs(self.train_paths, self.cache_gb)

    def epoch_length(self) -> int:
        """Number of batches of a process in an epoch."""
        trainer = self.trainer
        world, accumulated = (
            (trainer.world_size, trainer.accumulate_grad_batches) if trainer else (1, 1)
        )
        steps = math.ceil(len(self.train_paths) / (self.batch_size * world * accumulated))
        return steps * accumulated

    def train_dataloader(self) -> DataLoader[PatchBatch]:
        trainer = self.trainer
        rank, world = (trainer.global_rank, trainer.world_size) if trainer else (0, 1)

        def done() -> int:
            """A resumed run, and a new epoch, go on after the last sample that was used."""
            return trainer.global_step * trainer.accumulate_grad_batches if trainer else 0

        assert self._photographs is not None
        dataset = RandomPatches(
            self._photographs, self.patch_size, self.min_scale, self.flips, self.seed
        )
        return DataLoader(
            dataset,
            batch_sampler=EpochBatches(self.batch_size, rank, world, self.epoch_length(), done),
            collate_fn=collate,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            pin_memory=torch.cuda.is_available(),
        )

    def val_dataloader(self) -> DataLoader[Tensor]:
        """Central patches, one a batch; every process sees all of them."""
        photographs = Photographs(self.val_paths, _VALIDATION_CACHE_GB)
        return DataLoader(CentralPatches(photographs, self.val_patch_size), batch_size=None)

    def transfer_batch_to_device(
        self, batch: PatchBatch | Tensor, device: torch.device, dataloader_idx: int
    ) -> PatchBatch | Tensor:
        del dataloader_idx
        return batch.to(device)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
