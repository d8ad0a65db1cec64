"""Denoising of photos whose noise may not be white."""

import pytest
import torch
from gaussian_prior import GaussianPrior
from photos import photo
from torch import Tensor

from d2ir_pl.degradations import Identity
from d2ir_pl.diffusion.randomness import image_generator
from d2ir_pl.estimators.noise_spectrum import RADII, NoiseSpectrum, complement
from d2ir_pl.priors import NetworkPrior
from d2ir_pl.restoration import BlindDenoising, PosteriorMean, Problem
from d2ir_pl.results.metrics import psnr

SIZE = 160


def generators(count: int) -> list[torch.Generator]:
    return [image_generator(0, str(b)) for b in range(count)]


def clean(seed: int) -> Tensor:
    """A soft photo, as sensors with more pixels than the lens has resolution give."""
    sharp = torch.nn.functional.avg_pool2d(photo(seed, 4 * SIZE, 4 * SIZE)[None], 4)
    return torch.nn.functional.avg_pool2d(sharp, 3, 1, 1).clamp(-0.9, 0.9)


def noise(seed: int, coloured: bool) -> Tensor:
    white = torch.randn(1, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(seed))
    if not coloured:
        return 0.1 * white
    shape = 0.25**2 * torch.exp(-((torch.arange(RADII) / 6) ** 2)) + 0.01**2
    power = NoiseSpectrum(shape * torch.tensor([[1.0], [0.2], [0.2]])).on_grid(SIZE, SIZE)
    return complement(-power, 0.0, white)


def test_coloured_noise_is_removed(natural_small: NetworkPrior) -> None:
    x = clean(1)
    y = x + noise(1, coloured=True)
    problem = Problem.of(y, Identity(), generators(1))
    found = BlindDenoising().restore(problem, natural_small)
    white = PosteriorMean().restore(Problem.of(y, Identity(), generators(1)), natural_small)
    before, gain = float(psnr(y, x)), float(psnr(found.x0, x))
    assert float(psnr(white.x0, x)) < before + 1
    assert gain > before + 2
    assert float(found.sigma_y) == pytest.approx(float((y - x).std()), rel=0.4)
    assert found.nfe[0] < 16


def test_noise_that_the_channels_share_is_removed(natural_small: NetworkPrior) -> None:
    x = clean(7)
    y = x + noise(7, coloured=False)[:, :1]
    found = BlindDenoising().restore(Problem.of(y, Identity(), generators(1)), natural_small)
    # A prior that is told the noise of a channel expects a third of it in the luminance.
    white = PosteriorMean().restore(Problem.of(y, Identity(), generators(1)), natural_small)
    assert float(psnr(white.x0, x)) < float(psnr(y, x)) + 3
    assert float(psnr(found.x0, x)) > float(psnr(y, x)) + 6
    assert float(found.sigma_y) == pytest.approx(float((y - x).std()), rel=0.15)
    assert found.nfe[0] < 8


def test_white_noise_loses_nothing(natural_small: NetworkPrior) -> None:
    y = clean(2) + noise(2, coloured=False)
    found = BlindDenoising().restore(Problem.of(y, Identity(), generators(1)), natural_small)
    white = PosteriorMean().restore(Problem.of(y, Identity(), generators(1)), natural_small)
    assert torch.equal(found.x0, white.x0)
    assert torch.equal(found.sigma_y, white.sigma_y)


def test_told_noise_is_white(natural_small: NetworkPrior) -> None:
    y, sigma = clean(3) + noise(3, coloured=True), torch.full((1,), 0.05)
    found = BlindDenoising().restore(Problem.of(y, Identity(), generators(1), sigma), natural_small)
    white = PosteriorMean().restore(Problem.of(y, Identity(), generators(1), sigma), natural_small)
    assert torch.equal(found.x0, white.x0)
    assert found.nfe == [1]


def test_an_image_is_independent_of_its_neighbours() -> None:
    prior = GaussianPrior(mean=0.0, std=0.02)
    y = torch.cat([0.1 + noise(4, coloured=True), 0.1 + noise(5, coloured=False)])
    together = BlindDenoising().restore(Problem.of(y, Identity(), generators(2)), prior)
    for b in range(2):
        own = Problem.of(y[b : b + 1], Identity(), generators(2)[b : b + 1])
        alone = BlindDenoising().restore(own, prior)
        assert torch.equal(alone.x0[0], together.x0[b])
        assert alone.nfe == together.nfe[b : b + 1]


def test_a_grey_photo_stays_grey(natural_small: NetworkPrior) -> None:
    x = clean(6).mean(1, keepdim=True)
    y = (x + noise(6, coloured=True)[:, :1]).expand(1, 3, -1, -1).contiguous()
    found = BlindDenoising().restore(Problem.of(y, Identity(), generators(1)), natural_small)
    assert torch.equal(found.x0, found.x0[:, :1].expand_as(found.x0))
    assert float(psnr(found.x0, x.expand_as(y))) > float(psnr(y, x.expand_as(y)))


@pytest.mark.parametrize("coloured", [False, True])
def test_a_share_of_the_noise_is_removed(coloured: bool, natural_small: NetworkPrior) -> None:
    y = clean(1) + noise(1, coloured)
    whole, part = (
        BlindDenoising(share).restore(Problem.of(y, Identity(), generators(1)), natural_small)
        for share in (1.0, 0.5)
    )
    assert float(part.sigma_y) == pytest.approx(0.5 * float(whole.sigma_y), rel=0.1)
    assert float((part.x0 - y).std()) < 0.8 * float((whole.x0 - y).std())


@pytest.mark.parametrize("share", [0.0, -1.0, 1.5, float("nan")])
def test_a_share_is_above_0_and_at_most_1(share: float) -> None:
    with pytest.raises(ValueError, match="share"):
        BlindDenoising(share)


def test_noise_that_grows_with_the_light_is_made_even(natural_small: NetworkPrior) -> None:
    x = 0.5 * clean(4) + torch.linspace(-0.45, 0.45, SIZE)  # of all tones
    v = (x + 1) / 2
    n = torch.randn(x.shape, generator=torch.Generator().manual_seed(4))
    y = (2 * (v + (0.03 * v + 1e-4).sqrt() * n) - 1).clamp(-1, 1)
    problem = Problem.of(y, Identity(), generators(1))
    found = BlindDenoising().restore(problem, natural_small)
    white = PosteriorMean().restore(problem, natural_small)
    assert float(psnr(found.x0, x)) > float(psnr(white.x0, x)) + 0.3
    assert found.nfe == [1]
    assert float(found.sigma_y) == pytest.approx(float((y - x).square().mean().sqrt()), rel=0.1)
    gentle = BlindDenoising(share=0.5).restore(problem, natural_small)
    assert float((gentle.x0 - y).square().mean()) < float((found.x0 - y).square().mean())
