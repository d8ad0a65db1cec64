"""Timesteps of training: how they are drawn, and sums of the loss over ranges of them."""

from __future__ import annotations

import torch
from torch import Tensor

RANGES = 10
"""The T timesteps are taken in ranges of T/10: each has a loss that is logged, and a probability
under importance sampling."""

_UNIFORM_SHARE = 0.1
"""The share of the probability that importance sampling spreads evenly over the ranges, so that no
range is forgotten."""


def uniform_timesteps(u: Tensor, T: int) -> Tensor:
    """Timesteps `(B,)` in 0..T-1, evenly distributed where u is.

    Args:
        u: `(B,)` in [0, 1).
        T: number of timesteps.
    """
    return (u * T).long().clamp(max=T - 1)


def importance_timesteps(u: Tensor, T: int, mean_square: Tensor) -> tuple[Tensor, Tensor]:
    """Timesteps, drawn with a probability proportional to the root mean square of their loss.

    Args:
        u: `(B,)` in [0, 1).
        T: number of timesteps.
        mean_square: `(RANGES,)` mean of the squared loss in each range of timesteps.

    Returns:
        The timesteps `(B,)`, and the weights `(B,)` of their losses, with which the expected loss
        is that of uniform timesteps.

    Source: Nichol and Dhariwal, Improved Denoising Diffusion Probabilistic Models, 2021, section
    3.3.
    """
    share = mean_square.sqrt() / mean_square.sqrt().sum()
    share = _UNIFORM_SHARE / RANGES + (1 - _UNIFORM_SHARE) * share
    # The sums of all shares so far, by a product, which is deterministic on every device.
    edges = share @ torch.ones(RANGES, RANGES, device=share.device).triu()
    which = torch.searchsorted(edges, u, right=True).clamp(max=RANGES - 1)
    inside = ((u - edges[which] + share[which]) / share[which]).clamp(0, 1)
    t = ((which + inside) * T / RANGES).long().clamp(max=T - 1)
    return t, 1 / (RANGES * share[which])


def sums_by_range(loss: Tensor, t: Tensor, T: int) -> Tensor:
    """Sum, number and sum of squares of the losses in each range of timesteps, `(3, RANGES)`.

    Args:
        loss: `(B,)`.
        t: `(B,)` timesteps in 0..T-1.
        T: number of timesteps.
    """
    sums = torch.zeros(3, RANGES, device=loss.device)
    for row, values in enumerate((loss, torch.ones_like(loss), loss.square())):
        sums[row].index_add_(0, t * RANGES // T, values)
    return sums
