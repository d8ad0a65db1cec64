"""The ends of a photo's tones: how black its blacks are, how white its whites, and the tint."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

SHARE = 0.01
MAX_PIXELS = 1 << 18


@dataclass(frozen=True)
class Tones:
    """The ends of a photo's tones.

    Attributes:
        black: intensity that its darkest hundredth stays below, in the mean of the channels.
        white: intensity that its brightest hundredth exceeds.
        tint: the larger difference between the channels at either end.
    """

    black: float = 0.0
    white: float = 1.0
    tint: float = 0.0


def tones(y: Tensor, observed: Tensor | None = None) -> Tones:
    """The ends of the tones of one photo.

    Args:
        y: `(3, H, W)` in [-1, 1].
        observed: `(1, H, W)`, 1 where a pixel belongs to the photo; None where all do.
    """
    values = ((y.detach().float() + 1) / 2).flatten(1)
    if observed is not None and bool(observed.any()):
        values = values[:, observed.flatten() > 0]
    values = values[:, :: -(-values.shape[1] // MAX_PIXELS)]
    ends = torch.quantile(values, values.new_tensor([SHARE, 1 - SHARE]), dim=1)
    black, white = ends.mean(1).tolist()
    return Tones(black, white, float((ends.amax(1) - ends.amin(1)).max()))
