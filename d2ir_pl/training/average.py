"""The moving average of weights in training."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def moving_average(decay: float) -> Callable[[Tensor, Tensor, Tensor | int], Tensor]:
    """The function by which an average of weights follows them.

    It returns the average after a step, given the one before, the weights, and the number of steps
    so far. At first it reaches back over a tenth of the steps so far.

    Args:
        decay: decay of the average in the end, in [0, 1).
    """

    def move(average: Tensor, current: Tensor, steps: Tensor | int) -> Tensor:
        early = (1 + int(steps)) / (10 + int(steps))
        return torch.lerp(average, current, 1 - min(decay, early))

    return move
