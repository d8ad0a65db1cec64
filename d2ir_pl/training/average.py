"""The moving average of weights in training."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

Follow = Callable[[Sequence[Tensor], Sequence[Tensor], Tensor | int], None]
"""Moves averages, in place, towards weights, given the number of steps so far."""


def moving_average(decay: float) -> Follow:
    """The function by which averages of weights follow them, all at once.

    At first an average reaches back over a tenth of the steps so far.

    Args:
        decay: decay of the average in the end, in [0, 1).
    """

    def move(averages: Sequence[Tensor], weights: Sequence[Tensor], steps: Tensor | int) -> None:
        taken = int(steps)  # once for all tensors: a device is waited for
        early = (1 + taken) / (10 + taken)
        follow: Follow = get_ema_multi_avg_fn(min(decay, early))
        follow(averages, weights, steps)

    return move
