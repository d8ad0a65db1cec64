"""The noise of a photo by frequency."""

import math

import pytest
import torch
from torch import Tensor

from d2ir_pl.estimators.noise_reading import read_spectrum
from d2ir_pl.estimators.noise_spectrum import (
    RADII,
    NoiseSpectrum,
    complement,
    reduce_half,
)
from d2ir_pl.operators.opponent import from_opponent, to_opponent

FALLING = NoiseSpectrum(
    torch.stack([0.1**2 * torch.exp(-((torch.arange(RADII) / 7) ** 2)) + 0.006**2] * 3)
    * torch.tensor([1.0, 0.3, 0.1])[:, None]
)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def shaped(spectrum: NoiseSpectrum, height: int, width: int, seed: int = 0) -> Tensor:
    """Noise of a spectrum: what is missing to white noise of no power, with the sign changed."""
    return complement(-spectrum.on_grid(height, width), 0.0, normal(1, 3, height, width, seed=seed))


def test_the_opponent_channels_are_orthonormal() -> None:
    x = normal(2, 3, 5, 7)
    assert torch.allclose(from_opponent(to_opponent(x)), x, atol=1e-6)
    assert torch.allclose(to_opponent(x).square().sum(), x.square().sum(), rtol=1e-5)
    grey = x[:, :1].expand_as(x)
    assert float(to_opponent(grey)[:, 1:].abs().max()) < 1e-6


@pytest.mark.parametrize("size", [(128, 160), (127, 161)])
def test_the_standard_deviation_is_that_of_such_noise(size: tuple[int, int]) -> None:
    noise = shaped(FALLING, *size)
    assert float(noise.std()) == pytest.approx(FALLING.sigma(*size), rel=0.05)
    white = NoiseSpectrum(torch.full((3, RADII), 0.2**2))
    assert white.sigma(*size) == pytest.approx(0.2)


@pytest.mark.parametrize("size", [(128, 160), (127, 161)])
def test_noise_and_its_complement_are_white(size: tuple[int, int]) -> None:
    sigma = 0.12
    missing = complement(FALLING.on_grid(*size), sigma, normal(1, 3, *size, seed=1))
    total = to_opponent(shaped(FALLING, *size) + missing)
    power = torch.fft.rfft2(total, norm="ortho").abs().square()[0]
    middle = power.shape[-1] // 2
    for part in (power[:, :16, :16], power[..., middle:], power[:, 40:60]):
        for channel in part:
            assert float(channel.mean()) == pytest.approx(sigma**2, rel=0.2)


@pytest.mark.parametrize("size", [(160, 200), (151, 203)])
@pytest.mark.parametrize("factor", [0.3, 1.0])
def test_coloured_noise_is_found(size: tuple[int, int], factor: float) -> None:
    truth = FALLING.scaled(factor)
    found = read_spectrum((0.1 + shaped(truth, *size)).clamp(-1, 1))
    assert found is not None
    assert found.coloured
    assert found.level == pytest.approx(truth.level, rel=0.2)
    assert found.sigma(*size) == pytest.approx(truth.sigma(*size), rel=0.3)


def test_a_slight_fall_is_that_of_noise_where_colours_and_all_parts_have_it() -> None:
    radius = torch.arange(RADII) / 32
    slight = 0.08**2 * torch.exp(-((2 * math.pi * 0.36 * radius) ** 2))
    truth = NoiseSpectrum(slight * torch.tensor([[1.0], [0.5], [0.5]]))
    noise = shaped(truth, 192, 192)
    half = torch.ones(1, 1, 192, 192)
    half[..., 96:] = 0.1
    grey = noise.mean(1, keepdim=True).expand_as(noise)
    found = [read_spectrum((0.1 + y).clamp(-1, 1)) for y in (noise, noise * half, grey)]
    assert [s is not None and s.coloured for s in found] == [True, False, False]
    for spectrum, alike in zip(found, (True, False, True), strict=True):
        assert spectrum is not None
        assert (spectrum.uneven < 0.75) == alike


def test_noise_in_the_luminance_alone_is_shared() -> None:
    white = 0.1 * normal(1, 3, 160, 160)
    for noise, shared in ((white[:, :1].expand_as(white), True), (white, False)):
        found = read_spectrum((0.1 + noise).clamp(-1, 1))
        assert found is not None
        assert found.shared == shared


@pytest.mark.parametrize("sigma", [0.03, 0.2])
def test_white_noise_is_white(sigma: float) -> None:
    found = read_spectrum(0.1 + sigma * normal(1, 3, 160, 200))
    assert found is not None
    assert not found.coloured
    assert found.level == pytest.approx(sigma, rel=0.15)


def halves(dark: float, bright: float) -> Tensor:
    """An image that is dark on the left, with a value of its own on the right."""
    return torch.where(torch.arange(192) < 96, dark, bright).expand(1, 3, 160, 192)


def test_noise_that_depends_on_the_brightness_is_found_in_the_mean() -> None:
    """As that of a camera, it is a little less where there is more light."""
    noise = halves(1.2, 0.8) * shaped(FALLING, 160, 192)
    found = read_spectrum(halves(-0.6, 0.6) + noise)
    assert found is not None
    expected = math.sqrt((1.2**2 + 0.8**2) / 2) * FALLING.level
    assert found.level == pytest.approx(expected, rel=0.3)


def test_shadows_without_noise_say_nothing_about_it() -> None:
    """A tone curve that is flat near black takes the noise away there."""
    noise = halves(0.2, 1.0) * shaped(FALLING, 160, 192)
    found = read_spectrum(halves(-0.94, 0.2) + noise)
    assert found is not None
    assert found.level > 0.4 * FALLING.level


def test_texture_of_one_brightness_is_no_noise() -> None:
    truth = FALLING.scaled(0.2)
    texture = halves(0.0, 5.0) * shaped(truth, 160, 192, seed=1)
    found = read_spectrum(halves(-0.5, 0.5) + shaped(truth, 160, 192) + texture)
    assert found is not None
    assert found.level < 1.5 * truth.level


def test_half_the_size_has_the_spectrum_of_the_lower_frequencies() -> None:
    small = reduce_half(shaped(FALLING, 256, 256))
    power = torch.fft.rfft2(to_opponent(small), norm="ortho").abs().square()[0, 0]
    expected = FALLING.halved().on_grid(128, 128)[0]
    assert float(power[:16, :16].mean()) == pytest.approx(float(expected[:16, :16].mean()), rel=0.2)


def test_a_small_photo_shows_no_spectrum() -> None:
    assert read_spectrum(normal(1, 3, 40, 40)) is None
    assert read_spectrum(normal(1, 3, 5, 90)) is None


def test_a_clipped_photo_shows_no_spectrum() -> None:
    assert read_spectrum(torch.ones(1, 3, 160, 160)) is None
