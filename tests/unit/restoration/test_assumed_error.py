"""The error that is assumed in a photo, read off the photo."""

import math
from dataclasses import replace

import pytest
import torch
from gaussian_prior import GaussianPrior
from photos import photo
from torch import Generator, Tensor

from d2ir_pl.degradations import Blur, Compose, Degradation, GaussianBlur, Jpeg, Phi
from d2ir_pl.operators.kernels import shake_kernel
from d2ir_pl.priors import Prior, load_prior
from d2ir_pl.restoration import D2IR, DegradationEstimation, Problem
from d2ir_pl.restoration.assumed_error import (
    IN_JPEG,
    LARGEST,
    SHARE,
    WALKS,
    assumed_error,
    error_of_kernels,
)
from d2ir_pl.restoration.blurred_part import looser_rounded
from d2ir_pl.restoration.step import silent

SIGMA = 2 * 0.004
WALK = DegradationEstimation(phi_steps=0, steps=5)


@pytest.fixture(scope="module")
def prior() -> Prior:
    return load_prior("natural-small")


def shaken(count: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    """Scenes, photos with shakes and little noise, and the kernels."""
    scenes = torch.stack([photo(seed, 64 + 14, 64 + 14) for seed in range(count)])
    kernels = torch.stack([shake_kernel(Generator().manual_seed(b), 15) for b in range(count)])
    blur = Blur(15).told(phi_of(kernels))
    y = blur(scenes, phi_of(kernels))
    noise = SIGMA * torch.randn(y.shape, generator=Generator().manual_seed(9))
    return blur.frame.crop(scenes), y + noise, kernels


def phi_of(kernels: Tensor) -> Phi:
    return Phi(logits=kernels.clamp_min(1e-30).log())


def problem(y: Tensor, degradation: Degradation, sigma: float = SIGMA) -> Problem:
    generators = [Generator().manual_seed(b) for b in range(len(y))]
    return Problem.of(y, degradation, generators, torch.full((len(y),), sigma))


def test_a_walk_that_explains_too_much_is_told_to_assume_more(prior: Prior) -> None:
    _, y, kernels = shaken()
    phi = phi_of(kernels)
    whole = problem(y, Blur(15).told(phi))
    assumed, _ = assumed_error(whole, phi, prior, WALK)
    explained = [
        WALK(replace(whole, sigma_y=s), phi, prior, silent).losses["estimation"][0][-1]
        for s in (whole.sigma_y, assumed)
    ]
    assert explained[0] < (0.9 * SIGMA) ** 2
    assert explained[1] == pytest.approx((SHARE * SIGMA) ** 2, rel=0.15)
    assert (assumed > SIGMA).all()
    assert (assumed < LARGEST * SIGMA).all()


def test_a_photo_restores_as_well_as_with_the_best_constant(prior: Prior) -> None:
    scenes, y, kernels = shaken()
    told = Blur(15).told(phi_of(kernels))

    def error(model_error: float | str) -> float:
        method = D2IR(WALK, stages="estimation", model_error=model_error)  # type: ignore[arg-type]
        x = method.restore(problem(y, told), prior).x0
        return float((x - scenes).square().mean())

    constants = {c: error(c) for c in (0.0, 0.004, 0.012)}
    assert error("auto") < 1.1 * min(constants.values())


def test_an_error_is_that_of_one_photo_whatever_its_batch(prior: Prior) -> None:
    _, y, kernels = shaken()
    phi = phi_of(kernels)
    together = problem(y, Blur(15).told(phi))
    both, evaluations = assumed_error(together, phi, prior, WALK)
    alone = [assumed_error(together.select([b]), phi.select([b]), prior, WALK) for b in (0, 1)]
    torch.testing.assert_close(torch.cat([error for error, _ in alone]), both, rtol=1e-3, atol=0)
    assert [n for _, (n,) in alone] == evaluations
    assert all(WALK.steps <= n <= WALKS * WALK.steps for n in evaluations)


def test_where_the_noise_is_enough_the_result_is_that_without_an_error() -> None:
    """The Gaussian prior explains nothing of white noise, and the search draws none."""
    y = 0.1 + torch.randn(1, 3, 32, 32, generator=Generator().manual_seed(0)) * 0.5
    prior = GaussianPrior(std=0.01)
    blur = GaussianBlur(5, border="reflect").told(Phi(log_width=torch.zeros(1, 1)))
    results = [
        D2IR(WALK, stages="estimation", model_error=error).restore(problem(y, blur, 0.5), prior)
        for error in (0.0, "auto")
    ]
    assert results[1].model_error == 0
    assert torch.equal(results[0].x0, results[1].x0)
    assert results[1].nfe == [2 * WALK.steps]


def test_a_large_photo_is_looked_at_where_it_has_detail() -> None:
    """The rest of it may be anything: here it explains itself, and has no noise."""
    detail = photo(1, 140, 140)
    y = torch.zeros(1, 3, 300, 420)
    y[..., 150:290, 250:390] = detail
    blur = GaussianBlur(5, border="reflect").told(Phi(log_width=torch.zeros(1, 1)))
    prior = GaussianPrior()
    whole = problem(y, blur, 0.1)
    part = replace(whole, y=y[..., 155:283, 256:384])
    phi = whole.init()
    largest = max(assumed_error(p, phi, prior, WALK)[0].item() for p in (whole, part))
    assert largest / 0.1 < LARGEST
    assert max(size[-1] for size in prior.calls) <= 128


def test_an_error_that_is_no_number_is_refused() -> None:
    with pytest.raises(ValueError, match="model_error 'none' must be 'auto' or a number"):
        D2IR(model_error="none")  # type: ignore[arg-type]


def test_nothing_is_added_to_the_rounding_error_of_a_jpeg(prior: Prior) -> None:
    scenes, y, kernels = shaken(1)
    family = Compose([Blur(15).told(phi_of(kernels)), Jpeg(quality=90)])
    y = family.parts[1](y, family.parts[1].draw([Generator()], y))
    whole = Problem.of(y, family, [Generator().manual_seed(0)])
    assumed, evaluations = assumed_error(whole, whole.init(), prior, WALK)
    assert torch.equal(assumed, whole.sigma_y)
    assert evaluations == [0]
    x = D2IR(WALK, stages="estimation", model_error="auto").restore(whole, prior).x0
    assert float((x - scenes).square().mean()) < 0.8 * float((y - scenes).square().mean())


def test_the_error_of_a_kernel_counts_less_in_a_jpeg() -> None:
    _, y, kernels = shaken(2)
    blur = Blur(15).told(phi_of(kernels))
    error = torch.tensor([0.05, 0.02])
    assert torch.equal(error_of_kernels(problem(y, blur), error), error)
    jpeg = problem(y, Compose([blur, Jpeg(quality=90)]))
    assert torch.equal(error_of_kernels(jpeg, error), IN_JPEG * error)


def test_the_rounds_of_a_kernel_wait_for_the_noise_and_half_of_the_rest_of_a_jpeg() -> None:
    _, y, kernels = shaken(1)
    blur = Blur(15).told(phi_of(kernels))
    png = problem(y, blur)
    assert torch.equal(looser_rounded(png).sigma_y, png.sigma_y)
    for noise in (0.0, 0.01, 0.02):
        last = Jpeg(quality=90, noise=noise)
        jpeg = problem(y, Compose([blur, last]), sigma=0.03)
        before = float(last.sigma_before(last.init(y, jpeg.sigma_y)))
        excess = max(0.0, 0.03**2 - 2 * before**2)
        least = math.sqrt(0.03**2 - 0.75 * excess)
        assert float(looser_rounded(jpeg).sigma_y) == pytest.approx(least, rel=0.01)
