"""Whether a photo is seen to be blurred otherwise in one part than in another."""

import pytest
import torch
from shaken import blurred, corner, discs
from torch import Tensor

from d2ir_pl.degradations import Blur
from d2ir_pl.diffusion.randomness import image_generator
from d2ir_pl.estimators.kernel_shapes import likeness
from d2ir_pl.image_io import read_image
from d2ir_pl.priors import NetworkPrior
from d2ir_pl.restoration import Problem
from d2ir_pl.restoration.kernel_places import Places, kernel_by_place
from d2ir_pl.restoration.searches import answered
from d2ir_pl.results.record import Record
from d2ir_pl.results.warnings import places, warnings


def problem(y: Tensor) -> Problem:
    return Problem.of(y, Blur(21), [image_generator(0, "0")], torch.full((1,), 0.01))


def differing(y: Tensor, prior: NetworkPrior) -> float:
    """How much the kernels of two parts differ, in units of those of halves of parts."""
    found = answered(kernel_by_place(problem(y), corner()), prior)
    assert [len(row) for row in found.alike] == [2]
    assert found.nfe == 24
    assert found.halves is not None
    alike = [v for row in found.alike for v in row if v is not None]
    return (1 - sum(alike) / 2) / (1 - found.halves)


def test_two_kernels_in_one_photo_are_told_from_one(
    natural_small: NetworkPrior, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("d2ir_pl.restoration.kernel_places.SIDE", 112)
    image = read_image("examples/clean/astronaut.png").pixels[:, 120:252]
    turned = corner().flip(0)
    assert likeness(corner(), turned) < 0.8
    same = blurred(image, corner(), 0.005)
    half = same.shape[-1] // 2
    other = torch.cat([same[..., :half], blurred(image, turned, 0.005)[..., half:]], -1)
    assert differing(same, natural_small) < 0.5
    assert differing(other, natural_small) > 1


def test_a_small_photo_is_not_divided(natural_small: NetworkPrior) -> None:
    y = blurred(discs(96, 1), corner(), 0.005)
    found = answered(kernel_by_place(problem(y), corner()), natural_small)
    assert found == Places([], None, 0)


def test_parts_without_edges_say_nothing(natural_small: NetworkPrior) -> None:
    flat = torch.zeros(1, 3, 160, 320)
    found = answered(kernel_by_place(problem(flat), corner()), natural_small)
    assert found == Places([], None, 0)


def record(kernel: dict[str, object]) -> Record:
    return Record("photo", "restored", "", "", kernel=kernel)


def test_parts_that_differ_more_than_their_halves_are_warned_of() -> None:
    parts = [[0.93, 0.95], [None, 0.9]]
    assert warnings(record({"places": parts, "halves": 0.9})) == []
    assert warnings(record({"places": parts})) == []
    assert warnings(record({"places": [[0.98, 0.98]], "halves": 0.99})) == []
    (sentence,) = warnings(record({"places": parts, "halves": 0.96}))
    assert "not blurred the same all over" in sentence


@pytest.mark.parametrize("odd", [3, [3], [["x"]], [[{}]], None])
def test_places_of_a_hostile_record_are_left_out(odd: object) -> None:
    hostile = record({"places": odd, "halves": odd})
    assert (places(hostile), warnings(hostile)) == ([], [])
