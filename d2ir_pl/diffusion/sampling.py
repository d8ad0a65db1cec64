"""Steps and chains of diffusion sampling, as pure functions. Gradient mode is the caller's."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from d2ir_pl.diffusion.prior import Prior

Gradient = Literal["full", "detached"]


def predict_eps(x_t: Tensor, x0: Tensor, alpha_bar: float) -> Tensor:
    """The noise that x_t contains if its clean image is x0."""
    return (x_t - math.sqrt(alpha_bar) * x0) / math.sqrt(1 - alpha_bar)


def ddim_step(
    x0: Tensor, eps: Tensor, alpha_bar: float, noise: Tensor | None = None, sigma: float = 0.0
) -> Tensor:
    """x at level `alpha_bar`: sqrt(ab) x0 + sqrt(1 - ab - sigma^2) eps + sigma noise.

    Song et al., Denoising Diffusion Implicit Models, 2021, eq. 12. sigma = 0 is deterministic;
    sigma^2 = 1 - ab replaces all noise by fresh noise (Zhu et al., DiffPIR, 2023, with zeta = 1).
    """
    x = math.sqrt(alpha_bar) * x0 + math.sqrt(max(0.0, 1 - alpha_bar - sigma**2)) * eps
    return x if noise is None else x + sigma * noise


def ancestral_sigma(alpha_bar: float, alpha_bar_next: float) -> float:
    """sigma that makes a `ddim_step` one of DDPM (Song et al. 2021, eq. 16 with eta = 1)."""
    variance = (1 - alpha_bar_next) / (1 - alpha_bar) * (1 - alpha_bar / alpha_bar_next)
    return math.sqrt(variance)


@torch.no_grad()
def to_sphere(x_T: Tensor) -> None:
    """Rescale each image, in place, to norm sqrt(d), where white noise of d values lies.

    Args:
        x_T: `(B, 3, H, W)`.
    """
    norm = x_T.flatten(1).norm(dim=1)[:, None, None, None]
    x_T *= math.sqrt(x_T[0].numel()) / norm


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
        x0 = (x_t - math.sqrt(1 - ab) * eps) / math.sqrt(ab)
        x_t = ddim_step(x0, eps, ab_next)
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
