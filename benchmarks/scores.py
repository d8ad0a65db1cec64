"""What is measured of a restored image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.tasks import Task
from d2ir_pl.degradations import Blur, Degradation, Downsampling, GaussianBlur, Phi
from d2ir_pl.results.metrics import psnr, ssim

INCEPTION = Path(torch.hub.get_dir()) / "checkpoints" / "weights-inception-2015-12-05-6726825d.pth"
"""Where torch-fidelity keeps the network of `fid`."""

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


def kernel_rmse(kernel: Tensor, truth: Tensor) -> float:
    """Root of the mean squared difference of two kernels over the entries of the true one.

    They are compared at the shift by whole pixels at which they agree best, as nobody can see a
    shift of the kernel against that of the image.

    Args:
        kernel: `(k, k)`, such as one that was estimated.
        truth: `(l, l)`, the one to compare it with.
    """
    size = kernel.shape[-1] + truth.shape[-1]
    spectra = [torch.fft.rfft2(k.double(), s=(size, size)) for k in (kernel, truth)]
    overlap = torch.fft.irfft2(spectra[0] * spectra[1].conj(), s=(size, size)).max()
    # |a - b|^2 = |a|^2 + |b|^2 - 2 <a, b>, with the largest product over all shifts.
    squares = kernel.double().square().sum() + truth.double().square().sum() - 2 * overlap
    return float((squares.clamp_min(0) / truth.numel()).sqrt())


def fid(restored: Tensor, reference: Tensor) -> float | None:
    """The Frechet distance between two sets of images `(B, 3, H, W)` in [-1, 1].

    Says little of fewer than thousands of images. None where it cannot be computed: it needs the
    extra `perceptual`, and the weights of the Inception network in torch's hub cache, since nothing
    is downloaded.

    Source: Heusel et al., GANs trained by a two time-scale update rule converge to a local Nash
    equilibrium, 2017.
    """
    if len(restored) < 2 or not INCEPTION.is_file():
        return None
    try:
        from torchmetrics.image.fid import FrechetInceptionDistance

        distance = FrechetInceptionDistance(normalize=True)
    except (ImportError, RuntimeError):  # a library is missing, or was built for another torch
        return None
    distance.update((reference + 1) / 2, real=True)
    distance.update((restored.clamp(-1, 1) + 1) / 2, real=False)
    return float(distance.compute())
