"""A diffusion prior: it predicts the noise, and so the clean image, at any size of image."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from d2ir_pl.diffusion.calibration import Calibration
from d2ir_pl.diffusion.sampling import x0_from_eps
from d2ir_pl.diffusion.schedule import Schedule, Timestep
from d2ir_pl.errors import PriorError
from d2ir_pl.operators.linear import size_of
from d2ir_pl.operators.padding import pad


class Prior(nn.Module, ABC):
    """A pretrained noise predictor eps(x_t, t) with its schedule.

    It works at any height and width: images are mirrored up to the multiple that the network
    needs, and those larger than `tile` are predicted on overlapping tiles and blended. Parameters
    are frozen, and gradients flow to x_t. Gradient mode is the caller's.

    A prior of one's own defines `predict_eps`.

    Args:
        schedule: alpha_bar of each timestep.
        multiple: number that divides the heights and widths that the network accepts.
        tile: largest height and width in pixels that is predicted at once.
        overlap: least number of pixels that neighbouring tiles share; a twentieth of the tile if
            None, or 16 where a tile is at least eight times as long.

    Attributes:
        compute_dtype: dtype that the network computes in.
        pixels: number of pixels, of all images of a batch, that are predicted at once; None for
            any number.
        nfe: number of evaluations so far: calls of `eps` or `x0`, each on a batch of whole images.
        calibration: how far restorations with it can be off; None where that is not known.
        uncalibrated: why that is not known, as a phrase.
    """

    def __init__(
        self, schedule: Schedule, multiple: int = 1, tile: int = 512, overlap: int | None = None
    ) -> None:
        super().__init__()
        self.schedule = schedule
        self.multiple = multiple
        self.use_tiles(tile, overlap)
        self._largest_tile: int | None = None
        """The bound of a tile that is chosen by what memory allows; None for a fixed tile."""
        self.compute_dtype = torch.float32
        self.pixels: int | None = None
        self.nfe = 0
        self.calibration: Calibration | None = None
        self.uncalibrated = "the prior is not calibrated"

    def use_tiles(self, tile: int, overlap: int | None = None) -> None:
        """Predict at most `tile` x `tile` pixels at once from now on.

        Args:
            tile: largest height and width in pixels that is predicted at once.
            overlap: least number of pixels that neighbouring tiles share; a twentieth of the tile
                if None, or 16 where a tile is at least eight times as long.

        Raises:
            PriorError: if the tile is too small for the network.
            ValueError: if the overlap is too large for the tile, or not positive.
        """
        if tile < self.smallest_tile:
            raise PriorError(
                f"tile {tile} must be at least {self.smallest_tile} pixels for this prior"
            )
        overlap = max(tile // 20, min(16, tile // 8)) if overlap is None else overlap
        if not 0 < overlap <= tile // 2:
            raise ValueError(f"overlap {overlap} must lie between 1 and half of tile {tile}")
        self.tile = tile // self.multiple * self.multiple
        self.overlap = overlap

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
        """Undo at the end whatever is done to the tiles inside."""
        before = self.tile, self.overlap, self._largest_tile
        try:
            yield
        finally:
            self.tile, self.overlap, self._largest_tile = before

    @property
    def smallest_tile(self) -> int:
        """The smallest tile, in pixels, that the network can predict."""
        return 4 * self.multiple

    def prepare(self, gradient: bool) -> None:  # noqa: ARG002
        """Get ready to restore images on the device where the prior is now.

        Args:
            gradient: whether any gradient will pass through the network.
        """
        return None

    @abstractmethod
    def predict_eps(self, x_t: Tensor, t: Timestep) -> Tensor:
        """The noise in x_t as the network predicts it: the part of `eps` that a prior defines.

        Args:
            x_t: `(B, 3, H, W)` float32, with H and W multiples of `multiple` and at most `tile`.
            t: timestep in 0..T-1, or one of each image, `(B,)`.

        Returns:
            `(B, 3, H, W)` float32.
        """

    def eps(self, x_t: Tensor, t: Timestep, *, checkpointed: bool = False) -> Tensor:
        """The noise n in x_t = sqrt(ab_t) x_0 + sqrt(1 - ab_t) n, `(B, 3, H, W)` float32.

        Args:
            x_t: `(B, 3, H, W)` states of the diffusion.
            t: timestep in 0..T-1, or one of each image, `(B,)`.
            checkpointed: whether a backward pass computes the prediction a second time, instead of
                keeping all that it needs.
        """
        if isinstance(t, int) and not 0 <= t < self.schedule.T:
            raise ValueError(f"timestep {t} lies outside 0..{self.schedule.T - 1}")
        self.nfe += 1
        return _checkpointed(self._whole, x_t, t) if checkpointed else self._whole(x_t, t)

    def x0(self, x_t: Tensor, t: Timestep) -> Tensor:
        """The mean of x_0 given x_t, by Tweedie's formula (see `x0_from_eps`).

        Args:
            x_t: `(B, 3, H, W)` states of the diffusion.
            t: timestep in 0..T-1, or one of each image, `(B,)`.
        """
        return x0_from_eps(x_t, self.eps(x_t, t), self.schedule.level(t))

    def _whole(self, x_t: Tensor, t: Timestep) -> Tensor:
        """The noise in whole images of any size."""
        h, w = size_of(x_t)
        if h > self.tile or w > self.tile:
            return self._tiled(x_t, t)
        return self._in_parts(x_t, t)

    def _in_parts(self, x_t: Tensor, t: Timestep, *, checkpointed: bool = False) -> Tensor:
        """The noise in images no larger than a tile, in parts of the batch that fit into memory.

        Several parts are always checkpointed, so that a backward pass holds one at a time.
        """
        h, w = size_of(x_t)
        count = len(x_t) if self.pixels is None else self.pixels // (h * w)
        parts = torch.split(x_t, max(1, count))
        if len(parts) == 1 and not checkpointed:
            return self._padded(x_t, t)
        times = t.split(max(1, count)) if isinstance(t, Tensor) else [t] * len(parts)
        calls = zip(parts, times, strict=True)
        return torch.cat([_checkpointed(self._padded, part, own) for part, own in calls])

    def _padded(self, x_t: Tensor, t: Timestep) -> Tensor:
        """The noise in images no larger than a tile, mirrored up to what the network accepts."""
        h, w = size_of(x_t)
        below, right = -h % self.multiple, -w % self.multiple
        return self.predict_eps(pad(x_t, (0, below), (0, right), "reflect"), t)[..., :h, :w]

    def _tiled(self, x_t: Tensor, t: Timestep) -> Tensor:
        """Predictions on overlapping tiles, blended with weights that fall to the tile's edge."""
        total = torch.zeros_like(x_t)
        weight = x_t.new_zeros(x_t.shape[-2:])
        for top, height in self._spans(x_t.shape[-2]):
            for left, width in self._spans(x_t.shape[-1]):
                window = torch.outer(self._ramp(height), self._ramp(width)).to(x_t)
                rows, columns = slice(top, top + height), slice(left, left + width)
                eps = self._in_parts(x_t[..., rows, columns], t, checkpointed=True)
                total[..., rows, columns] += window * eps
                weight[rows, columns] += window
        total /= weight
        return total

    def _spans(self, n: int) -> list[tuple[int, int]]:
        """The start and length of each tile along a side of n pixels.

        All have the same length, the shortest multiple of `multiple` that covers the side.
        """
        if n <= self.tile:
            return [(0, n)]
        count = math.ceil((n - self.overlap) / (self.tile - self.overlap))
        length = (n + (count - 1) * self.overlap) / count
        length = min(self.tile, math.ceil(length / self.multiple) * self.multiple)
        return [(round(i * (n - length) / (count - 1)), length) for i in range(count)]

    def _ramp(self, n: int) -> Tensor:
        """`(n,)` weights along a side of a tile: 1 inside, falling over the overlap at its ends."""
        distance = torch.arange(n, dtype=torch.float32)
        distance = torch.minimum(distance, distance.flip(0)) + 1
        return (distance / self.overlap).clamp(max=1)


def _checkpointed(
    predict: Callable[[Tensor, Timestep], Tensor], x_t: Tensor, t: Timestep
) -> Tensor:
    """A prediction that a backward pass, if there will be one, computes a second time."""
    if not (torch.is_grad_enabled() and x_t.requires_grad):
        return predict(x_t, t)
    eps = checkpoint(predict, x_t, t, use_reentrant=False, preserve_rng_state=False)
    assert isinstance(eps, Tensor)
    return eps
