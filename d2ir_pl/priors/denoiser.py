"""The interface of a diffusion prior: noise and clean-image prediction at any image size."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, Self

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from d2ir_pl.memory import AllocationCounter, total_memory
from d2ir_pl.padding import pad
from d2ir_pl.schedules import Schedule

Tile = int | Literal["auto"]
"""Largest side in pixels that a prior sees at once; `auto` is its own choice."""

AUTO_TILE = 5
"""An automatic tile is this many times as wide as the images that the network was trained on: wide
enough that overlaps cost little, and not so wide that its attention is at a loss."""

CPU_SHARE, GPU_SHARE = 0.25, 0.6
"""The share of a device's memory that one evaluation may take."""


class PriorError(ValueError):
    """A prior cannot be loaded; the message is one sentence with the remedy."""


class Prior(nn.Module, ABC):
    """A pretrained noise predictor eps(x_t, t) with its schedule.

    Works at any height and width: images are mirrored up to the multiple that the network needs,
    and those larger than `tile` are predicted on overlapping tiles and blended. Parameters are
    frozen; gradients flow to x_t. Gradient mode is the caller's.

    Args:
        schedule: alpha_bar of each timestep.
        multiple: heights and widths that the network accepts are multiples of this.
        tile: largest height and width in pixels that is predicted at once.
        overlap: pixels that neighbouring tiles share at least; an eighth of the tile by default.
    """

    def __init__(
        self, schedule: Schedule, multiple: int = 1, tile: int = 512, overlap: int | None = None
    ) -> None:
        super().__init__()
        self.schedule = schedule
        self.multiple = multiple
        self.use_tiles(tile, overlap)
        self.pixels: int | None = None
        """How many pixels, of all images of a batch, are predicted at once; None for any number."""
        self.nfe = 0
        """Evaluations so far: calls of `eps` or `x0`, each on a whole batch of whole images."""

    def use_tiles(self, tile: int, overlap: int | None = None) -> None:
        """Predict at most `tile` x `tile` pixels at once from now on; see the class.

        Raises:
            ValueError: if the tile is too small for the network, or the overlap for the tile.
        """
        if tile < self.smallest_tile:
            raise ValueError(
                f"tile {tile} must be at least {self.smallest_tile} pixels for this prior"
            )
        overlap = tile // 8 if overlap is None else overlap
        if not 0 < overlap <= tile // 2:
            raise ValueError(f"overlap {overlap} must lie between 1 and half of tile {tile}")
        self.tile = tile // self.multiple * self.multiple
        self.overlap = overlap

    @property
    def smallest_tile(self) -> int:
        return 4 * self.multiple

    def prepare(self, gradient: bool) -> None:
        """Called before images are restored, on the device where they will be.

        Args:
            gradient: whether any gradient will pass through the network.
        """
        return None

    @abstractmethod
    def _network(self, x_t: Tensor, t: int) -> Tensor:
        """eps for `(B, 3, H, W)` whose H and W are multiples of `multiple`, in float32."""

    def eps(self, x_t: Tensor, t: int) -> Tensor:
        """The noise in x_t, `(B, 3, H, W)` float32, for x_t = sqrt(ab_t) x_0 + sqrt(1 - ab_t) n.

        Args:
            x_t: `(B, 3, H, W)`.
            t: timestep in 0..T-1.
        """
        if not 0 <= t < self.schedule.T:
            raise ValueError(f"timestep {t} lies outside 0..{self.schedule.T - 1}")
        self.nfe += 1
        return self.evaluate(x_t, t)

    def evaluate(self, x_t: Tensor, t: int) -> Tensor:
        """`eps` without counting it, for what a backward pass computes a second time."""
        h, w = x_t.shape[-2:]
        if h > self.tile or w > self.tile:
            return self._tiled(x_t, t)
        return self._in_parts(x_t, t)

    def x0(self, x_t: Tensor, t: int) -> Tensor:
        """Posterior mean of x_0 by Tweedie's formula, (x_t - sqrt(1 - ab_t) eps) / sqrt(ab_t)."""
        ab = self.schedule.level(t)
        return (x_t - math.sqrt(1 - ab) * self.eps(x_t, t)) / math.sqrt(ab)

    def _in_parts(self, x_t: Tensor, t: int) -> Tensor:
        """A batch in as many parts as memory asks for, one at a time in the backward pass too."""
        parts = self._parts(x_t)
        if len(parts) == 1:
            return self._padded(x_t, t)
        return torch.cat([self._checkpointed(part, t) for part in parts])

    def _parts(self, x_t: Tensor) -> tuple[Tensor, ...]:
        """The images that fit into memory at once, and so on."""
        h, w = x_t.shape[-2:]
        count = len(x_t) if self.pixels is None else self.pixels // (h * w)
        return x_t.split(max(1, count))

    def _checkpointed(self, x_t: Tensor, t: int) -> Tensor:
        if not (torch.is_grad_enabled() and x_t.requires_grad):
            return self._padded(x_t, t)
        eps = checkpoint(self._padded, x_t, t, use_reentrant=False, preserve_rng_state=False)
        assert isinstance(eps, Tensor)
        return eps

    def _padded(self, x_t: Tensor, t: int) -> Tensor:
        h, w = x_t.shape[-2:]
        below, right = -h % self.multiple, -w % self.multiple
        return self._network(pad(x_t, (0, below), (0, right), "reflect"), t)[..., :h, :w]

    def _tiled(self, x_t: Tensor, t: int) -> Tensor:
        """Predictions on overlapping tiles, blended with weights that fall to the tile's edge."""
        total = torch.zeros_like(x_t)
        weight = x_t.new_zeros(x_t.shape[-2:])
        for top, height in self._spans(x_t.shape[-2]):
            for left, width in self._spans(x_t.shape[-1]):
                window = torch.outer(self._ramp(height), self._ramp(width)).to(x_t)
                rows, columns = slice(top, top + height), slice(left, left + width)
                tile = x_t[..., rows, columns]
                eps = torch.cat([self._checkpointed(part, t) for part in self._parts(tile)])
                total[..., rows, columns] += window * eps
                weight[rows, columns] += window
        return total / weight

    def _spans(self, n: int) -> list[tuple[int, int]]:
        """(start, length) of equal tiles along a side of n pixels, no longer than they have to be.

        Lengths are multiples of `multiple`, up to `tile`.
        """
        if n <= self.tile:
            return [(0, n)]
        count = math.ceil((n - self.overlap) / (self.tile - self.overlap))
        length = (n + (count - 1) * self.overlap) / count
        length = min(self.tile, math.ceil(length / self.multiple) * self.multiple)
        return [(round(i * (n - length) / (count - 1)), length) for i in range(count)]

    def _ramp(self, n: int) -> Tensor:
        distance = torch.arange(n, dtype=torch.float32)
        distance = torch.minimum(distance, distance.flip(0)) + 1
        return (distance / self.overlap).clamp(max=1)


