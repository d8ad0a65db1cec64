"""Random patches of a folder of photographs, for training a prior."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch import Generator, Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from d2ir_pl.errors import InputError
from d2ir_pl.image_io import ImageError, eight_bits, image_size, read_image
from d2ir_pl.inputs.finding import find_items
from d2ir_pl.randomness import image_generator

_GOLDEN = (math.sqrt(5) - 1) / 2


@dataclass(frozen=True)
class PatchBatch:
    """Patches and everything random about their training step.

    Attributes:
        x0: `(B, 3, P, P)` in [-1, 1].
        noise: like x0, standard normal.
        u: `(B,)` in [0, 1), evenly spread over batches and steps; picks the timestep.
    """

    x0: Tensor
    noise: Tensor
    u: Tensor


class PriorDataModule(pl.LightningDataModule):
    """Random patches for training and fixed ones for validation, from a folder of photographs.

    Sample i of a run is decided by (seed, i) alone: which photograph, where, how large, how turned,
    with which noise. Neither the number of processes, nor workers, nor a stop and resumption
    change it. A patch of P pixels shows P/s pixels of the photograph, s drawn log-uniformly from
    [min_scale, 1], reduced with antialiasing.

    Args:
        inputs: a folder of photographs (searched recursively), a glob pattern or a file.
        val_inputs: photographs to validate on; a share of `inputs` that is then not trained on if
            null.
        val_fraction: this share, at least one photograph.
        val_limit: photographs to validate on at most.
        patch_size: P in pixels, a multiple of what the network needs (8 for four levels).
        val_patch_size: side of the central patches that are validated on.
        batch_size: patches a process and step.
        min_scale: smallest scale of a photograph, in (0, 1].
        flips: mirror patches and turn them by quarter turns; false where up and down differ.
        num_workers: processes that prepare patches.
        cache_gb: keep decoded photographs in memory where all of them fit into this, shared by the
            workers.
        seed: set by the program.

    Raises:
        InputError: if there is nothing to train on, or a setting is out of range.
    """

    def __init__(
        self,
        inputs: str | None = None,
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
            raise InputError("nothing to train on is given: add --data.inputs with a folder")
        for name, value, low in (
            ("patch_size", patch_size, 8),
            ("val_patch_size", val_patch_size, 8),
            ("batch_size", batch_size, 1),
            ("val_limit", val_limit, 1),
            ("num_workers", num_workers, 0),
        ):
            if value < low:
                raise InputError(f"--data.{name} {value} must be at least {low}")
        if not 0 < min_scale <= 1:
            raise InputError(f"--data.min_scale {min_scale} must lie in (0, 1]")
        if not 0 < val_fraction < 1:
            raise InputError(f"--data.val_fraction {val_fraction} must lie between 0 and 1")
        self.inputs = inputs
        self.patch_size = patch_size
        self.val_patch_size = val_patch_size
        self.batch_size = batch_size
        self.min_scale = min_scale
        self.flips = flips
        self.num_workers = num_workers
        self.cache_gb = cache_gb
        self.seed = seed
        self.skipped: list[str] = []
        """Why photographs are left out, a sentence each."""
        paths = self._usable(inputs, patch_size)
        if val_inputs is None:
            if len(paths) < 2:
                raise InputError(
                    f"{inputs} has {len(paths)} photograph to train on: give at least two, or "
                    "others to validate on with --data.val_inputs"
                )
            held_out = max(1, min(val_limit, round(val_fraction * len(paths))))
            ranked = sorted(paths, key=lambda path: _digest(f"{seed} {path.name}"))
            self.val_paths = sorted(ranked[:held_out])
            self.train_paths = sorted(ranked[held_out:])
        else:
            self.train_paths = paths
            self.val_paths = self._usable(val_inputs, 8)[:val_limit]
        self._photos: _Photos | None = None

    def _usable(self, inputs: str, side: int) -> list[Path]:
        """Files that are images of at least `side` pixels; the others go to `skipped`."""
        usable = []
        for item in find_items(inputs, None):
            try:
                size = image_size(item.path)
            except ImageError as error:
                self.skipped.append(str(error))
                continue
            if min(size) < side:
                self.skipped.append(f"{item.path} is smaller than a patch of {side} pixels")
            else:
                usable.append(item.path)
        if not usable:
            reason = f", for instance: {self.skipped[0]}" if self.skipped else ""
            raise InputError(f"no photograph in {inputs} can be used{reason}")
        return usable

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
        if self._photos is None:
            self._photos = _Photos(self.train_paths, self.cache_gb)

    def train_dataloader(self) -> DataLoader[PatchBatch]:
        trainer = self.trainer
        rank, world = (trainer.global_rank, trainer.world_size) if trainer else (0, 1)
        # A resumed run goes on with the sample after the last one that was used.
        done = trainer.global_step * trainer.accumulate_grad_batches if trainer else 0
        assert self._photos is not None
        dataset = _Patches(self._photos, self.patch_size, self.min_scale, self.flips, self.seed)
        return DataLoader(
            dataset,
            batch_sampler=_EndlessBatches(self.batch_size, rank, world, done),
            collate_fn=_collate,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            pin_memory=torch.cuda.is_available(),
        )

    def val_dataloader(self) -> DataLoader[Tensor]:
        """Central patches, one a batch; every process sees all of them."""
        return DataLoader(_Centres(self.val_paths, self.val_patch_size), batch_size=None)

    def transfer_batch_to_device(
        self, batch: PatchBatch | Tensor, device: torch.device, dataloader_idx: int
    ) -> PatchBatch | Tensor:
        if isinstance(batch, Tensor):
            return batch.to(device)
        parts = (part.to(device, non_blocking=True) for part in (batch.x0, batch.noise, batch.u))
        return PatchBatch(*parts)


class _EndlessBatches(Sampler[list[int]]):
    """This process's share of the samples 0, 1, 2, ... from a given step on."""

    def __init__(self, batch_size: int, rank: int, world: int, step: int) -> None:
        self.batch_size, self.rank, self.world, self.step = batch_size, rank, world, step

    def __iter__(self) -> Iterator[list[int]]:
        step = self.step
        while True:
            first = (step * self.world + self.rank) * self.batch_size
            yield list(range(first, first + self.batch_size))
            step += 1


