"""Whether a photo is seen to be blurred otherwise in one part than in another."""

import pytest
import torch
from shaken import blurred, corner, discs
from torch import Tensor

from d2ir_pl.degradations import Blur
from d2ir_pl.diffusion.randomness import image_generator
from d2ir_pl.estimators.kernel_shapes import likeness
from d2ir_pl.priors import NetworkPrior
from d2ir_pl.restoration import Problem
from d2ir_pl.restoration.kernel_places import kernel_by_place
from d2ir_pl.results.record import Record
from d2ir_pl.results.warnings import places, warnings


def problem(y: Tensor) -> Problem:
    return Problem.of(y, Blur(21), [image_generator(0, "0")], torch.full((1,), 0.01))


def seen(y: Tensor, prior: NetworkPrior) -> list[float]:
    found, nfe = kernel_by_place(problem(y), corner(), prior)
    assert [len(row) for row in found] == [2]
    assert nfe == 24
    return [v for row in found for v in row if v is not None]


def test_two_kernels_in_one_photo_are_told_from_one(
    natural_small: NetworkPrior, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("d2ir_pl.restoration.kernel_places.SIDE", 96)
    monkeypatch.setattr("d2ir_pl.restoration.kernel_places.LEAST_STRENGTH", 1e-5)
    image, turned = torch.cat([discs(116, 1), discs(116, 2)], -1), corner().flip(0)
    assert likeness(corner(), turned) < 0.8
    same = blurred(image, corner(), 0.005)
    other = torch.cat([same[..., :106], blurred(image, turned, 0.005)[..., 106:]], -1)
    alike, different = seen(same, natural_small), seen(other, natural_small)
    assert min(alike) > max(different) + 0.02


def test_a_small_photo_is_not_divided(natural_small: NetworkPrior) -> None:
    y = blurred(discs(96, 1), corner(), 0.005)
    assert kernel_by_place(problem(y), corner(), natural_small) == ([], 0)


def test_parts_without_edges_say_nothing(natural_small: NetworkPrior) -> None:
    flat = torch.zeros(1, 3, 160, 320)
    assert kernel_by_place(problem(flat), corner(), natural_small) == ([], 0)


def record(kernel: dict[str, object]) -> Record:
    return Record("photo", "restored", "", "", kernel=kernel)


def test_a_photo_that_is_blurred_otherwise_in_two_parts_has_a_warning() -> None:
    whole = record({"places": [[0.99, 0.97], [None, 0.9]]})
    assert warnings(whole) == []
    (sentence,) = warnings(record({"places": [[0.99, 0.85], [None, 0.9]]}))
    assert "2 of 3 parts" in sentence


@pytest.mark.parametrize("odd", [3, [3], [["x"]], [[{}]], None])
def test_places_of_a_hostile_record_are_left_out(odd: object) -> None:
    assert places(record({"places": odd})) == []
    assert warnings(record({"places": odd})) == []