class NetworkPrior(Prior):
    """A prior that is a frozen U-Net, which may compute in half precision.

    Args:
        unet: the network.
        schedule: alpha_bar of each timestep.
        levels: resolutions of the U-Net; it halves the image `levels - 1` times.
        trained_size: side in pixels of the images that it was trained on.
        tile: largest side in pixels that is predicted at once; `auto` is five times
            `trained_size`, or less where the device's memory does not hold that.
        classes: how many classes the U-Net is conditioned on; None if on none.
        label: the class of every prediction, in 0..classes - 1.

    Raises:
        PriorError: if there is a label without classes, or the other way round.
    """

    def __init__(
        self,
        unet: nn.Module,
        schedule: Schedule,
        levels: int,
        trained_size: int,
        tile: Tile = "auto",
        classes: int | None = None,
        label: int | None = None,
    ) -> None:
        multiple = 2 ** (levels - 1)
        largest = AUTO_TILE * max(multiple, trained_size)
        super().__init__(schedule, multiple, largest if tile == "auto" else tile)
        _check_label(label, classes)
        self.unet = unet.eval().requires_grad_(False)
        self.label = label
        self.compute_dtype = torch.float32
        self._largest_tile = largest if tile == "auto" else None
        self._footprints: dict[tuple[torch.device, torch.dtype, bool], float] = {}

    def cast(self, dtype: torch.dtype) -> Self:
        """Evaluate the U-Net in `dtype` from now on; inputs, outputs and the schedule stay float32.

        Convolutions and linear layers are converted once, so that autocast does not convert them
        in every call; normalisation stays float32.

        Raises:
            ValueError: if `dtype` is not float32, bfloat16 or float16.
        """
        if dtype not in (torch.float32, torch.bfloat16, torch.float16):
            raise ValueError(f"a prior runs in float32, bfloat16 or float16, not {dtype}")
        for module in self.unet.modules():
            if isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Linear)):
                module.to(dtype)
        self.compute_dtype = dtype
        return self

    @contextmanager
    def in_float32(self) -> Iterator[None]:
        """Evaluate the U-Net in float32 inside, as for what does not fit into half precision."""
        dtype = self.compute_dtype
        try:
            self.cast(torch.float32)
            yield
        finally:
            self.cast(dtype)

    def prepare(self, gradient: bool) -> None:
        """Choose an automatic tile, how many images at once, and the order of the weights.

        The tile is as large as it may be, and as the device's memory allows for one image: it does
        not depend on the batch, which is predicted in parts where it has to be.
        """
        device = next(self.unet.parameters()).device
        if device.type == "cpu":
            order = torch.contiguous_format if gradient else torch.channels_last
            for kernel in self.unet.parameters():
                if kernel.ndim == 4:
                    kernel.data = kernel.data.contiguous(memory_format=order)
        weights = sum(p.nbytes for p in self.unet.parameters())
        share = CPU_SHARE if device.type == "cpu" else GPU_SHARE
        memory = share * max(0, total_memory(device) - weights)
        key = device, self.compute_dtype, gradient
        if key not in self._footprints:
            self._footprints[key] = self.bytes_per_pixel(gradient)
        self.pixels = int(memory / self._footprints[key])
        if self._largest_tile is not None:
            side = min(self._largest_tile, math.isqrt(self.pixels))
            self.use_tiles(max(self.smallest_tile, side))

    def fix_tile(self, tile: int) -> None:
        """Predict on tiles of this side from now on, whatever memory allows."""
        self._largest_tile = None
        self.use_tiles(tile)

    def halve_tile(self) -> bool:
        """Predict on tiles of half the side from now on; False if they are as small as they get."""
        if self.tile <= self.smallest_tile:
            return False
        self.fix_tile(max(self.smallest_tile, self.tile // 2))
        return True

    @contextmanager
    def same_tiles_afterwards(self) -> Iterator[None]:
        """Whatever is done to the tiles inside is undone at the end."""
        before = self.tile, self.overlap, self._largest_tile
        try:
            yield
        finally:
            self.tile, self.overlap, self._largest_tile = before

    def bytes_per_pixel(self, gradient: bool) -> float:
        """Memory that an evaluation takes for each pixel of an image, as counted in a small one.

        Args:
            gradient: whether everything that a backward pass needs is kept.
        """
        device = next(self.unet.parameters()).device
        side = self.smallest_tile
        x_t = torch.zeros(1, 3, side, side, device=device, requires_grad=gradient)
        with torch.set_grad_enabled(gradient), AllocationCounter() as counter:
            self._network(x_t, 0)
        return counter.peak / side**2

    @abstractmethod
    def _predict(self, x_t: Tensor, steps: Tensor, labels: Tensor | None) -> Tensor:
        """The U-Net's output, `(B, 3 or 6, H, W)`, whose first three channels are its prediction.

        Args:
            x_t: `(B, 3, H, W)` float32.
            steps: `(B,)` timesteps.
            labels: `(B,)` classes; None if the U-Net knows none.
        """

    def _network(self, x_t: Tensor, t: int) -> Tensor:
        steps = torch.full((len(x_t),), t, device=x_t.device)
        labels = None if self.label is None else torch.full_like(steps, self.label)
        half = self.compute_dtype != torch.float32
        with torch.autocast(x_t.device.type, self.compute_dtype, enabled=half):
            prediction = self._predict(x_t.float(), steps, labels)
        return prediction[:, : x_t.shape[1]].float()


def _check_label(label: int | None, classes: int | None) -> None:
    if classes is None:
        if label is not None:
            raise PriorError(f"the prior knows no classes: leave out --model.label {label}")
    elif label is None:
        raise PriorError(
            f"the prior is class-conditional: choose a class with --model.label 0..{classes - 1}"
        )
    elif not 0 <= label < classes:
        raise PriorError(
            f"--model.label {label} is not a class of the prior: choose one of 0..{classes - 1}"
        )
