"""Patches of photographs: an endless sequence of random ones, and fixed ones to validate on."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Generator, Tensor
from torch.utils.data import Dataset, Sampler

from d2ir_pl.diffusion.randomness import image_generator
from d2ir_pl.training.photographs import Photographs, to_float

_GOLDEN = (math.sqrt(5) - 1) / 2


@dataclass(frozen=True)
class PatchBatch:
    """Patches and everything random about their training step.

    Attributes:
        x0: `(B, 3, P, P)` in [-1, 1], clean patches.
        noise: standard normal noise, of the shape of x0.
        u: `(B,)` in [0, 1), evenly spread over batches and steps; it picks the timesteps.
    """

    x0: Tensor
    noise: Tensor
    u: Tensor

    def to(self, device: torch.device) -> PatchBatch:
        """The same batch on another device."""
        parts = (part.to(device, non_blocking=True) for part in (self.x0, self.noise, self.u))
        return PatchBatch(*parts)


class RandomPatches(Dataset[PatchBatch]):
    """The endless sequence of random patches, each without the batch dimension.

    Sample i is decided by (seed, i) alone.

    Args:
        photographs: photographs of at least `patch_size` pixels on each side.
        patch_size: P in pixels.
        min_scale: smallest scale of a photograph, in (0, 1].
        flips: whether patches are mirrored and turned by quarter turns.
        seed: seed of the sequence.
    """

    def __init__(
        self, photographs: Photographs, patch_size: int, min_scale: float, flips: bool, seed: int
    ) -> None:
        self.photographs, self.patch_size, self.min_scale = photographs, patch_size, min_scale
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
        which = int(torch.randint(len(self.photographs), (), generator=generator))
        photograph = self.photographs[which]
        scale, top, left = torch.rand(3, generator=generator).tolist()
        turns, mirror = torch.randint(4, (2,), generator=generator).tolist()
        height, width = photograph.shape[-2:]
        side = round(self.patch_size / self.min_scale**scale)
        side = min(side, height, width)
        top, left = int(top * (height - side + 1)), int(left * (width - side + 1))
        patch = to_float(photograph[:, top : top + side, left : left + side])
        if side != self.patch_size:
            patch = _resized(patch, self.patch_size)
        if self.flips:
            patch = patch.rot90(turns, (1, 2))
            patch = patch.flip(2) if mirror % 2 else patch
        return patch.contiguous()


class CentralPatches(Dataset[Tensor]):
    """The central patch `(3, P, P)` of each photograph, at half its scale.

    It shows less of a small photograph, at a larger scale.

    Args:
        photographs: the photographs.
        patch_size: P in pixels.
    """

    def __init__(self, photographs: Photographs, patch_size: int) -> None:
        self.photographs, self.patch_size = photographs, patch_size

    def __len__(self) -> int:
        return len(self.photographs)

    def __getitem__(self, index: int) -> Tensor:
        photograph = to_float(self.photographs[index])
        height, width = photograph.shape[-2:]
        side = min(height, width, 2 * self.patch_size)
        top, left = (height - side) // 2, (width - side) // 2
        return _resized(photograph[:, top : top + side, left : left + side], self.patch_size)


class EpochBatches(Sampler[list[int]]):
    """The numbers of the samples of this process in an epoch, batch by batch.

    All processes together take 0, 1, 2, ... in turn, and a new epoch goes on where the last ended.

    Args:
        batch_size: samples of a process and batch.
        rank: number of this process.
        world: how many processes there are.
        length: number of batches of a process in an epoch.
        first: function that returns how many batches came before, over all epochs; it is asked at
            the beginning of an epoch.
    """

    def __init__(
        self, batch_size: int, rank: int, world: int, length: int, first: Callable[[], int]
    ) -> None:
        self.batch_size, self.rank, self.world = batch_size, rank, world
        self.length, self.first = length, first

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[list[int]]:
        before = self.first()
        # After a resumption in mid-epoch, the trainer stops before the last of them.
        for number in range(before, before + self.length):
            first = (number * self.world + self.rank) * self.batch_size
            yield list(range(first, first + self.batch_size))


def collate(samples: list[PatchBatch]) -> PatchBatch:
    """Samples without a batch dimension as one batch."""
    return PatchBatch(
        torch.stack([s.x0 for s in samples]),
        torch.stack([s.noise for s in samples]),
        torch.stack([s.u for s in samples]),
    )


def _resized(patch: Tensor, side: int) -> Tensor:
    """A square patch `(3, N, N)` at another size, in [-1, 1]."""
    resized = F.interpolate(patch[None], (side, side), mode="bicubic", antialias=True)
    return resized[0].clamp(-1, 1)
