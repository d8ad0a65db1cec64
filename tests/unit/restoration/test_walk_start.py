import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from gaussian_prior import GaussianPrior

from d2ir_pl.degradations import DefocusBlur, Jpeg
from d2ir_pl.diffusion import Schedule
from d2ir_pl.diffusion.randomness import image_generator
from d2ir_pl.estimators.lost_detail import lost_detail
from d2ir_pl.restoration import D2IR, DegradationEstimation, Problem, Step
from d2ir_pl.restoration.degradation_estimation import Estimate
from d2ir_pl.restoration.walk_start import FACTOR, GRID, HIGHEST, LOWEST, OTHERWISE, starts

SCHEDULE = Schedule.linear()


def problem(contrasts: list[float], family: Any = None, noise: float = 0.01) -> Problem:
    """Textures of some contrasts, with a little noise."""
    generator = torch.Generator().manual_seed(0)
    y = torch.randn(len(contrasts), 3, 40, 40, generator=generator).cumsum(2).cumsum(3)
    y = y - y.mean((2, 3), keepdim=True)
    y = y / y.std((1, 2, 3), keepdim=True) * torch.tensor(contrasts).view(-1, 1, 1, 1)
    generators = [image_generator(0, str(i)) for i in range(len(y))]
    family = DefocusBlur(11) if family is None else family
    return Problem.of(y, family, generators, torch.full((len(y),), noise))


def test_the_more_a_blur_took_the_higher_a_walk_starts() -> None:
    family = DefocusBlur(11, radius=3.0)
    found = problem([0.02, 0.1, 0.3, 0.9], family)
    steps = starts(found, found.init(), SCHEDULE, 8)
    assert steps == sorted(steps)
    assert len(set(steps)) > 2
    small = starts(found, DefocusBlur(11, radius=1.0).init(found.y, found.sigma_y), SCHEDULE, 8)
    assert all(a <= b for a, b in zip(small, steps, strict=True))
    assert small != steps


def test_the_first_noise_is_the_factor_times_what_was_taken_within_the_grid() -> None:
    family = DefocusBlur(11, radius=3.0)
    found = problem([0.1, 0.2, 0.3, 0.4], family)
    phi = found.init()
    levels = FACTOR * lost_detail(found.y, found.sigma_y, family.kernel(phi))
    for step, level in zip(starts(found, phi, SCHEDULE, 8), levels.tolist(), strict=True):
        if LOWEST < step < HIGHEST:
            assert abs(math.log(SCHEDULE.sigma(step) / level)) < 0.55 * math.log(GRID)


def test_starts_leave_room_for_the_steps_and_stay_inside_the_schedule() -> None:
    found = problem([0.0, 5.0], DefocusBlur(11, radius=3.0))
    low, high = starts(found, found.init(), SCHEDULE, 8)
    assert (low, high) == (LOWEST, HIGHEST)
    assert starts(found, found.init(), SCHEDULE, 60) == [59, HIGHEST]
    short = Schedule.linear(100)
    assert max(starts(found, found.init(), short, 8)) <= 99


def test_damage_that_is_no_blur_by_a_kernel_has_one_start() -> None:
    found = problem([0.1, 0.9], Jpeg(30))
    assert starts(found, found.init(), SCHEDULE, 8) == [OTHERWISE] * 2


def test_each_photo_of_a_batch_is_told_of_all_its_steps() -> None:
    found = problem([0.02, 0.3, 0.9], DefocusBlur(11, radius=3.0))
    told: list[Step] = []
    method = D2IR(DegradationEstimation(start="auto", steps=4, phi_steps=0), stages="estimation")
    result = method.restore(found, GaussianPrior(), told.append)
    for b in range(3):
        assert [step.index for step in told if b in step.images] == [0, 1, 2, 3]
        assert len(result.losses["estimation"][b]) == 4


@pytest.mark.parametrize("settings", [{"phi_start": 100}, {"consistency": "guidance"}])
def test_photos_of_a_batch_with_starts_of_their_own_walk_as_each_does_alone(
    settings: dict[str, Any],
) -> None:
    """In one walk, of which an observer is told once a step."""
    found = problem([0.1, 0.3, 0.9, 2.0], DefocusBlur(11), noise=0.1)
    assert len(set(starts(found, found.init(), SCHEDULE, 4))) == 4
    walk = DegradationEstimation(start="auto", steps=4, **settings)

    def restored(rows: list[int]) -> tuple[Estimate, list[Step]]:
        told: list[Step] = []
        own = [image_generator(0, str(b)) for b in rows]
        part = replace(found.select(rows), generators=own)
        return walk(part, part.init(), GaussianPrior(), told.append), told

    together, told = restored([0, 1, 2, 3])
    assert [step.images for step in told] == [[0, 1, 2, 3]] * 4
    for b in range(4):
        alone, _ = restored([b])
        assert torch.allclose(alone.x[0], together.x[b], atol=1e-4)
        assert torch.allclose(alone.phi["log_radius"][0], together.phi["log_radius"][b], atol=1e-4)
        expected = alone.losses["estimation"][0]
        assert together.losses["estimation"][b] == pytest.approx(expected, rel=1e-3)
