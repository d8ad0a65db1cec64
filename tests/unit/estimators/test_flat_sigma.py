"""The noise of a photo where it is flat."""

import math

import pytest
import torch
from photos import photo
from torch import Tensor

from d2ir_pl.degradations import Identity
from d2ir_pl.estimators.noise_level import estimate_sigma, flat_sigma, sigma_without_texture


def noise(sigma: float, size: tuple[int, int] = (128, 160)) -> Tensor:
    return sigma * torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(0))


def half_textured() -> Tensor:
    """A smooth image whose left three quarters have texture as fine as noise."""
    y = 0.5 * photo(1, 128, 160)[None]
    y = torch.nn.functional.avg_pool2d(y, 9, 1, 4)
    y[..., :120] += 0.2 * torch.randn(1, 1, 128, 120, generator=torch.Generator().manual_seed(1))
    coarse = torch.randn(1, 1, 16, 15, generator=torch.Generator().manual_seed(2))
    y[..., :120] += 0.2 * torch.nn.functional.interpolate(coarse, (128, 120), mode="bilinear")
    return y.clamp(-0.9, 0.9)


@pytest.mark.parametrize("sigma", [0.01, 0.05, 0.2])
def test_texture_is_not_taken_for_noise(sigma: float) -> None:
    y = half_textured() + noise(sigma)
    assert float(flat_sigma(y)) == pytest.approx(sigma, rel=0.15)
    assert float(Identity().estimate_sigma(y)) == pytest.approx(sigma, rel=0.15)
    if sigma < 0.1:
        assert float(estimate_sigma(y)) > 1.5 * sigma


@pytest.mark.parametrize("sigma", [0.02, 0.1])
def test_an_image_without_texture_has_the_same_noise_everywhere(sigma: float) -> None:
    y = noise(sigma)
    assert float(flat_sigma(y)) == pytest.approx(sigma, rel=0.1)
    assert float(estimate_sigma(y)) == pytest.approx(sigma, rel=0.03)


def test_clipped_and_unobserved_pixels_say_nothing() -> None:
    y = half_textured() + noise(0.05)
    expected = float(flat_sigma(y))
    y[..., 64:, 120:] = (
        -1 + 0.001 * noise(0.05)[..., 64:, 120:].abs()
    )  # black, with hardly any noise
    assert float(flat_sigma(y)) == pytest.approx(expected, rel=0.2)
    y[..., 64:, 120:] = math.nan
    assert float(flat_sigma(y)) == pytest.approx(expected, rel=0.2)
    assert flat_sigma(torch.full((1, 3, 64, 64), math.nan)).isinf().all()


@pytest.mark.parametrize("size", [(1, 1), (3, 40), (15, 200), (16, 16), (17, 40)])
def test_every_size_has_an_estimate(size: tuple[int, int]) -> None:
    y = noise(0.1, size)
    found = Identity().estimate_sigma(y)
    assert found.shape == (1,)
    assert bool(torch.isfinite(found).all())


def textured(channels: int) -> Tensor:
    """Texture that falls with the frequency, everywhere, without a flat part."""
    g = torch.Generator().manual_seed(3)
    fine = torch.randn(1, channels, 160, 160, generator=g)
    mean = torch.nn.functional.avg_pool2d(fine, 3, 1, 1)
    return 0.1 * fine + 0.3 * mean


@pytest.mark.parametrize("sigma", [0.01, 0.05])
def test_grey_texture_is_told_from_noise_of_the_colours(sigma: float) -> None:
    y = textured(1) + noise(sigma, (160, 160))
    assert float(flat_sigma(y)) > 1.5 * sigma
    assert float(sigma_without_texture(y)) == pytest.approx(sigma, rel=0.15)


def test_white_noise_that_the_channels_share_is_noise() -> None:
    y = 0.1 * noise(1.0, (160, 160))[:, :1].expand(-1, 3, -1, -1) + noise(0.004, (160, 160))
    assert float(sigma_without_texture(y)) == pytest.approx(0.1, rel=0.15)


def test_a_grey_photo_has_the_noise_of_its_brightness() -> None:
    y = 0.1 * noise(1.0, (160, 160))[:, :1].expand(-1, 3, -1, -1)
    assert float(sigma_without_texture(y)) == pytest.approx(0.1, rel=0.1)


@pytest.mark.parametrize("sigma", [0.05, 0.1, 0.2])
def test_noise_that_black_and_white_cut_is_not_the_noise_of_the_photo(sigma: float) -> None:
    y = 0.5 * photo(2, 160, 160)[None]
    y[..., :50, :], y[..., 110:, :] = -0.97, 0.97
    noisy = (y + noise(sigma, (160, 160))).clamp(-1, 1)
    assert float(flat_sigma(noisy)) == pytest.approx(sigma, rel=0.15)
    assert float(sigma_without_texture(noisy)) > 0.65 * sigma  # the whole of it has less
    everywhere = (noise(sigma, (160, 160)) - 0.97).clamp(-1, 1)  # there is nothing else to look at
    assert 0 < float(flat_sigma(everywhere)) < sigma
