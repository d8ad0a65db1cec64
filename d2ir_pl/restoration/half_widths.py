"""How far the pixels of restored images can be off, or why that is not known of some of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from d2ir_pl.operators.linear import rows_of


@dataclass(frozen=True, eq=False)
class Intervals:
    """How far the pixels of a batch of restored images can be off.

    Attributes:
        half_width: `(B, 1, H, W)` in the units of x0: the true pixel lies in x0 -+ half_width, in
            each channel, with a probability of `level`; NaN in an image of which that is not known,
            and None where it is known of none.
        level: that probability.
        reasons: why it is not known of each image, as a phrase, empty where it is.
    """

    half_width: Tensor | None
    level: float
    reasons: tuple[str, ...]

    @staticmethod
    def unknown(reason: str, images: int) -> Intervals:
        """Those of images of which nothing is known."""
        return Intervals(None, 0.0, (reason,) * images)

    def select(self, rows: Sequence[int]) -> Intervals:
        """Those of some images of the batch."""
        reasons = tuple(self.reasons[b] for b in rows)
        if self.half_width is None or all(reasons):
            return Intervals(None, 0.0, reasons)
        return Intervals(rows_of(self.half_width, list(rows)), self.level, reasons)

    def each(self, function: Callable[[Tensor], Tensor]) -> Intervals:
        """What a function makes of them, tensor by tensor, such as a copy on another device."""
        if self.half_width is None:
            return self
        return replace(self, half_width=function(self.half_width))

    def numbers(self) -> dict[str, Any]:
        """Level and mean width of a batch of one, as a record has them, in [0, 1]."""
        if self.half_width is None or not bool(self.half_width.isfinite().all()):
            return {}
        # The half-width in the units of x0 is the width in [0, 1].
        return {
            "interval_level": self.level,
            "interval_width": round(float(self.half_width.mean()), 5),
        }

    @staticmethod
    def join(parts: Sequence[Intervals]) -> Intervals:
        """Those of one batch made of several; at least one, of images of one size."""
        reasons = tuple(reason for part in parts for reason in part.reasons)
        known = [part for part in parts if part.half_width is not None]
        if not known:
            return Intervals(None, 0.0, reasons)
        some = known[0].half_width
        assert some is not None
        maps = [
            part.half_width
            if part.half_width is not None
            else some.new_full((len(part.reasons), *some.shape[1:]), torch.nan)
            for part in parts
        ]
        return Intervals(torch.cat(maps), known[0].level, reasons)
