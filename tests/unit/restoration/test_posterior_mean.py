import pytest
import torch
from gaussian_prior import CurvedPrior, GaussianPrior

from d2ir_pl.degradations import GaussianBlur, Identity
from d2ir_pl.diffusion.randomness import image_generator, normal_like
from d2ir_pl.restoration import PosteriorMean, Problem, Step


def generators(count: int) -> list[torch.Generator]:
    return [image_generator(0, str(b)) for b in range(count)]


@pytest.mark.parametrize("sigma", [0.02, 0.1, 0.5, 2.0])
def test_it_is_the_posterior_mean_of_a_gaussian(sigma: float) -> None:
    prior = GaussianPrior(mean=0.1, std=0.3)
    y = 0.5 * normal_like(torch.empty(2, 3, 8, 9), generators(2))
    result = PosteriorMean().restore(
        Problem.of(y, Identity(), generators(2), torch.full((2,), sigma)), prior
    )
    gain = prior.std**2 / (prior.std**2 + sigma**2)
    expected = (prior.mean + gain * (y - prior.mean)).clamp(-1, 1)
    # The nearest of 1000 timesteps stands for the noise.
    assert torch.allclose(result.x0, expected, atol=0.02)
    assert result.nfe == [1, 1]


def test_a_grey_photo_stays_grey_and_its_shared_noise_is_removed() -> None:
    """Its luminance has sqrt(3) times the noise that a state of the diffusion would have."""
    prior, sigma = GaussianPrior(mean=0.0, std=0.3), 0.3
    x = 0.3 * normal_like(torch.empty(1, 1, 64, 64), generators(1))
    y = (x + sigma * normal_like(x, [image_generator(1, "n")])).expand(1, 3, -1, -1)
    result = (
        PosteriorMean()
        .restore(Problem.of(y, Identity(), generators(1), torch.tensor([sigma])), prior)
        .x0
    )
    assert torch.equal(result, result[:, :1].expand_as(result))
    # Channels are independent in this prior: each is shrunk as its own noise of sqrt(3) sigma asks.
    gain = prior.std**2 / (prior.std**2 + 3 * sigma**2)
    assert torch.allclose(result, (gain * y).clamp(-1, 1), atol=0.02)


def test_each_image_is_evaluated_at_the_level_of_its_own_noise() -> None:
    y = normal_like(torch.empty(2, 3, 8, 8), generators(2)) / 3
    sigma = torch.tensor([0.05, 0.8])
    steps: list[Step] = []
    prior = CurvedPrior()
    together = PosteriorMean().restore(
        Problem.of(y, Identity(), generators(2), sigma), prior, steps.append
    )
    assert [step.images for step in steps] == [[0], [1]]
    assert all(isinstance(step, Step) and step.total == 1 for step in steps)
    for b in range(2):
        alone = PosteriorMean().restore(
            Problem.of(y[b : b + 1], Identity(), generators(2)[b : b + 1], sigma[b : b + 1]), prior
        )
        assert torch.equal(alone.x0[0], together.x0[b])
        assert alone.losses["estimation"][0] == together.losses["estimation"][b]
        assert float(together.residual[b]) == pytest.approx(
            together.losses["estimation"][b][0], abs=1e-3
        )


def test_it_has_half_the_squared_error_of_a_sample_of_the_posterior() -> None:
    prior = GaussianPrior(mean=0.0, std=0.2)
    x = 0.2 * normal_like(torch.empty(1, 3, 64, 64), generators(1))
    sigma = 0.2
    y = x + sigma * normal_like(x, [image_generator(1, "n")])
    mean = (
        PosteriorMean()
        .restore(Problem.of(y, Identity(), generators(1), torch.tensor([sigma])), prior)
        .x0
    )
    spread = (1 / (1 / 0.2**2 + 1 / sigma**2)) ** 0.5
    sample = mean + spread * normal_like(x, [image_generator(2, "s")])
    ratio = float((sample - x).square().mean() / (mean - x).square().mean())
    assert float((mean - x).square().mean()) == pytest.approx(spread**2, rel=0.05)
    assert ratio == pytest.approx(2.0, rel=0.1)


def test_other_degradations_are_refused_with_the_remedy() -> None:
    with pytest.raises(ValueError, match="not a GaussianBlur: use D2IR"):
        PosteriorMean().check(GaussianBlur(), GaussianPrior())
