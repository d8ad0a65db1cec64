import numpy as np
import pytest
import torch

from d2ir_pl.diffusion.randomness import image_generator, normal_like
from d2ir_pl.estimators.noise_level import estimate_sigma


def smooth(size: int = 96) -> torch.Tensor:
    i = torch.linspace(0, 6, size)
    return 0.4 * torch.sin(i[None, :] + 0.5 * i[:, None]).expand(1, 3, size, size)


@pytest.mark.parametrize("sigma", [0.01, 0.04, 0.1, 0.3])
def test_the_noise_of_a_smooth_image_is_measured(sigma: float) -> None:
    y = smooth() + sigma * torch.randn(1, 3, 96, 96, generator=torch.Generator().manual_seed(1))
    assert float(estimate_sigma(y)) == pytest.approx(sigma, rel=0.08)


def test_the_estimate_agrees_with_the_wavelet_estimator_of_scikit_image() -> None:
    pytest.importorskip("pywt")
    restoration = pytest.importorskip("skimage.restoration")
    y = smooth() + 0.05 * torch.randn(1, 3, 96, 96, generator=torch.Generator().manual_seed(2))
    theirs = restoration.estimate_sigma(y[0].permute(1, 2, 0).numpy(), channel_axis=-1)
    assert float(estimate_sigma(y)) == pytest.approx(float(np.mean(theirs)), rel=0.05)


def test_flat_and_tiny_images_have_no_noise() -> None:
    assert float(estimate_sigma(torch.full((1, 3, 32, 32), 0.3))) == pytest.approx(0, abs=1e-6)
    assert float(estimate_sigma(torch.rand(1, 3, 1, 40))) == 0


def test_each_image_is_measured_by_itself() -> None:
    generator = torch.Generator().manual_seed(3)
    y = smooth().repeat(3, 1, 1, 1)
    y = y + torch.tensor([0.01, 0.1, 0.05])[:, None, None, None] * torch.randn(
        y.shape, generator=generator
    )
    alone = torch.cat([estimate_sigma(image[None]) for image in y])
    assert torch.allclose(estimate_sigma(y), alone, rtol=1e-4)


def test_noise_depends_on_seed_name_and_stream_only() -> None:
    x = torch.zeros(2, 3, 4, 4)
    batch = normal_like(x, [image_generator(0, "a"), image_generator(0, "b")])
    assert torch.equal(batch[1:], normal_like(x[:1], [image_generator(0, "b")]))
    others = [image_generator(1, "a"), image_generator(0, "a", "degrade")]
    for row in normal_like(x, others):
        assert not torch.equal(row, batch[0])
