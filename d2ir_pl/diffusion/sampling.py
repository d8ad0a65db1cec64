"""The formulas of a diffusion and of a step along it, as pure functions."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def x0_from_eps(x_t: Tensor, eps: Tensor, alpha_bar: float) -> Tensor:
    """The clean image in x_t if its noise is eps: (x_t - sqrt(1 - ab) eps) / sqrt(ab)."""
    return torch.sub(x_t, eps, alpha=math.sqrt(1 - alpha_bar)).div_(math.sqrt(alpha_bar))


def eps_from_x0(x_t: Tensor, x0: Tensor, alpha_bar: float) -> Tensor:
    """The noise in x_t if its clean image is x0: (x_t - sqrt(ab) x0) / sqrt(1 - ab)."""
    return torch.sub(x_t, x0, alpha=math.sqrt(alpha_bar)).div_(math.sqrt(1 - alpha_bar))


def ddim_step(
    x0: Tensor, eps: Tensor, alpha_bar: float, noise: Tensor | None = None, sigma: float = 0.0
) -> Tensor:
    """The state at level `alpha_bar`: sqrt(ab) x0 + sqrt(1 - ab - sigma^2) eps + sigma noise.

    Args:
        x0: `(B, 3, H, W)` clean images.
        eps: `(B, 3, H, W)` noise that the state before contains.
        alpha_bar: level ab of the state.
        noise: `(B, 3, H, W)` fresh noise; none is added if None.
        sigma: standard deviation of the fresh noise. 0 is deterministic, and sigma^2 = 1 - ab
            replaces all noise (Zhu et al., DiffPIR, 2023, with zeta = 1).

    Source: Song et al., Denoising Diffusion Implicit Models, 2021, eq. 12.
    """
    left = math.sqrt(max(0.0, 1 - alpha_bar - sigma**2))
    x = (math.sqrt(alpha_bar) * x0).add_(eps, alpha=left)
    return x if noise is None else x.add_(noise, alpha=sigma)


def ancestral_sigma(alpha_bar: float, alpha_bar_next: float) -> float:
    """The sigma that makes a `ddim_step` one of DDPM (Song et al. 2021, eq. 16 with eta = 1).

    Args:
        alpha_bar: level of the state before the step.
        alpha_bar_next: level of the state after it.
    """
    variance = (1 - alpha_bar_next) / (1 - alpha_bar) * (1 - alpha_bar / alpha_bar_next)
    return math.sqrt(variance)


@torch.no_grad()
def to_sphere(x_T: Tensor) -> None:
    """Rescale each latent, in place, to norm sqrt(d), where white noise of d values lies.

    Args:
        x_T: `(B, 3, H, W)` latents of d values each.
    """
    norm = x_T.flatten(1).norm(dim=1)[:, None, None, None]
    x_T *= math.sqrt(x_T[0].numel()) / norm
