"""The interface of a diffusion prior: noise and clean-image prediction at any image size."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from d2ir_pl.diffusion.sampling import x0_from_eps
from d2ir_pl.diffusion.schedule import Schedule
from d2ir_pl.operators.padding import pad


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
        self.compute_dtype = torch.float32
        """What the network computes in."""
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
    def predict_eps(self, x_t: Tensor, t: int) -> Tensor:
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
        """The mean of x_0 given x_t, by Tweedie's formula (see `x0_from_eps`)."""
        return x0_from_eps(x_t, self.eps(x_t, t), self.schedule.level(t))

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
        return self.predict_eps(pad(x_t, (0, below), (0, right), "reflect"), t)[..., :h, :w]

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
