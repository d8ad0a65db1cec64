"""The shape of the noise of blurred photos, and what it is worth."""

import pytest
import torch
import torch.nn.functional as F
from repository import ROOT
from torch import Generator, Tensor

from d2ir_pl.degradations import Degradation, GaussianBlur, Identity
from d2ir_pl.image_io import read_image
from d2ir_pl.operators.opponent import to_opponent
from d2ir_pl.priors import load_prior
from d2ir_pl.restoration import D2IR, Problem
from d2ir_pl.restoration.noise_reading import with_noise_read
from d2ir_pl.restoration.step import silent

WIDTH, SIGMA, SIZE = 1.7, 2 * 0.02, 128
BLUR = GaussianBlur(13)
KNOWN = GaussianBlur(13, width=WIDTH)


def scene_of(seed: int) -> Tensor:
    """A photograph of `SIZE` pixels and the margin of a blur."""
    name = ("chelsea", "coffee")[seed]
    image = read_image(ROOT / "examples" / "clean" / f"{name}.png").pixels[None]
    return image[..., 20 : SIZE + 32, 20 : SIZE + 32]


def made(coloured: bool, seed: int = 0) -> tuple[Tensor, Tensor]:
    """A scene, and its blurred photo with noise."""
    scene = scene_of(seed)
    phi = KNOWN.init(scene, torch.zeros(1))
    noise = torch.randn(1, 3, SIZE, SIZE, generator=Generator().manual_seed(seed))
    if coloured:
        noise = F.avg_pool2d(F.pad(noise, (1, 1, 1, 1), mode="circular"), 3, stride=1) * 3
    y = KNOWN(scene, phi) + SIGMA * noise
    return KNOWN.frame.crop(scene), ((y + 1) * 127.5).round() / 127.5 - 1


def problem(y: Tensor, degradation: Degradation = BLUR, sigma: float | None = None) -> Problem:
    generators = [Generator().manual_seed(b) for b in range(len(y))]
    told = None if sigma is None else torch.full((len(y),), sigma)
    return Problem.of(y, degradation, generators, told)


def test_white_and_told_noise_stay_as_they_are() -> None:
    for given in (
        problem(made(False)[1]),
        problem(made(True)[1], sigma=SIGMA),
        problem(made(True)[1], Identity()),
    ):
        assert with_noise_read(given) is given


def test_coloured_noise_is_found_with_its_level_and_a_better_width() -> None:
    _, y = made(True)
    found = with_noise_read(problem(y))
    assert found.shape is not None
    assert 0.6 * SIGMA < float(found.sigma_y) < 1.2 * SIGMA
    before, now = (float(p.init()["log_width"].exp()) for p in (problem(y), found))
    assert before < 0.6 * WIDTH < now < 1.2 * WIDTH
    # The residual of the truth is nearly white once it is whitened.
    phi = KNOWN.init(y, torch.zeros(1))
    left, whitened = (slope(p.residual(scene_of(0), phi)) for p in (problem(y), found))
    assert whitened < 3 < 10 < left


def slope(residual: Tensor) -> float:
    """Power at low over that at high frequencies."""
    power = torch.fft.rfft2(to_opponent(residual), norm="ortho").abs().square()
    return float(power[..., :16].mean() / power[..., -16:].mean())


def test_no_less_noise_is_assumed_than_before() -> None:
    _, y = made(True)
    least = torch.tensor([2 * 0.05])
    given = Problem.of(y, KNOWN, [Generator()], least=least)
    found = with_noise_read(given)
    assert found.shape is not None
    assert torch.allclose(found.sigma_y, least)
    # What was not found counts as white noise.
    lower = float(with_noise_read(problem(y, KNOWN)).sigma_y)
    power = found.shape.power * least.square()
    assert float(power.min()) >= float(least.square()) - lower**2


def test_pixels_that_are_not_observed_tell_nothing() -> None:
    _, y = made(True)
    observed = torch.ones(1, 1, SIZE, SIZE)
    observed[..., :40, :60] = 0
    black = torch.where(observed == 1, y, torch.tensor(-1.0))
    levels = []
    for hidden in (y, black):
        found = with_noise_read(Problem.of(hidden, KNOWN, [Generator()], observed=observed))
        assert found.shape is not None
        levels.append(float(found.sigma_y))
    assert levels[0] == levels[1] == pytest.approx(SIGMA, rel=0.4)


def test_a_batch_is_read_photo_by_photo() -> None:
    y = torch.cat([made(False)[1], made(True)[1], made(False, 1)[1]])
    found = with_noise_read(problem(y, KNOWN))
    alone = with_noise_read(problem(y, KNOWN).select([1]))
    assert found.shape is not None
    assert alone.shape is not None
    assert torch.equal(found.shape.power[1:2], alone.shape.power)
    assert torch.equal(found.shape.power[::2], torch.ones(2, 3, alone.shape.power.shape[-1]))
    assert torch.equal(found.sigma_y[::2], problem(y, KNOWN).sigma_y[::2])


@pytest.mark.slow
def test_a_photo_with_coloured_noise_comes_nearer_to_its_scene() -> None:
    scene, y = made(True, 1)
    found = D2IR(stages="estimation").solve(problem(y), load_prior("natural-small"), silent)
    assert float((found.x0 - scene).square().mean()) < 0.8 * float((y - scene).square().mean())
    assert 0.8 < float(found.residual.sqrt() / found.sigma_y) < 1.1
