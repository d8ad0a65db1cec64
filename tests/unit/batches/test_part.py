"""A region is restored by itself, as it would be in the whole photo."""

from pathlib import Path
from typing import Any

import pytest
import torch
from gaussian_prior import CurvedPrior
from photos import photo
from PIL import Image
from torch import Tensor

from d2ir_pl import restore
from d2ir_pl.batches import part
from d2ir_pl.batches.observation import Observation
from d2ir_pl.batches.part import CONTEXT, GRID, LEAST, part_around
from d2ir_pl.degradations import Compose, Degradation, GaussianBlur, Identity, Jpeg, Mask
from d2ir_pl.errors import RestorationError
from d2ir_pl.image_io import Photo
from d2ir_pl.inputs.items import Item
from d2ir_pl.inputs.samples import Sample

SIDE = 448
HOLE = slice(200, 216), slice(220, 236)
BOX = [190, 210, 40, 50]


def scene(hole: bool = False, corner: bool = False) -> Tensor:
    """A photo that is large beside what a region needs."""
    y = photo(3, SIDE, SIDE)[None]
    if hole:
        y[..., HOLE[0], HOLE[1]] = -1
    if corner:
        y[..., -20:, -20:] = -1
    return y


def observed(family: Degradation, hole: bool = False, corner: bool = False) -> Observation:
    y = scene(hole, corner)
    sample = Sample(Item(Path("a.png"), "a.png", "a"), Photo(y[0]), y[0], None, "")
    return Observation.given(sample, y, family)


def inside(top: int, left: int, height: int, width: int) -> Tensor:
    kept = torch.zeros(1, 1, SIDE, SIDE)
    kept[..., top : top + height, left : left + width] = 1
    return kept


@pytest.mark.parametrize("corner", [(0, 0), (200, 310), (428, 428)])
def test_a_part_has_what_the_network_needs_around_the_region(corner: tuple[int, int]) -> None:
    found = part_around(observed(Jpeg()), inside(*corner, 20, 20))
    assert found is not None
    assert found.within is not None
    for at, first, side in zip(corner, found.within[1], found.y.shape[-2:], strict=True):
        assert first % GRID == 0
        assert first <= max(0, at - CONTEXT)
        assert first + side >= min(SIDE, at + 20 + CONTEXT)
        assert LEAST <= side <= LEAST + 2 * GRID


def test_the_whole_is_restored_where_a_part_is_not_less_or_not_known() -> None:
    assert part_around(observed(Identity()), inside(0, 0, SIDE, SIDE)) is None
    chain = Compose([GaussianBlur(), Mask()])
    assert part_around(observed(chain, hole=True), inside(*BOX)) is None
    # A part in which nothing is missing has nothing to fill in.
    assert part_around(observed(Mask(), corner=True), inside(0, 0, 20, 20)) is None


@pytest.mark.parametrize("task", ["blind_deblur", "denoising", "inpainting", "jpeg", "low_light"])
def test_a_region_is_restored_as_in_the_whole(task: str, monkeypatch: pytest.MonkeyPatch) -> None:
    unit = (scene(hole=task == "inpainting")[0] + 1) / 2
    prior = CurvedPrior()
    arguments: dict[str, Any] = {"prior": prior, "region": BOX}
    found = restore(unit, task, **arguments)
    sizes = {shape[-2:] for shape in prior.calls}
    monkeypatch.setattr(part, "MOST", 0.0)
    whole = restore(unit, task, **arguments)
    assert max(max(size) for size in sizes) < SIDE
    rows, columns = slice(BOX[0], BOX[0] + BOX[2]), slice(BOX[1], BOX[1] + BOX[3])
    change = (whole.image - unit)[:, rows, columns].square().mean().sqrt()
    difference = (found.image - whole.image)[:, rows, columns].square().mean().sqrt()
    assert float(difference) < 0.1 * float(change) + 1e-3
    outside = torch.ones(SIDE, SIDE, dtype=torch.bool)
    outside[BOX[0] - 10 : BOX[0] + 50, BOX[1] - 10 : BOX[1] + 60] = False
    assert torch.allclose(found.image[:, outside], unit[:, outside], atol=1e-6)


def test_a_photo_without_its_mask_is_refused_before_anything_is_computed(tmp_path: Path) -> None:
    Image.new("L", (8, 8), 255).save(tmp_path / "mask.png")
    prior = CurvedPrior()
    with pytest.raises(RestorationError, match=r"mask\.png is 8x8, not 448x448"):
        restore((scene()[0] + 1) / 2, prior=prior, region=str(tmp_path / "mask.png"))
    assert not prior.calls
