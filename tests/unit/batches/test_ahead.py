"""What a process beside reads off photos is what their restoration asks, and nothing else."""

import pickle
from pathlib import Path

import pytest
import torch
from photos import photo

from d2ir_pl.batches.ahead import Ahead, take_over
from d2ir_pl.batches.observation import Observation
from d2ir_pl.batches.plan import Plan
from d2ir_pl.degradations import Blur, Degradation, GaussianBlur, Identity, Jpeg, MotionBlur
from d2ir_pl.diagnosis.methods import suiting
from d2ir_pl.estimators import remembered as memory
from d2ir_pl.estimators.remembered import noting
from d2ir_pl.image_io import Photo
from d2ir_pl.inputs.items import Item
from d2ir_pl.inputs.samples import Sample
from d2ir_pl.restoration import BlindDenoising, RestorationMethod

FAMILIES: list[tuple[Degradation | None, RestorationMethod | None]] = [
    (None, None),
    (Identity(), BlindDenoising()),
    *((family, suiting(family)) for family in (GaussianBlur(), MotionBlur(), Jpeg())),
    (Blur(9, start="edges"), suiting(Blur(9, start="edges"))),
]


def sample(seed: int = 0) -> Sample:
    pixels = photo(seed, 64, 96)
    return Sample(Item(Path(f"{seed}.png"), f"{seed}", f"{seed}"), Photo(pixels), pixels, None, "")


def forget() -> None:
    for known in memory._MEMORIES.values():
        known._results.clear()


def ask(own: Sample, family: Degradation | None, method: RestorationMethod | None) -> None:
    """Ask what a restoration asks before it asks the prior."""
    if family is None:
        plan = Plan.chosen(own.photo, own.y, None, method)
    else:
        assert method is not None
        plan = Plan(family, method)
    observation = Observation.given(own, own.y[None], plan.degradation)
    plan.method.read(Observation.problem([observation], plan, 0, None))


@pytest.mark.parametrize(("family", "method"), FAMILIES, ids=lambda o: type(o).__name__)
def test_everything_is_known_that_was_read_ahead(
    family: Degradation | None, method: RestorationMethod | None
) -> None:
    forget()
    readings = Ahead(family, method, 0, None, False)([sample(0), sample(1)])
    forget()
    take_over(readings)
    known = {name: set(own._results) for name, own in memory._MEMORIES.items()}
    with noting() as asked:
        ask(sample(0), family, method)
        ask(sample(1), family, method)
    assert asked
    for reading in asked:
        assert reading.key in known[reading.function], reading.function


def test_a_photo_that_cannot_be_measured_costs_the_others_nothing() -> None:
    forget()
    broken = sample(0)
    broken = Sample(broken.item, broken.photo, torch.zeros(2, 1), None, "")
    readings = Ahead(None, None, 0, None, False)
    forget()
    alone = pickle.loads(readings([sample(1)]))
    forget()
    together = pickle.loads(readings([broken, sample(1)]))
    assert {reading.key for reading in together} >= {reading.key for reading in alone}
