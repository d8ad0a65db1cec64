"""The interface of a diffusion prior: noise and clean-image prediction at any image size."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from d2ir_pl.padding import pad
from d2ir_pl.schedules import Schedule


class Prior(nn.Module, ABC):
    """A pretrained noise predictor eps(x_t, t) with its schedule.

    Works at any height and width: images are mirrored up to the multiple that the network needs,
    and those larger than `tile` are predicted on overlapping tiles and blended. Parameters are
    frozen; gradients flow to x_t. Gradient mode is the caller's.

    Args:
        schedule: alpha_bar of each timestep.
        multiple: heights and widths that the network accepts are multiples of this.
        tile: largest height and width in pixels that is predicted at once.
        overlap: pixels that neighbouring tiles share.
    """

    def __init__(
        self, schedule: Schedule, multiple: int = 1, tile: int = 512, overlap: int = 64
    ) -> None:
        super().__init__()
        if tile < 4 * multiple:
            raise ValueError(f"tile {tile} must be at least {4 * multiple} pixels for this prior")
        if not 0 < overlap <= tile // 2:
            raise ValueError(f"overlap {overlap} must lie between 1 and half of tile {tile}")
        self.schedule = schedule
        self.multiple = multiple
        self.tile = tile // multiple * multiple
        self.overlap = overlap
        self.nfe = 0
        """Evaluations so far: calls of `eps` or `x0`, each on a whole batch of whole images."""

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
        if h <= self.tile and w <= self.tile:
            return self._padded(x_t, t)
        return self._tiled(x_t, t)

    def x0(self, x_t: Tensor, t: int) -> Tensor:
        """Posterior mean of x_0 by Tweedie's formula, (x_t - sqrt(1 - ab_t) eps) / sqrt(ab_t)."""
        ab = self.schedule.level(t)
        return (x_t - math.sqrt(1 - ab) * self.eps(x_t, t)) / math.sqrt(ab)

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
                total[..., rows, columns] += window * self._padded(x_t[..., rows, columns], t)
                weight[rows, columns] += window
        return total / weight

    def _spans(self, n: int) -> list[tuple[int, int]]:
        """(start, length) of the tiles along a side of n pixels, evenly spread."""
        if n <= self.tile:
            return [(0, n)]
        count = math.ceil((n - self.overlap) / (self.tile - self.overlap))
        return [(round(i * (n - self.tile) / (count - 1)), self.tile) for i in range(count)]

    def _ramp(self, n: int) -> Tensor:
        distance = torch.arange(n, dtype=torch.float32)
        distance = torch.minimum(distance, distance.flip(0)) + 1
        return (distance / self.overlap).clamp(max=1)
