"""Whether the noise of a photo is white."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from d2ir_pl.degradations.parametric_blur import motion_kernel
from d2ir_pl.estimators.noise_whiteness import (
    COLOURED,
    FINEST,
    HINT,
    NOTHING,
    noise_alone,
    unevenness,
)
from d2ir_pl.estimators.periodogram import EXPONENT
from d2ir_pl.operators.convolution import transfer_function
from d2ir_pl.operators.noise_shape import PER_CYCLE, radius

SIZE = 128


def normal(seed: int = 0, channels: int = 3) -> Tensor:
    return torch.randn(1, channels, SIZE, SIZE, generator=torch.Generator().manual_seed(seed))


def smooth() -> Tensor:
    """A photo without fine detail."""
    return F.interpolate(0.5 * normal(1)[..., :12, :12], size=(SIZE, SIZE), mode="bicubic")


def correlated(seed: int = 0) -> Tensor:
    return F.avg_pool2d(F.pad(normal(seed), (1, 1, 1, 1), mode="circular"), 3, stride=1)


@pytest.mark.parametrize("sigma", [0.0, 0.01, 0.05])
def test_white_noise_is_even(sigma: float) -> None:
    assert unevenness(smooth() + sigma * normal()) < HINT < COLOURED


def test_noise_of_neighbours_and_of_grey_alone_is_uneven() -> None:
    grey = 0.05 * normal(2, 1) + 0.01 * normal()
    for noise in (0.1 * correlated(), grey):
        assert unevenness(smooth() + noise) > COLOURED


def test_a_grey_photo_is_judged_by_its_luminance() -> None:
    grey = (smooth() + 0.05 * normal()).mean(1, keepdim=True).expand(1, 3, SIZE, SIZE)
    assert unevenness(grey) < HINT


def test_only_the_frequencies_that_hold_noise_alone_are_compared() -> None:
    place = radius(torch.zeros(1), SIZE, SIZE) / PER_CYCLE
    stripes = 0.5 * torch.cos(torch.arange(SIZE) * 2 * torch.pi * 0.3)
    y = smooth() + 0.02 * normal() + stripes
    assert unevenness(y, place >= 0.2) > COLOURED
    assert unevenness(y, place >= FINEST) < HINT


def test_what_is_too_small_to_tell_is_even() -> None:
    assert unevenness(normal()[..., :12, :12]) == 1.0


MOTION = motion_kernel(torch.tensor([11.0]), torch.tensor([0.4]), 21)


def moved(seed: int) -> Tensor:
    """A scene with the power of photographs, moved along a straight path."""
    side = SIZE + 20
    f = radius(torch.zeros(1), side, side)
    amplitude = torch.where(f > 0, f, math.inf) ** (-EXPONENT / 2)
    white = torch.randn(3, 1, side, side, generator=torch.Generator().manual_seed(seed))
    x = torch.fft.irfft2(torch.fft.rfft2(white) * amplitude, s=(side, side))
    return F.conv2d(0.6 * x / x.std(), MOTION[:, None]).transpose(0, 1)


def passed() -> Tensor:
    return transfer_function(MOTION, (SIZE, SIZE))[0, 0].abs()


@pytest.mark.parametrize("sigma", [0.004, 0.01, 0.04])
def test_what_leaks_into_the_zeros_of_a_motion_is_no_noise(sigma: float) -> None:
    believed = []
    for seed in range(4):
        y = moved(seed) + sigma * normal(seed + 10)
        alone = noise_alone(y, passed(), torch.tensor(sigma))
        assert not bool((alone & (passed() >= NOTHING)).any())
        assert unevenness(y, alone) < COLOURED
        believed.append(unevenness(y, passed() < NOTHING))
    assert sigma > 0.004 or max(believed) > COLOURED


def test_the_zeros_of_a_motion_show_noise_that_is_not_white() -> None:
    noise = correlated(3)
    y = moved(0) + 0.04 * noise / noise.std()
    assert unevenness(y, noise_alone(y, passed(), torch.tensor(0.04))) > COLOURED


def test_a_blur_that_passes_nothing_shows_noise_alone() -> None:
    nothing = torch.zeros(SIZE, SIZE // 2 + 1)
    assert bool(noise_alone(normal(), nothing, torch.tensor(1.0)).all())
