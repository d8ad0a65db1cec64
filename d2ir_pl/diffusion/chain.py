"""Deterministic chains between a state of the diffusion and its clean image."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from d2ir_pl.diffusion.prior import Prior
from d2ir_pl.diffusion.sampling import ddim_step, x0_from_eps

Gradient = Literal["full", "detached"]
"""What a gradient passes through along a chain: `full` includes the network, and `detached` takes
the coefficients of DDIM alone (Chihaoui et al., BIRD, 2024)."""


def ddim_chain(
    prior: Prior, x_t: Tensor, timesteps: Sequence[int], gradient: Gradient = "full"
) -> Tensor:
    """The image x_0(x_t) at the end of a deterministic DDIM chain.

    Args:
        prior: noise predictor.
        x_t: `(B, 3, H, W)` states at the first timestep.
        timesteps: descending timesteps, with one evaluation at each.
        gradient: path of the gradient, see `Gradient`. A `full` one holds one step in memory at a
            time, because every step is checkpointed.
    """
    through_network = gradient == "full" and torch.is_grad_enabled()
    for t, ab, ab_next in prior.schedule.walk(timesteps):
        with torch.set_grad_enabled(through_network):
            eps = prior.eps(x_t, t, checkpointed=True)
        x_t = ddim_step(x0_from_eps(x_t, eps, ab), eps, ab_next)
    return x_t


def ddim_inversion(
    prior: Prior, x0: Tensor, timesteps: Sequence[int], fixed_point_iterations: int = 5
) -> Tensor:
    """The x_t from which `ddim_chain` over the same timesteps returns x0.

    With s the next cleaner level, each step solves

        x_t = sqrt(ab_t / ab_s) x_s + (sqrt(1 - ab_t) - sqrt(ab_t (1 - ab_s) / ab_s)) eps(x_t, t)

    for x_t by fixed-point iteration.

    Args:
        prior: noise predictor.
        x0: `(B, 3, H, W)` clean images.
        timesteps: descending timesteps of the chain.
        fixed_point_iterations: number of evaluations at each of them. One is the usual inversion,
            which is inaccurate over few steps.

    Source: Pan et al., Effective Real Image Editing with Accelerated Iterative Diffusion Inversion,
    2023.
    """
    x = x0
    ab_s = 1.0
    for t in reversed(timesteps):
        ab_t = prior.schedule.level(t)
        ratio = math.sqrt(ab_t / ab_s)
        slope = math.sqrt(1 - ab_t) - ratio * math.sqrt(1 - ab_s)
        x_s, x = x, ratio * x
        for _ in range(fixed_point_iterations):
            x = ratio * x_s + slope * prior.eps(x, t)
        ab_s = ab_t
    return x
