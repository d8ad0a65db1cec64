"""The variance of noise by brightness."""

import math

import pytest
import torch
from photos import photo
from torch import Tensor

from d2ir_pl.degradations import GaussianBlur
from d2ir_pl.estimators.noise_curve import NoiseCurve, noise_curve, sigma_of_mixture
from d2ir_pl.estimators.noise_level import estimate_sigma


def noisy(gain: float, offset: float, seed: int = 0, size: int = 192) -> tuple[Tensor, Tensor]:
    """A smooth photo in [-1, 1] with such noise in 8 bits, and without it."""
    across = torch.linspace(0.08, 0.92, size)
    v = (across + 0.04 * torch.sin(40 * across[:, None])).expand(1, 3, size, size).clamp(0, 1)
    n = torch.randn(v.shape, generator=torch.Generator().manual_seed(seed))
    y = (v + (gain * v + offset).sqrt() * n).clamp(0, 1)
    return (255 * y).round() / 127.5 - 1, 2 * v - 1


@pytest.mark.parametrize(("gain", "offset"), [(0.01, 1e-4), (0.002, 4e-4), (-0.009, 0.01)])
def test_the_curve_of_a_photo_is_found(gain: float, offset: float) -> None:
    y, x = noisy(gain, offset)
    curve = noise_curve(y)
    assert curve is not None
    for v in (0.25, 0.5, 0.75):
        found = math.sqrt(curve.gain * v + curve.offset)
        assert found == pytest.approx(math.sqrt(gain * v + offset), rel=0.1)
    truth = float((2 * (gain * (x + 1) / 2 + offset).sqrt()).square().mean().sqrt())
    assert curve.sigma_of(y) == pytest.approx(truth, rel=0.1)


@pytest.mark.parametrize("sigma", [0.0, 0.01, 0.03, 0.1])
def test_white_noise_has_no_curve(sigma: float) -> None:
    assert noise_curve(noisy(0, sigma**2)[0]) is None
    sharp = photo(3, 192, 192)[None]
    n = torch.randn(sharp.shape, generator=torch.Generator().manual_seed(1))
    assert noise_curve((sharp + 2 * sigma * n).clamp(-1, 1)) is None


@pytest.mark.parametrize("shape", [(3, 5), (31, 200), (40, 40)])
def test_small_and_flat_photos_have_none(shape: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(0)
    assert noise_curve(torch.randn(1, 3, *shape, generator=generator).clamp(-1, 1)) is None
    assert noise_curve(torch.full((1, 3, 256, 256), 1.0)) is None
    assert noise_curve(torch.full((1, 3, 256, 256), torch.nan)) is None


def test_pixels_that_are_not_observed_do_not_count() -> None:
    y, _ = noisy(0.01, 1e-4)
    y[..., :64, :] = torch.nan
    curve = noise_curve(y)
    assert curve is not None
    assert curve.gain == pytest.approx(0.01, rel=0.2)


@pytest.mark.parametrize(("gain", "offset"), [(0.02, 1e-4), (1e-9, 1e-3), (-0.009, 0.01)])
def test_stabilized_noise_has_one_variance_and_the_mean_comes_back(
    gain: float, offset: float
) -> None:
    curve = NoiseCurve(gain, offset)
    v = torch.tensor([0.2, 0.5, 0.8])[:, None]
    n = torch.randn(3, 200_000, generator=torch.Generator().manual_seed(0))
    z = curve.stabilize(2 * (v + (gain * v + offset).sqrt() * n) - 1)
    assert torch.allclose(z.std(1), torch.tensor(curve.stabilized_sigma), rtol=0.05)
    back = (curve.unstabilize(z.mean(1)) + 1) / 2
    assert torch.allclose(back, v[:, 0], atol=0.004)
    ends = curve.stabilize(torch.tensor([-1.0, 1.0]))
    assert torch.allclose(ends, torch.tensor([-1.0, 1.0]), atol=1e-5)


def test_the_noise_of_a_mixture_is_no_less_than_its_root_mean_square() -> None:
    dark, _ = noisy(0.012, 1e-4)
    white, _ = noisy(0, 0.03**2, seed=1)
    y = torch.cat([dark, white])
    found, median = sigma_of_mixture(y), estimate_sigma(y)
    assert float(found[0]) > 1.02 * float(median[0])
    assert found[1] == median[1]
    assert torch.equal(GaussianBlur().estimate_sigma(y), found)
