"""A problem and the account of its steps, whatever the method."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from d2ir_pl.degradations import Downsampling, Exposures, GaussianBlur, Identity, Mask
from d2ir_pl.degradations.base import Degradation
from d2ir_pl.diffusion.randomness import image_generator, normal_like
from d2ir_pl.restoration import Problem, Step, Steps

FAMILIES: dict[str, Degradation] = {
    "blur that looks past the border": GaussianBlur(7, width=1.0),
    "downsampling": Downsampling(2),
    "holes": Mask("zeros", missing=0.4),
    "several exposures": Exposures(2, gains=[0.5, 1.0]),
}


def generators(count: int) -> list[torch.Generator]:
    return [image_generator(0, str(b)) for b in range(count)]


def made(degradation: Degradation, count: int = 3, sigma: float = 0.1) -> tuple[Problem, Tensor]:
    """A problem of which the clean images are known, and these."""
    clean = torch.rand(count, 3, 32, 24, generator=torch.Generator().manual_seed(1)) - 0.5
    phi = degradation.draw(generators(count), clean)
    y = degradation(degradation.frame.embed(clean), phi)
    noise = degradation.residual(sigma * normal_like(y, generators(count)), torch.zeros(()), phi)
    return Problem.of(y + noise, degradation, generators(count), torch.full((count,), sigma)), clean


@pytest.mark.parametrize("name", FAMILIES)
def test_the_misfit_of_the_truth_is_that_of_the_noise(name: str) -> None:
    degradation = FAMILIES[name]
    problem, clean = made(degradation)
    phi = degradation.draw(generators(3), clean)
    x = degradation.frame.embed(clean)
    misfit = problem.misfit(x, phi)
    assert torch.allclose(misfit, problem.sigma_y**2, rtol=0.15)
    result = problem.result(x, phi, nfe=1, stopped_by="steps", losses={})
    assert torch.equal(result.x0, clean)
    assert torch.equal(result.residual, misfit)
    assert result.nfe == [1] * 3
    assert result.stopped_by == ["steps"] * 3


@pytest.mark.parametrize("name", FAMILIES)
def test_some_images_are_a_problem_of_their_own(name: str) -> None:
    degradation = FAMILIES[name]
    problem, clean = made(degradation)
    phi = degradation.draw(generators(3), clean)
    x = degradation.frame.embed(clean)
    rows = [2, 0]
    part = problem.select(rows)
    assert len(part) == 2
    assert torch.allclose(part.misfit(x[rows], phi.select(rows)), problem.misfit(x, phi)[rows])
    # The same generators, from their beginning: what is drawn belongs to the image.
    again = replace(problem, generators=generators(3)).noise()
    alone = replace(problem, generators=generators(3)).select(rows).noise()
    assert again.shape == x.shape
    assert torch.equal(alone, again[rows])


def test_noise_is_estimated_where_it_is_not_given_and_never_none() -> None:
    y = 0.1 * normal_like(torch.empty(2, 3, 64, 64), generators(2))
    found = Problem.of(y, Identity(), generators(2)).sigma_y
    assert torch.allclose(found, torch.full((2,), 0.1), rtol=0.1)
    flat = Problem.of(torch.zeros(1, 3, 8, 8), Identity(), generators(1), torch.zeros(1))
    assert float(flat.sigma_y) > 0


@pytest.mark.parametrize(
    ("y", "sigma_y", "count", "message"),
    [
        (torch.zeros(1, 3, 8, 8, dtype=torch.int64), torch.ones(1), 1, "float tensor"),
        (torch.zeros(3, 8, 8), torch.ones(3), 3, r"\(B, 3, H, W\)"),
        (torch.zeros(2, 3, 8, 8), torch.ones(2), 1, "2 images need as many generators, not 1"),
        (torch.zeros(2, 3, 8, 8), torch.ones(1), 2, r"sigma_y must be \(2,\), not \(1,\)"),
        (torch.full((1, 3, 8, 8), math.inf), torch.ones(1), 1, "infinite"),
    ],
)
def test_what_is_no_problem_is_refused(
    y: Tensor, sigma_y: Tensor, count: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Problem(y, sigma_y, Identity(), generators(count))
    with pytest.raises(ValueError, match=message):
        Problem.of(y, Identity(), generators(count), sigma_y)


def test_steps_are_numbered_for_each_image_and_their_losses_kept() -> None:
    problem, x = made(Identity())
    phi = problem.init()
    seen: list[Step] = []
    steps = Steps(seen.append, "latent", 2, problem)
    steps.keep(torch.tensor([9.0, 8.0, 7.0]), [0, 1, 2])
    steps.report(x, phi, torch.tensor([3.0, 2.0, 1.0]), x_T=torch.full_like(x, 2.0))
    steps.report(x[[0, 2]], phi.select([0, 2]), torch.tensor([0.5, 0.25]), [0, 2])
    assert [(s.stage, s.index, s.total, s.images) for s in seen] == [
        ("latent", 0, 2, [0, 1, 2]),
        ("latent", 1, 2, [0, 2]),
    ]
    assert steps.losses == {"latent": [[9.0, 3.0, 0.5], [8.0, 2.0], [7.0, 1.0, 0.25]]}
    assert seen[0].latent_norm is not None
    assert torch.equal(seen[0].latent_norm, torch.full((3,), 2.0))
    assert seen[1].latent_norm is None
    assert torch.equal(seen[1].sigma_y, problem.sigma_y[[0, 2]])
    assert torch.equal(seen[1].x0(), x[[0, 2]])
    assert seen[0].degradation is problem.degradation
