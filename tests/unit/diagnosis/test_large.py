"""Large photos are measured where their edges are strongest."""

import pytest
import torch
from photos import photo
from torch import Tensor

from d2ir_pl.diagnosis import large
from d2ir_pl.diagnosis.large import GRID, telling_part
from d2ir_pl.diagnosis.measurements import measure
from d2ir_pl.diagnosis.proposal import explain
from d2ir_pl.operators.orientation import stored

SIZE = 320, 400


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(large, "LARGE", 50_000)
    monkeypatch.setattr(large, "SIDE", 160)


def sharp_in(rows: slice, columns: slice) -> Tensor:
    """A photo that is even but for one part."""
    y = torch.full((3, *SIZE), 0.1)
    sharp = photo(2, *SIZE)
    y[:, rows, columns] = sharp[:, rows, columns]
    return y


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_the_part_has_the_edges_and_begins_at_a_block(orientation: int) -> None:
    y = sharp_in(slice(140, 280), slice(20, 160))
    y[0] += torch.linspace(0, 0.1, SIZE[1])  # so that every part is another one
    found, _, middle = telling_part(y, None, orientation)
    assert float((found[1] - 0.1).abs().sum()) > 0.8 * float((y[1] - 0.1).abs().sum())
    own, part = stored(y, orientation), stored(found, orientation)
    places = [
        (top, left)
        for top in range(0, own.shape[1] - part.shape[1] + 1, GRID)
        for left in range(0, own.shape[2] - part.shape[2] + 1, GRID)
        if torch.equal(own[:, top : top + part.shape[1], left : left + part.shape[2]], part)
    ]
    assert places
    assert middle == pytest.approx((210 / 320, 90 / 400), abs=0.1)  # of the upright photo


def test_pixels_that_are_not_observed_have_no_edges() -> None:
    y = sharp_in(slice(140, 280), slice(20, 160))
    y[:, :120, 240:] = 1 - 2 * (torch.arange(160) % 2)
    observed = torch.ones(1, *SIZE)
    observed[:, :120, 240:] = 0
    found, seen, _ = telling_part(y, observed)
    assert seen is not None
    assert bool((seen == 1).all())
    assert float(found.std()) > 0.2


def test_a_small_photo_is_measured_whole() -> None:
    y = photo(0, 100, 120)
    assert telling_part(y, None).y is y


def test_light_is_that_of_the_whole_photo_and_the_report_names_the_part() -> None:
    y = (sharp_in(slice(140, 280), slice(20, 160)) + 1) * 0.02 - 1
    y[:, 140:280, 20:160] += 1.2
    seen = measure(y)
    assert seen.light.median < 0.1
    assert "measured on its liveliest 160x160 pixels" in explain(seen).reasons[-1]
