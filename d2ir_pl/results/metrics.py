"""Image quality against a reference, and kernel quality against the true kernel."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor
from torchmetrics.functional.image import (
    peak_signal_noise_ratio,
    structural_similarity_index_measure,
)


def psnr(x: Tensor, reference: Tensor, observed: Tensor | None = None) -> Tensor:
    """`(B,)` peak signal-to-noise ratio in dB, mean over each image, range [-1, 1].

    Args:
        x: `(B, 3, H, W)` images.
        reference: what they are compared with.
        observed: `(B, 1, H, W)`, 0 where a pixel does not count; all count if None.
    """
    if observed is not None:
        share = observed.mean((1, 2, 3))
        error = (observed * (x.clamp(-1, 1) - reference)).square().mean((1, 2, 3)) / share
        return 10 * torch.log10(4 / error)
    return peak_signal_noise_ratio(
        x.clamp(-1, 1), reference, data_range=(-1.0, 1.0), reduction="none", dim=(1, 2, 3)
    )


def ssim(x: Tensor, reference: Tensor) -> Tensor:
    """`(B,)` structural similarity (Wang et al. 2004), range [-1, 1].

    NaN for images under 11 pixels in height or width, where it is not defined.
    """
    if min(x.shape[-2:]) < 11:
        return torch.full((len(x),), torch.nan)
    value = structural_similarity_index_measure(
        x.clamp(-1, 1), reference, data_range=(-1.0, 1.0), reduction="none"
    )
    assert isinstance(value, Tensor)
    return value.reshape(len(x))


def lpips(x: Tensor, reference: Tensor) -> Tensor | None:
    """`(B,)` perceptual distance (Zhang et al. 2018, AlexNet); None where it cannot be computed.

    Needs the `perceptual` extra and AlexNet's weights in torch's hub cache; nothing is downloaded.
    """
    weights = Path(torch.hub.get_dir()) / "checkpoints" / "alexnet-owt-7be5be79.pth"
    if not weights.is_file() or min(x.shape[-2:]) < 64:
        return None
    try:
        from torchmetrics.functional.image import learned_perceptual_image_patch_similarity
    except (ImportError, RuntimeError):  # torchvision is missing, or was built for another torch
        return None
    pairs = zip(x.clamp(-1, 1), reference, strict=True)
    return torch.stack(
        [learned_perceptual_image_patch_similarity(a[None], b[None], "alex") for a, b in pairs]
    )


def kernel_similarity(kernel: Tensor, truth: Tensor) -> Tensor:
    """Maximum of the normalised cross-correlation over all shifts, in [0, 1]; 1 for equal kernels.

    Args:
        kernel: `(k, k)`, such as one that was estimated.
        truth: `(l, l)`, the one to compare it with.

    Source: Hu and Yang, Good regions to deblur, 2012, eq. 8.
    """
    size = kernel.shape[-1] + truth.shape[-1]
    spectra = [torch.fft.rfft2(k.double(), s=(size, size)) for k in (kernel, truth)]
    correlation = torch.fft.irfft2(spectra[0] * spectra[1].conj(), s=(size, size))
    similarity: Tensor = correlation.max() / (kernel.double().norm() * truth.double().norm())
    return similarity