class _Photos:
    """Photographs as `(3, H, W)` tensors, of 8 bits where the file has no more."""

    def __init__(self, paths: Sequence[Path], cache_gb: float) -> None:
        self.paths = paths
        self._kept: list[Tensor | None] | None = None
        if sum(3 * math.prod(image_size(path)) for path in paths) <= cache_gb * 1e9:
            with ThreadPoolExecutor() as pool:
                self._kept = list(pool.map(_read, paths))
            if not any(photo is not None for photo in self._kept):
                raise InputError(f"none of the {len(paths)} photographs can be decoded")

    def __getitem__(self, index: int) -> Tensor:
        """Photograph `index`, or the next one that can be decoded."""
        for i in range(index, index + len(self.paths)):
            i %= len(self.paths)
            photo = self._kept[i] if self._kept is not None else _read(self.paths[i])
            if photo is not None:
                return photo
        raise InputError(f"none of the {len(self.paths)} photographs can be decoded")


def _read(path: Path) -> Tensor | None:
    try:
        photo = read_image(path)
    except (ImageError, OSError):
        return None
    if photo.bit_depth > 8:
        return photo.pixels
    return eight_bits(photo.pixels)


def _to_float(patch: Tensor) -> Tensor:
    return patch.float() / 127.5 - 1 if patch.dtype == torch.uint8 else patch


class _Patches(Dataset[PatchBatch]):
    """Sample i of the endless sequence of random patches."""

    def __init__(
        self, photos: _Photos, patch_size: int, min_scale: float, flips: bool, seed: int
    ) -> None:
        self.photos, self.patch_size, self.min_scale = photos, patch_size, min_scale
        self.flips, self.seed = flips, seed
        self.offset = float(torch.rand((), generator=image_generator(seed, "levels", "train")))

    def __getitem__(self, index: int) -> PatchBatch:
        generator = image_generator(self.seed, str(index), "train")
        patch = self._patch(generator)
        noise = torch.randn(patch.shape, generator=generator)
        # Successive multiples of the golden ratio fill [0, 1) evenly over any stretch.
        u = torch.tensor((self.offset + index * _GOLDEN) % 1.0)
        return PatchBatch(patch, noise, u)

    def _patch(self, generator: Generator) -> Tensor:
        which = int(torch.randint(len(self.photos.paths), (), generator=generator))
        photo = self.photos[which]
        scale, top, left = torch.rand(3, generator=generator).tolist()
        turns, mirror = torch.randint(4, (2,), generator=generator).tolist()
        height, width = photo.shape[-2:]
        side = round(self.patch_size / self.min_scale**scale)
        side = min(side, height, width)
        top, left = int(top * (height - side + 1)), int(left * (width - side + 1))
        patch = _to_float(photo[:, top : top + side, left : left + side])
        if side != self.patch_size:
            size = (self.patch_size, self.patch_size)
            patch = F.interpolate(patch[None], size, mode="bicubic", antialias=True)[0].clamp(-1, 1)
        if self.flips:
            patch = patch.rot90(turns, (1, 2))
            patch = patch.flip(2) if mirror % 2 else patch
        return patch.contiguous()


def _collate(samples: list[PatchBatch]) -> PatchBatch:
    return PatchBatch(
        torch.stack([s.x0 for s in samples]),
        torch.stack([s.noise for s in samples]),
        torch.stack([s.u for s in samples]),
    )


class _Centres(Dataset[Tensor]):
    """The central patch of each photograph at half its scale, `(3, P, P)`; reflected where it is
    smaller."""

    def __init__(self, paths: Sequence[Path], patch_size: int) -> None:
        self.photos, self.patch_size = _Photos(paths, cache_gb=1.0), patch_size

    def __len__(self) -> int:
        return len(self.photos.paths)

    def __getitem__(self, index: int) -> Tensor:
        photo = _to_float(self.photos[index])
        height, width = photo.shape[-2:]
        side = min(height, width, 2 * self.patch_size)
        top, left = (height - side) // 2, (width - side) // 2
        centre = photo[None, :, top : top + side, left : left + side]
        size = (self.patch_size, self.patch_size)
        return F.interpolate(centre, size, mode="bicubic", antialias=True)[0].clamp(-1, 1)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
