"""Pixels that are no part of a photo change nothing of the others, whatever they hold."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from repository import ROOT
from torch import Tensor

from d2ir_pl import restore
from d2ir_pl.degradations import (
    Compose,
    Downsampling,
    GaussianBlur,
    Grayscale,
    Identity,
    Jpeg,
    Light,
)
from d2ir_pl.degradations.base import Degradation
from d2ir_pl.diagnosis.proposal import propose
from d2ir_pl.diffusion.randomness import image_generator, normal_like
from d2ir_pl.estimators.noise_level import estimate_sigma
from d2ir_pl.estimators.observed_pixels import fill_unobserved, hide
from d2ir_pl.image_io import Photo
from d2ir_pl.restoration import Problem, data_step
from d2ir_pl.restoration.found import Found

SIGMA = 0.04
FILE = Jpeg(quality=50, noise=0.01)
FAMILIES: dict[str, Degradation] = {
    "noise": Identity(),
    "blur": GaussianBlur(9, width=1.5),
    "no colour": Grayscale(),
    "darkness": Light(gain=0.4),
    "a chain": Compose([GaussianBlur(9, width=1.5), Downsampling(2)]),
}


def astronaut(size: int = 128) -> Tensor:
    image = np.asarray(Image.open(ROOT / "examples" / "clean" / "astronaut.png").convert("RGB"))
    pixels = torch.from_numpy(image[48 : 48 + size, 48 : 48 + size].copy())
    return pixels.permute(2, 0, 1)[None].float() / 127.5 - 1


def disk(size: int) -> Tensor:
    row = torch.arange(size) - size // 2
    return (row**2 + row[:, None] ** 2 < (0.42 * size) ** 2).float()[None, None]


def generators() -> list[torch.Generator]:
    return [image_generator(0, "")]


def scene(degradation: Degradation) -> tuple[Tensor, Tensor, Tensor]:
    """An x, its noisy y, and which pixels of y are observed."""
    x = degradation.frame.embed(astronaut())
    phi = degradation.draw(generators(), x)
    y = degradation(x, phi)
    noise = SIGMA * normal_like(y, [image_generator(1, "")])
    return x, y + degradation.residual(noise, 0 * noise, phi), disk(y.shape[-1])


def hidden_by(y: Tensor, observed: Tensor, fill: str) -> Tensor:
    other = torch.rand(y.shape, generator=torch.Generator().manual_seed(2)) * 2 - 1
    return torch.where(observed == 1, y, other if fill == "noise" else -1.0)


@pytest.mark.parametrize("name", FAMILIES)
def test_what_unobserved_pixels_hold_does_not_matter(name: str) -> None:
    degradation = FAMILIES[name]
    _, y, observed = scene(degradation)
    first, second = (
        Problem.of(hidden_by(y, observed, fill), degradation, generators(), observed=observed)
        for fill in ("noise", "black")
    )
    assert torch.equal(first.y, second.y)
    assert torch.equal(first.sigma_y, second.sigma_y)
    assert torch.equal(torch.where(observed == 1, first.y, 0), torch.where(observed == 1, y, 0))


@pytest.mark.parametrize("name", FAMILIES)
def test_the_noise_and_the_misfit_of_the_truth_are_those_of_observed_pixels(name: str) -> None:
    degradation = FAMILIES[name]
    x, y, observed = scene(degradation)
    problem = Problem.of(hidden_by(y, observed, "noise"), degradation, generators(), None, observed)
    whole = Problem.of(y, degradation, generators())
    if name == "noise":  # it is read where the photo is flattest, which may be hidden
        visible = estimate_sigma(hide(y, observed))
        assert 0.85 * SIGMA <= float(problem.sigma_y) <= float(visible)
    else:
        assert torch.allclose(problem.sigma_y, whole.sigma_y, rtol=0.15)
    phi = degradation.draw(generators(), x)
    assert torch.allclose(problem.misfit(x, phi), whole.misfit(x, phi), rtol=0.1)
    assert float((problem.residual(x, phi) * (1 - observed)).abs().max()) == 0
    assert problem.select([0]).observed is not None


def test_everything_observed_is_the_same_problem_to_the_bit() -> None:
    degradation = FAMILIES["blur"]
    x, y, observed = scene(degradation)
    one = Problem.of(y, degradation, generators(), observed=torch.ones_like(observed))
    other = Problem.of(y, degradation, generators())
    assert torch.equal(one.y, other.y)
    assert torch.equal(one.sigma_y, other.sigma_y)
    phi = one.init()
    solved = [
        data_step(*p.linearize(x, phi), x, torch.full((1, 1, 1, 1), 0.1), 3) for p in (one, other)
    ]
    assert torch.equal(solved[0][0], solved[1][0])
    assert torch.equal(one.misfit(x, phi), other.misfit(x, phi))


def test_the_weighted_operator_is_the_adjoint_of_itself() -> None:
    degradation = FAMILIES["blur"]
    x, y, observed = scene(degradation)
    problem = Problem.of(y, degradation, generators(), None, observed)
    operator, residual = problem.linearize(x, problem.init())
    r = torch.randn(residual.shape, generator=torch.Generator().manual_seed(0))
    left, right = (operator.forward(x) * r).sum(), (x * operator.adjoint(r)).sum()
    assert torch.allclose(left, right, rtol=1e-4)


def test_the_blur_is_read_off_the_observed_pixels() -> None:
    degradation = GaussianBlur(width=2.0)
    _, y, observed = scene(degradation)
    whole = Problem.of(y, GaussianBlur(), generators()).init()["log_width"]
    for fill in ("noise", "black"):
        part = hidden_by(y, observed, fill)
        found = Problem.of(part, GaussianBlur(), generators(), None, observed).init()["log_width"]
        assert float(found) == pytest.approx(float(whole), abs=0.1)
        proposal = propose(part[0], observed=observed[0])
        assert proposal.kinds == "GaussianBlur"


def test_a_grey_photo_is_continued_in_grey() -> None:
    grey = astronaut(32).mean(1, keepdim=True).expand(-1, 3, -1, -1)
    observed = disk(32)
    coloured = hidden_by(grey, observed, "noise")
    filled = fill_unobserved(coloured, observed, torch.full((1,), 0.1))
    assert torch.equal(filled[:, :1].expand_as(filled), filled)


def test_a_shape_that_does_not_fit_is_refused() -> None:
    y = astronaut(16)
    with pytest.raises(ValueError, match=r"observed must be \(1, 1, 16, 16\)"):
        Problem.of(y, Identity(), generators(), observed=torch.ones(1, 1, 8, 8))


@pytest.mark.parametrize("degradation", [FILE, Compose([GaussianBlur(9, width=1.5), FILE])])
def test_coefficients_of_blocks_that_lamps_reach_say_nothing(degradation: Degradation) -> None:
    x, y, _ = scene(degradation)
    beside = torch.ones_like(y[:, :1])
    beside[..., 40:50, 60:90] = 0
    problem = Problem.of(y, degradation, generators())
    told = replace(problem, found=Found(beside=beside))
    operator, residual = told.linearize(x, told.init())
    assert 0 < float((residual == 0).float().mean()) < 1
    assert torch.equal(operator.forward(x) == 0, operator.forward(2 * x) == 0)
    changed = replace(told, y=torch.where(beside == 1, y, -y))
    other = changed.linearize(x, told.init())[1]  # in units of its own RMS rounding error
    assert float((other / other.norm() - residual / residual.norm()).norm()) < 0.03
    other = replace(changed, found=None).linearize(x, told.init())[1]
    assert float((other / other.norm() - residual / residual.norm()).norm()) > 0.3
    whole = problem.linearize(x, problem.init())[1]
    kept = residual != 0
    assert torch.equal(residual[kept], whole[kept])


def test_visible_pixels_are_those_more_opaque_than_half_of_the_most_opaque() -> None:
    pixels = torch.zeros(3, 1, 4)
    assert Photo(pixels).visible is None
    assert Photo(pixels, torch.tensor([[[0.4, 0.4, 0.5, 0.6]]])).visible is None
    visible = Photo(pixels, torch.tensor([[[0.0, 0.2, 0.3, 0.6]]])).visible
    assert visible is not None
    assert visible.flatten().tolist() == [0, 0, 1, 1]


@pytest.mark.slow
@pytest.mark.parametrize("hidden", ["noise", "black"])
def test_a_blurred_cut_out_gains_as_if_it_were_whole(tmp_path: Path, hidden: str) -> None:
    degradation = GaussianBlur(width=2.0)
    x, y, observed = scene(degradation)
    y = y - SIGMA * normal_like(y, [image_generator(1, "")])
    y = y + 0.02 * normal_like(y, [image_generator(2, "")])
    clean = degradation.frame.crop(x)
    pixels = torch.cat([(hidden_by(y, observed, hidden) + 1) * 127.5, 255 * observed], 1)[0]
    array = pixels.clamp(0, 255).round().permute(1, 2, 0).byte().numpy()
    Image.fromarray(array).save(tmp_path / "cut.png")

    def psnr(a: Tensor) -> float:
        error = ((a - clean) * observed).square().sum() / observed.sum() / 3
        return float(-10 * (error / 4).log10())

    restored = restore(tmp_path / "cut.png")
    assert psnr(restored.restoration.x0) > psnr(y) + 3
    assert np.array_equal(np.asarray(restored.image)[..., 3], array[..., 3])
