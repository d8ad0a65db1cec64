"""What a degradation is told, it neither reads off the data nor draws."""

import pickle
from pathlib import Path

import pytest
import torch
from degradation_examples import every_degradation, scene

from d2ir_pl.degradations import Degradation, GaussianBlur, Mask, Phi
from d2ir_pl.diffusion.randomness import image_generator

PUBLIC = {
    name
    for name, member in vars(Degradation).items()
    if not name.startswith("_") and (callable(member) or isinstance(member, property))
} - set(dir(torch.nn.Module))


def generators(count: int) -> list[torch.Generator]:
    return [image_generator(1, str(i)) for i in range(count)]


@every_degradation
def test_a_told_degradation_returns_what_it_was_told(degradation: Degradation) -> None:
    _, x, phi, y = scene(degradation)
    told = degradation.told(phi)
    assert type(told) is type(degradation)
    assert not told.estimated
    for found in (told.init(y, torch.full((3,), 0.1)), told.draw(generators(3), x)):
        assert found.keys() == phi.keys()
        assert all(torch.equal(found[name], phi[name]) for name in phi)
        assert told.free(found) == []
    assert torch.equal(told(x, phi), y)
    again = pickle.loads(pickle.dumps(told))
    assert torch.equal(again(x, again.init(y, torch.zeros(3))), y)


@every_degradation
def test_telling_changes_nothing_of_the_degradation_itself(degradation: Degradation) -> None:
    _, _, phi, y = scene(degradation)
    before = degradation.estimated, degradation.free(phi), degradation.init(y, torch.zeros(3))
    degradation.told(phi)
    after = degradation.estimated, degradation.free(phi), degradation.init(y, torch.zeros(3))
    assert before[:2] == after[:2]
    assert all(torch.equal(before[2][name], value) for name, value in after[2].items())


def test_the_parameters_of_one_image_hold_for_any_number_of_images() -> None:
    told = GaussianBlur().told(Phi(log_width=torch.tensor([[0.5]])))
    assert told.init(torch.zeros(3, 3, 8, 8), torch.zeros(3))["log_width"].flatten().tolist() == (
        [0.5] * 3
    )
    two = GaussianBlur().told(Phi(log_width=torch.zeros(2, 1)))
    with pytest.raises(ValueError, match="2 images are known, but the batch has 3"):
        two.init(torch.zeros(3, 3, 8, 8), torch.zeros(3))


def test_a_told_mask_looks_for_no_file(tmp_path: Path) -> None:
    told = Mask(str(tmp_path)).told(Phi(mask=torch.ones(1, 1, 4, 4)))
    assert told.for_images([], []) is told


def test_a_degradation_has_few_public_methods() -> None:
    assert len(PUBLIC) <= 15, sorted(PUBLIC)
