import gc
import math
import weakref
from typing import Any

import pytest
import torch
from gaussian_prior import GaussianPrior
from shaken import blurred, corner, discs

from d2ir_pl.degradations import Blur, GaussianBlur, Identity
from d2ir_pl.diffusion.prior import Prior
from d2ir_pl.diffusion.randomness import image_generator
from d2ir_pl.restoration import (
    D2IR,
    DegradationEstimation,
    Problem,
    Restoration,
    RestorationMethod,
    mean_square,
    restore_samples,
)
from d2ir_pl.restoration.kernel_contest import with_kernels_found

DEVIATION, SIGMA = 0.2, 0.1
SHRINK = DEVIATION**2 / (DEVIATION**2 + SIGMA**2)
WALK = D2IR(DegradationEstimation(steps=5, temperature=1), stages="estimation")


def generators(count: int = 1) -> list[torch.Generator]:
    return [image_generator(0, str(i)) for i in range(count)]


def noisy(count: int = 1, size: int = 32) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    shape = (count, 3, size, size)
    x = DEVIATION * torch.randn(shape, generator=generator)
    return x + SIGMA * torch.randn(shape, generator=generator)


class Sampler(RestorationMethod):
    """Exact samples of the posterior of Gaussian pixels under Gaussian noise."""

    def solve(self, problem: Problem, prior: Prior, observer: Any) -> Restoration:
        x = SHRINK * problem.y + SIGMA * math.sqrt(SHRINK) * problem.noise()
        return problem.result(x, problem.init(), nfe=1, stopped_by="steps", losses={})


def test_the_mean_and_deviation_of_samples_are_those_of_the_posterior() -> None:
    y = noisy()
    count = 32
    many = restore_samples(
        Sampler(),
        count,
        Problem.of(y, Identity(), generators(), torch.tensor([SIGMA])),
        GaussianPrior(),
    )
    variance = SIGMA**2 * SHRINK
    error = float((many.x0 - SHRINK * y).square().mean())
    assert error == pytest.approx(variance / count, rel=0.1)
    assert many.std is not None
    assert many.std.shape == (1, 1, 32, 32)
    assert float(many.std.square().mean()) == pytest.approx(variance, rel=0.05)


def test_one_sample_is_the_restoration_itself() -> None:
    y = noisy()
    one = restore_samples(WALK, 1, Problem.of(y, GaussianBlur(11), generators()), GaussianPrior())
    same = WALK.restore(Problem.of(y, GaussianBlur(11), generators()), GaussianPrior())
    assert torch.equal(one.x0, same.x0)
    assert one.std is None


def test_samples_share_nothing_between_images_and_are_all_counted() -> None:
    y = noisy(2)
    blur, prior = GaussianBlur(11), GaussianPrior()
    seen: list[tuple[int, int, int]] = []
    both = restore_samples(
        WALK,
        3,
        Problem.of(y, blur, generators(2)),
        prior,
        lambda step: seen.append((step.sample, step.num_samples, step.index)),
    )
    alone = restore_samples(WALK, 3, Problem.of(y[1:], blur, generators(2)[1:]), prior)
    assert torch.allclose(both.x0[1], alone.x0[0], atol=1e-4)
    assert both.std is not None
    assert alone.std is not None
    assert torch.allclose(both.std[1], alone.std[0], atol=1e-4)
    assert both.nfe == [15, 15]
    assert seen == [(n, 3, i) for n in range(3) for i in range(5)]
    assert both.reblurred is not None
    residual = blur.residual(y, both.reblurred, both.phi)
    assert torch.allclose(both.residual, mean_square(residual) / blur.share(both.phi))


def test_no_sample_at_all_is_refused() -> None:
    with pytest.raises(ValueError, match="num_samples 0 must be at least 1"):
        restore_samples(
            WALK, 0, Problem.of(noisy(), GaussianBlur(11), generators()), GaussianPrior()
        )


def test_samples_are_forgotten_once_they_are_counted() -> None:
    alive: list[int] = []
    made: list[weakref.ref[torch.Tensor]] = []

    class Watched(Sampler):
        def solve(self, problem: Problem, prior: Prior, observer: Any) -> Restoration:
            gc.collect()
            alive.append(sum(image() is not None for image in made))
            found = super().solve(problem, prior, observer)
            made.append(weakref.ref(found.x0))
            return found

    problem = Problem.of(noisy(), Identity(), generators(), torch.tensor([SIGMA]))
    many = restore_samples(Watched(), 8, problem, GaussianPrior())
    assert max(alive) <= 2
    assert many.nfe == [8]


def test_a_kernel_is_found_once_for_all_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    searched: list[int] = []

    def counted(problem: Problem, prior: Prior) -> Problem:
        searched.append(len(problem))
        return with_kernels_found(problem, prior)

    monkeypatch.setattr("d2ir_pl.restoration.d2ir.with_kernels_found", counted)
    y = torch.cat([blurred(discs(84, seed), corner(), 0.01) for seed in (1, 2)])

    def problem() -> Problem:
        return Problem.of(y, Blur(15), generators(2), torch.full((2,), 0.01))

    one = WALK.restore(problem(), GaussianPrior())
    searched.clear()
    few = restore_samples(WALK, 3, problem(), GaussianPrior())
    assert searched == [2]
    assert few.kernels == one.kernels
    assert torch.equal(few.phi["logits"], one.phi["logits"])
    steps = WALK.estimation.steps
    assert few.nfe == [n + 2 * steps for n in one.nfe]
    assert few.std is not None
    assert float(few.std.max()) > 0
    first = WALK.prepared(problem(), GaussianPrior()).select([1])
    assert torch.allclose(WALK.restore(first, GaussianPrior()).x0[0], one.x0[1], atol=1e-4)
