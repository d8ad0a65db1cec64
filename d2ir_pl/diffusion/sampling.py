"""The formulas of a diffusion and of a step along it, as pure functions.

A level is a number, or one of each image, `(B, 1, 1, 1)`.
"""

from __future__ import annotations

import math
from typing import overload

import torch
from torch import Tensor

from d2ir_pl.diffusion.schedule import Level


def x0_from_eps(x_t: Tensor, eps: Tensor, alpha_bar: Level) -> Tensor:
    """The clean image in x_t if its noise is eps: (x_t - sqrt(1 - ab) eps) / sqrt(ab)."""
    return _less(x_t, eps, root(1 - alpha_bar)).div_(root(alpha_bar))


def eps_from_x0(x_t: Tensor, x0: Tensor, alpha_bar: Level) -> Tensor:
    """The noise in x_t if its clean image is x0: (x_t - sqrt(ab) x0) / sqrt(1 - ab)."""
    return _less(x_t, x0, root(alpha_bar)).div_(root(1 - alpha_bar))


def ddim_step(
    x0: Tensor, eps: Tensor, alpha_bar: Level, noise: Tensor | None = None, sigma: Level = 0.0
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
    x = _add(_times(x0, root(alpha_bar)), eps, root(1 - alpha_bar - sigma**2))
    return x if noise is None else _add(x, noise, sigma)


@overload
def ancestral_sigma(alpha_bar: float, alpha_bar_next: float) -> float: ...
@overload
def ancestral_sigma(alpha_bar: Level, alpha_bar_next: Level) -> Level: ...
def ancestral_sigma(alpha_bar: Level, alpha_bar_next: Level) -> Level:
    """The sigma that makes a `ddim_step` one of DDPM (Song et al. 2021, eq. 16 with eta = 1).

    Args:
        alpha_bar: level of the state before the step.
        alpha_bar_next: level of the state after it.
    """
    return root((1 - alpha_bar_next) / (1 - alpha_bar) * (1 - alpha_bar / alpha_bar_next))


def root(value: Level) -> Level:
    """The square root of what rounding alone makes negative."""
    return value.clamp_min(0).sqrt() if isinstance(value, Tensor) else math.sqrt(max(0.0, value))


def _times(x: Tensor, factor: Level) -> Tensor:
    """The images times a factor."""
    return factor.to(x) * x if isinstance(factor, Tensor) else factor * x


def _less(x: Tensor, y: Tensor, factor: Level) -> Tensor:
    """The images less others times a factor."""
    if isinstance(factor, Tensor):
        return torch.addcmul(x, factor.to(x), y, value=-1)
    return torch.sub(x, y, alpha=factor)


def _add(x: Tensor, y: Tensor, factor: Level) -> Tensor:
    """The images and others times a factor, in place of the images."""
    if isinstance(factor, Tensor):
        return x.addcmul_(factor.to(x), y)
    return x.add_(y, alpha=factor)


@torch.no_grad()
def to_sphere(x_T: Tensor) -> None:
    """Rescale each latent, in place, to norm sqrt(d), where white noise of d values lies.

    Args:
        x_T: `(B, 3, H, W)` latents of d values each.
    """
    norm = x_T.flatten(1).norm(dim=1)[:, None, None, None]
    x_T *= math.sqrt(x_T[0].numel()) / norm
