"""The truth about photographs that a benchmark has damaged is what happened to them."""

import pytest
import torch

from benchmarks import tasks
from benchmarks.kinds import CHAINS, GRADES, OTHERS, TASKS, kind
from benchmarks.tasks import make
from d2ir_pl.restoration.configs import load

HALF_OF_THE_NOISE = 0.6745
"""Median of the absolute value of noise of standard deviation 1."""


@pytest.mark.parametrize("name", [*TASKS, *OTHERS, *GRADES, *CHAINS])
def test_the_true_parameters_explain_a_photograph_to_its_noise(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks, "PHOTOGRAPHS", ("astronaut", "camera"))
    task = make(name, 64)
    predicted = task.degradation(task.degradation.frame.embed(task.reference), task.phi)
    drawn = [kind(name).draw(torch.Generator().manual_seed(seed), 64) for seed in range(20)]
    noise = max(float(truth["noise"]) for truth in drawn)
    left = (task.y - predicted).flatten(1).abs().median(1).values / 2
    # Without noise, 8 bits are left, and of a chain what its borders change.
    assert float(left.max()) < 1.1 * HALF_OF_THE_NOISE * noise + 0.003


@pytest.mark.parametrize("name", [*OTHERS, *GRADES])
def test_a_kind_is_restored_by_a_config_for_its_degradation(name: str) -> None:
    assert type(load(kind(name).config).degradation) is type(kind(name).family())
