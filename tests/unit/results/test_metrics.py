"""Image and kernel quality against independent formulas."""

import numpy as np
import pytest
import torch

from d2ir_pl.operators.kernels import gaussian_kernel
from d2ir_pl.results.metrics import kernel_similarity, psnr, ssim


def test_psnr_is_a_mean_over_each_image() -> None:
    reference = torch.rand(3, 3, 20, 20) * 2 - 1
    x = (reference + torch.tensor([0.01, 0.1, 0.3])[:, None, None, None]).clamp(-1, 1)
    expected = [
        -10 * np.log10(float((((a - b) / 2) ** 2).mean()))
        for a, b in zip(x, reference, strict=True)
    ]
    assert psnr(x, reference).tolist() == pytest.approx(expected, rel=1e-4)


def test_ssim_agrees_with_the_map_of_scikit_image() -> None:
    """Their mean leaves the border out; that of the whole map differs by how borders are padded."""
    metrics = pytest.importorskip("skimage.metrics")
    generator = torch.Generator().manual_seed(0)
    reference = torch.rand(1, 3, 96, 96, generator=generator) * 2 - 1
    noise = torch.randn(reference.shape, generator=generator)
    x = (reference + 0.2 * noise).clamp(-1, 1)
    _, theirs = metrics.structural_similarity(
        x[0].numpy(),
        reference[0].numpy(),
        channel_axis=0,
        data_range=2.0,
        gaussian_weights=True,
        use_sample_covariance=False,
        full=True,
    )
    assert float(ssim(x, reference)) == pytest.approx(float(theirs.mean()), abs=0.003)


def test_ssim_of_tiny_images_is_undefined() -> None:
    assert bool(ssim(torch.zeros(2, 3, 1, 30), torch.zeros(2, 3, 1, 30)).isnan().all())


def test_kernel_similarity_ignores_shifts_and_scale_only() -> None:
    kernel = gaussian_kernel(torch.tensor([[[4.0, 1.0], [1.0, 2.0]]]), 21)[0]
    shifted = torch.roll(kernel, (3, -2), (0, 1))
    assert float(kernel_similarity(kernel, 2 * shifted)) == pytest.approx(1, abs=1e-3)
    wider = gaussian_kernel(torch.eye(2)[None] * 9, 31)[0]
    assert float(kernel_similarity(kernel, wider)) < 0.95
