"""A sharp subject before a soft ground is no blurred photo; a photo that is blurred all over is."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from photos import photo
from torch import Tensor

from d2ir_pl.degradations.parametric_blur import disk_kernel
from d2ir_pl.diagnosis.measurements import measure
from d2ir_pl.diagnosis.proposal import explain
from d2ir_pl.diagnosis.subject import place
from d2ir_pl.operators.encoding import from_light, to_light

SIZE = 300, 320
PLACE = slice(20, 120), slice(200, 300)


def out_of_focus(y: Tensor, radius: float) -> Tensor:
    """The photo with points that have become disks, in linear light."""
    r = math.ceil(radius) + 1
    kernel = disk_kernel(torch.tensor([radius]), 2 * r + 1)[:, None]
    light = F.pad(to_light((y + 1) / 2)[:, None], (r,) * 4, mode="reflect")
    return from_light(F.conv2d(light, kernel)[:, 0]) * 2 - 1


def before_soft_ground(rows: slice, columns: slice, radius: float) -> Tensor:
    """A photo that is sharp in one part."""
    sharp = photo(3, *SIZE)
    y = out_of_focus(photo(4, *SIZE), radius)
    y[:, rows, columns] = 0.7 * sharp[:, rows, columns]
    return (y + 0.004 * torch.randn(y.shape, generator=torch.Generator().manual_seed(0))).clamp(
        -1, 1
    )


@pytest.mark.parametrize("radius", [3.0, 6.0])
def test_a_sharp_subject_before_a_soft_ground_is_not_blurred(radius: float) -> None:
    y = before_soft_ground(*PLACE, radius)
    found = explain(measure(y))
    assert "blind_deblur" not in found.config
    assert not {"GaussianBlur", "DefocusBlur", "Blur"} & set(found.kinds.split(" + "))
    assert any("96x96 pixels, top right" in sentence for sentence in found.sentences)
    assert any("is left as it is" in sentence for sentence in found.sentences)


@pytest.mark.parametrize("radius", [3.0, 6.0])
def test_a_photo_out_of_focus_all_over_is_blurred_and_measured_whole(radius: float) -> None:
    y = out_of_focus(before_soft_ground(*PLACE, radius), radius)
    found = explain(measure(y))
    assert {"GaussianBlur", "DefocusBlur", "Blur"} & set(found.kinds.split(" + "))


def test_a_subject_that_is_a_little_soft_is_undone_by_its_own_blur() -> None:
    y = out_of_focus(before_soft_ground(*PLACE, 12.0), 2.0)
    seen = measure(y)
    assert seen.subject
    assert 0.7 < seen.edges.typical < 2.5  # of a disk of 2, not of one of 12
    said = "is not sharpened any more than that"
    assert any(said in sentence for sentence in explain(seen).sentences)
    shaken = explain(replace(seen, trails=4))  # whose lights say that it is blurred all over
    assert not any("in part" in sentence for sentence in shaken.sentences)


def test_what_is_as_sharp_everywhere_has_no_subject() -> None:
    assert not measure(photo(3, *SIZE)).subject
    assert not measure(out_of_focus(photo(3, *SIZE), 4.0)).subject


def test_places_are_named_by_thirds() -> None:
    assert place((0.1, 0.9)) == "top right"
    assert place((0.5, 0.5)) == "middle"
    assert place((1.0, 0.4)) == "bottom middle"
