"""Batches of data of one's own as what a training step takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from d2ir_pl.diffusion.randomness import image_generator, normal_like
from d2ir_pl.errors import TrainingError
from d2ir_pl.training.patches import PatchBatch

_ROUNDING = 0.02
"""How far the values of images may lie outside [0, 1], as after a bicubic interpolation."""


def clean_images(batch: Any, multiple: int) -> Tensor:
    """The images of a batch, `(B, 3, H, W)` in [-1, 1].

    Args:
        batch: a tensor `(B, 3, H, W)` or `(3, H, W)` in [0, 1], a tuple or list that begins with
            one, or a dictionary, of which the first tensor counts.
        multiple: number of pixels of which H and W have to be multiples.

    Raises:
        TrainingError: if there are no such images in it.
    """
    if isinstance(batch, Mapping):
        batch = next((value for value in batch.values() if isinstance(value, Tensor)), batch)
    elif isinstance(batch, Sequence) and not isinstance(batch, str) and batch:
        batch = batch[0]
    shape = f"of shape {tuple(batch.shape)}" if isinstance(batch, Tensor) else type(batch).__name__
    if not isinstance(batch, Tensor) or batch.ndim not in (3, 4) or batch.shape[-3] != 3:
        raise TrainingError(
            f"the data yield a batch {shape}: let them yield images as tensors (B, 3, H, W) in "
            "[0, 1], alone or first in a tuple"
        )
    height, width = batch.shape[-2:]
    if height % multiple or width % multiple:
        raise TrainingError(
            f"the data yield images of {height}x{width} pixels: let both be multiples of "
            f"{multiple}, as the network halves them so often"
        )
    low, high = float(batch.min()), float(batch.max())
    if not (low >= -_ROUNDING and high <= 1 + _ROUNDING):
        raise TrainingError(
            f"the data yield images with values from {low:.3g} to {high:.3g}: scale them to [0, 1]"
        )
    return (batch if batch.ndim == 4 else batch[None]).float().clamp(0, 1) * 2 - 1


def with_noise(x0: Tensor, seed: int, key: str) -> PatchBatch:
    """Clean images with everything random about their training step.

    Args:
        x0: `(B, 3, H, W)` in [-1, 1].
        seed: seed of the run.
        key: name of the step and process; with the seed it decides the draws.
    """
    generators = [image_generator(seed, f"{key} {b}", "train") for b in range(len(x0))]
    shift = torch.stack([torch.rand((), generator=g, device=g.device) for g in generators])
    u = (torch.arange(len(x0)) + shift.cpu()) / len(x0)
    return PatchBatch(x0, normal_like(x0, generators), u.to(x0.device))
