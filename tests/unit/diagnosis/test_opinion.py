"""Whether a restored photo is better than the photo, judged without the truth."""

import pytest
import torch
import torch.nn.functional as F
from repository import EXAMPLES
from torch import Tensor

from d2ir_pl.degradations import GaussianBlur
from d2ir_pl.diagnosis.opinion import (
    SMALLEST,
    UNSEEN,
    Sharpening,
    Smoothing,
    evidence,
    log_odds,
    objection,
)
from d2ir_pl.image_io import read_image

NAMES = ("astronaut", "coffee", "chelsea")


def clean(name: str) -> Tensor:
    """A clean example photo, 128x128."""
    return read_image(EXAMPLES / "clean" / f"{name}.png").pixels[None, :, 32:160, 32:160]


def blurred(x: Tensor, width: float) -> Tensor:
    """The photo after a Gaussian blur, in 8 bits."""
    blur = GaussianBlur(width=width, border="reflect")
    y: Tensor = blur(x, blur.init(x, torch.zeros(1)))
    return ((y + 1) * 127.5).round() / 127.5 - 1


def noise(like: Tensor, sigma: float) -> Tensor:
    """White noise, `sigma` in [0, 1]."""
    return 2 * sigma * torch.randn(like.shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", NAMES[:2])  # the fur of the third is dense where it is sharp
@pytest.mark.parametrize("width", [1.0, 1.6])
def test_nothing_is_against_most_of_the_truth_behind_a_blur(name: str, width: float) -> None:
    x, y = clean(name), blurred(clean(name), width)
    image = y + 0.7 * (x - y)
    assert isinstance(evidence(y, image, 0.01), Sharpening)
    assert objection(y, image, 0.01, False) == ""


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("sure", [None, 0.5])
def test_amplified_noise_is_seen(name: str, sure: float | None) -> None:
    y = (blurred(clean(name), 1.6) + noise(clean(name), 0.01)).clamp(-1, 1)
    texture = noise(y, 0.15) - blurred(noise(y, 0.15), 1.0)
    assert objection(y, (y + texture).clamp(-1, 1), 0.01, False, sure)


@pytest.mark.parametrize("name", NAMES[:2])
def test_detail_that_a_shake_has_moved_speaks_against_no_truth(name: str) -> None:
    x = clean(name)
    path = torch.zeros(1, 1, 21, 21)
    path[..., 3, 3], path[..., 10, 10:18], path[..., 16, 5] = 0.4, 0.05, 0.2
    y = F.conv2d(F.pad(x, (10,) * 4, mode="reflect").transpose(0, 1), path).transpose(0, 1)
    image = y + 0.8 * (x - y)
    found = evidence(y, image, 0.01)
    assert isinstance(found, Sharpening)
    odds = [log_odds(found, sure) for sure in (0.5, 0.9, 0.99)]
    assert odds == sorted(odds, reverse=True)
    assert odds[0] < log_odds(found)
    assert objection(y, image, 0.01, False, sure=0.9) == ""


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_against_the_truth_behind_white_noise(name: str) -> None:
    x, sigma = clean(name), 0.05
    y = (x + noise(x, sigma)).clamp(-1, 1)
    found = evidence(y, x, 2 * sigma)
    assert isinstance(found, Smoothing)
    assert found.removed == pytest.approx(1, abs=0.1)
    assert objection(y, x, 2 * sigma, True) == ""


@pytest.mark.parametrize("name", NAMES)
def test_texture_that_is_taken_for_noise_is_seen(name: str) -> None:
    x = clean(name)
    smooth = blurred(x, 0.7)
    assert objection(x, smooth, 0.06, True)
    assert objection(x, smooth, 0.06, False) == ""


def test_there_is_no_opinion_on_what_is_too_small_or_the_same() -> None:
    x = clean("coffee")
    assert evidence(x, x, 0.01) is None
    small = x[..., : SMALLEST - 1, :]
    assert evidence(small, -small, 0.01) is None


def test_a_change_that_nobody_sees_is_none() -> None:
    x = clean("coffee")
    assert objection(x, x + noise(x, 0.002), 0.01, True) == UNSEEN
    assert objection(x, x, 0.01, True) == ""


def test_what_a_jpeg_of_other_colours_holds_is_texture_as_in_other_photos() -> None:
    x = clean("coffee")
    smooth = blurred(x, 0.7)
    assert objection(x, smooth, 0.06, True, codec="RGB JPEG")
    assert objection(x, smooth, 0.06, True, codec="WebP") == "", "its finest bands are empty"
    assert objection(x, x + noise(x, 0.002), 0.01, True, codec="RGB JPEG") == ""
