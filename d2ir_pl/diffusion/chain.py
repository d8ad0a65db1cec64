"""Deterministic chains between a state of the diffusion and its clean image."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from d2ir_pl.diffusion.prior import Prior
from d2ir_pl.diffusion.sampling import ddim_step, x0_from_eps

Gradient = Literal["full", "detached"]
"""Way of a gradient through a chain: through the network, or through the coefficients alone."""


def ddim_chain(
    prior: Prior, x_t: Tensor, timesteps: Sequence[int], gradient: Gradient = "full"
) -> Tensor:
    """x_0(x_t) along a deterministic DDIM chain that ends at the clean image.

    Args:
        prior: the noise predictor.
        x_t: `(B, 3, H, W)` at level `timesteps[0]`.
        timesteps: descending levels, one evaluation each.
        gradient: `full` differentiates through the network, one step at a time in memory
            (each step is checkpointed); `detached` lets the gradient pass only through the DDIM
            coefficients (Chihaoui et al., BIRD, 2024).
    """
    for t, ab, ab_next in prior.schedule.walk(timesteps):
        if gradient == "detached":
            with torch.no_grad():
                eps = prior.eps(x_t, t)
        elif torch.is_grad_enabled() and x_t.requires_grad:
            prior.nfe += 1
            eps = checkpoint(prior.evaluate, x_t, t, use_reentrant=False, preserve_rng_state=False)
        else:
            eps = prior.eps(x_t, t)
        x_t = ddim_step(x0_from_eps(x_t, eps, ab), eps, ab_next)
    return x_t


def ddim_inversion(
    prior: Prior, x0: Tensor, timesteps: Sequence[int], fixed_point_iterations: int = 5
) -> Tensor:
    """The x_t from which `ddim_chain` over the same timesteps returns x0.

    Each step solves x_t = sqrt(ab_t / ab_s) x_s + (sqrt(1 - ab_t) - sqrt(ab_t (1 - ab_s) / ab_s))
    eps(x_t, t) for x_t by fixed-point iteration, s the next cleaner level. One iteration is the
    usual inversion, which is inaccurate over few steps (Pan et al., Effective Real Image Editing
    with Accelerated Iterative Diffusion Inversion, 2023).
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
