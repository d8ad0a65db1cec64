"""Estimates that are remembered, and handed from one process to another."""

import pickle
from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor

from d2ir_pl.estimators import remembered as memory
from d2ir_pl.estimators.remembered import MOST, MOST_VALUES, noting, remember, remembered


@dataclass(frozen=True, eq=False)
class Settings:
    """Values of which one says nothing new."""

    values: Tensor
    names: tuple[str, ...]
    kind: object = field(compare=False)


CALLS: list[Tensor] = []


@remembered
def doubled(y: Tensor, by: Settings | float = 1.0, size: int = 1) -> Tensor:
    CALLS.append(y)
    factor = by if isinstance(by, float) else float(by.values.sum())
    return (factor * y).flatten().repeat(size)


@pytest.fixture(autouse=True)
def _nothing_is_known() -> None:
    CALLS.clear()
    forget()


def forget() -> None:
    for known in memory._MEMORIES.values():
        known._results.clear()


def own(**changed: object) -> Settings:
    return Settings(**{"values": torch.ones(2), "names": ("a",), "kind": object(), **changed})  # type: ignore[arg-type]


def test_equal_arguments_are_computed_once() -> None:
    first = doubled(torch.arange(3.0), own())
    assert torch.equal(doubled(torch.arange(3.0), own()), first)
    assert len(CALLS) == 1


@pytest.mark.parametrize(
    "other",
    [
        (torch.arange(3.0) + 1e-6, own()),
        (torch.arange(3.0).double(), own()),
        (torch.arange(3.0)[:, None], own()),
        (torch.arange(3.0), own(values=torch.zeros(2))),
        (torch.arange(3.0), own(names=("b",))),
        (torch.arange(3.0), 2.0),
    ],
)
def test_whatever_differs_is_computed_anew(other: tuple[Tensor, object]) -> None:
    doubled(torch.arange(3.0), own())
    doubled(*other)  # type: ignore[arg-type]
    assert len(CALLS) == 2


def test_what_one_process_has_noted_another_need_not_compute() -> None:
    with noting() as readings:
        there = doubled(torch.arange(3.0), own())
    handed = pickle.dumps(readings)
    forget()
    remember(pickle.loads(handed))
    assert torch.equal(doubled(torch.arange(3.0), own()), there)
    assert len(CALLS) == 1
    doubled(torch.zeros(3))
    assert len(readings) == 1  # nothing is noted any more


def test_what_is_known_already_is_noted_too() -> None:
    doubled(torch.arange(3.0))
    with noting() as readings:
        doubled(torch.arange(3.0))
    assert len(CALLS) == len(readings) == 1


def test_few_results_are_kept_and_none_that_is_large() -> None:
    for i in range(MOST + 1):
        doubled(torch.full((1,), float(i)))
    doubled(torch.zeros(1))
    assert len(CALLS) == MOST + 2
    large = torch.zeros(1), 1.0, MOST_VALUES + 1
    assert len(doubled(*large)) == MOST_VALUES + 1
    doubled(*large)
    assert len(CALLS) == MOST + 4


def test_functions_get_tensors_without_gradients() -> None:
    doubled(torch.ones(1, requires_grad=True))
    assert not CALLS[0].requires_grad
