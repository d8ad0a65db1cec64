from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from d2ir_pl.diffusion import Schedule
from d2ir_pl.diffusion.schedule import together


def test_linear_levels_equal_the_product_of_the_betas() -> None:
    beta = np.linspace(1e-4, 0.02, 1000)
    expected = np.cumprod(1 - beta)
    assert np.allclose(Schedule.linear().alpha_bar.numpy(), expected, rtol=1e-12)


def test_cosine_levels_follow_their_formula_before_the_cap() -> None:
    u = (np.arange(1, 900) / 1000 + 0.008) / 1.008
    expected = np.cos(u * np.pi / 2) ** 2 / np.cos(0.008 / 1.008 * np.pi / 2) ** 2
    assert np.allclose(Schedule.cosine().alpha_bar[:899].numpy(), expected, rtol=1e-9)


def test_levels_stay_distinct_and_in_double_precision() -> None:
    alpha_bar = Schedule.linear().alpha_bar
    assert alpha_bar.dtype == torch.float64
    assert len(alpha_bar.unique()) == 1000
    assert Schedule.linear().level(-1) == 1.0


@pytest.mark.parametrize("spacing", ["linear", "geometric"])
@pytest.mark.parametrize(("steps", "start"), [(1, None), (10, None), (20, 400), (50, 999), (5, 4)])
def test_timesteps_span_start_to_zero_without_repeats(
    steps: int, start: int | None, spacing: Any
) -> None:
    t = Schedule.linear().timesteps(steps, start, spacing)
    assert len(t) == steps
    assert t[0] == (999 if start is None else start)
    assert steps == 1 or t[-1] == 0
    assert all(a > b for a, b in pairwise(t))


def test_geometric_timesteps_lower_the_noise_by_an_equal_factor() -> None:
    schedule = Schedule.linear()
    sigma = [schedule.sigma(t) for t in schedule.timesteps(6, 900, "geometric")]
    factors = [b / a for a, b in pairwise(sigma)][:-1]  # near 0 timesteps are coarse
    assert max(factors) < 1.15 * min(factors)


def test_the_nearest_timestep_to_a_noise_level_is_its_own() -> None:
    schedule = Schedule.linear()
    assert [schedule.nearest(schedule.sigma(t)) for t in (0, 17, 999)] == [0, 17, 999]


@pytest.mark.parametrize(("steps", "start"), [(0, 10), (12, 10), (5, 1000), (5, -1)])
def test_impossible_timesteps_are_refused(steps: int, start: int | None) -> None:
    with pytest.raises(ValueError, match=r"steps|start"):
        Schedule.linear().timesteps(steps, start)


def test_levels_that_do_not_decrease_are_refused() -> None:
    with pytest.raises(ValueError, match="decrease"):
        Schedule(torch.tensor([0.5, 0.6], dtype=torch.float64))
    with pytest.raises(ValueError, match="float64"):
        Schedule(torch.tensor([0.6, 0.5]))


def test_levels_of_several_timesteps_are_those_of_each() -> None:
    schedule, steps = Schedule.linear(), [3, 0, 999]
    levels = schedule.level(torch.tensor(steps))
    assert levels.shape == (3, 1, 1, 1)
    assert levels.flatten().tolist() == [schedule.level(t) for t in steps]


def test_timesteps_are_told_once_where_all_images_of_a_batch_share_them() -> None:
    shared, own, last = together([[9, 5, 0], [9, 4, 0]], torch.device("cpu"))
    assert (shared, last) == (9, 0)
    assert isinstance(own, Tensor)
    assert own.tolist() == [5, 4]
    assert together([[9, 5, 0]] * 3, torch.device("cpu")) == [9, 5, 0]
