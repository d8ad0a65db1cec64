"""Whether the noise of a photo is white."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from d2ir_pl.estimators.noise_whiteness import COLOURED, FINEST, HINT, unevenness
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
