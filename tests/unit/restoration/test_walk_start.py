import math
from typing import Any

import torch
from gaussian_prior import GaussianPrior

from d2ir_pl.degradations import DefocusBlur, Jpeg
from d2ir_pl.diffusion import Schedule
from d2ir_pl.diffusion.randomness import image_generator
from d2ir_pl.estimators.lost_detail import lost_detail
from d2ir_pl.restoration import D2IR, DegradationEstimation, Problem, Step
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
