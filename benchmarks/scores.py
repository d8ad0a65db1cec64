"""What is measured of a restored image."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from benchmarks.tasks import Task
from d2ir_pl.degradations import Blur, Degradation, Downsampling, GaussianBlur, Phi
from d2ir_pl.results.metrics import psnr, ssim

Row = dict[str, Any]
"""What is known of one restored image, by column of the CSV file."""


def score(task: Task, x: Tensor) -> Row:
    """The scores that any restored image has.

    Args:
        task: a task of one image.
        x: `(1, 3, H, W)` in [-1, 1], the restored image.
    """
    row: Row = {
        "input": float(psnr(task.shown(), task.reference)),
        "psnr": float(psnr(x, task.reference)),
        "ssim": float(ssim(x, task.reference)),
    }
    if isinstance(task.degradation, Blur):
        row["aligned"] = aligned_psnr(x, task.reference)
    if task.name == "colorization":
        row["grey_psnr"] = float(psnr(task.degradation(x, task.phi), task.y))
        original = colourfulness(task.reference)
        row["colour"] = colourfulness(x) / original if original > 1 else None
    return row


def aligned_psnr(x: Tensor, reference: Tensor, reach: int = 3) -> float:
    """The best PSNR over shifts by whole pixels, without a border of `reach` pixels.

    A free kernel and the image may be shifted against each other, which nobody can see.

    Args:
        x: `(1, 3, H, W)` in [-1, 1], the restored image.
        reference: `(1, 3, H, W)` in [-1, 1], the clean image.
        reach: largest shift in pixels.
    """
    inner = slice(reach, -reach)
    shifts = range(-reach, reach + 1)
    shifted = [torch.roll(x, (dy, dx), (-2, -1)) for dy in shifts for dx in shifts]
    candidates = torch.cat(shifted)[..., inner, inner]
    return float(psnr(candidates, reference[..., inner, inner].expand_as(candidates)).max())


def colourfulness(x: Tensor) -> float:
    """How colourful an image `(1, 3, H, W)` is; grey ones have 0.

    Source: Hasler and Suesstrunk, Measuring colourfulness in natural images, 2003, M^(3).
    """
    r, g, b = (x[0] + 1) * 127.5
    rg, yb = r - g, (r + g) / 2 - b
    spread = (rg.var() + yb.var()).sqrt()
    return float(spread + 0.3 * (rg.mean().square() + yb.mean().square()).sqrt())


def estimated_kernel(degradation: Degradation, phi: Phi) -> Tensor:
    """The blur kernel `(k, k)` of the first image, in pixels of the clean image."""
    if isinstance(degradation, Downsampling):
        taps = degradation.taps(phi)[0]
        return torch.outer(taps, taps)
    assert isinstance(degradation, Blur | GaussianBlur)
    return degradation.kernel(phi)[0]
