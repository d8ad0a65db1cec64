"""Large photos are restored smaller first; what a smaller copy would not show is no such copy."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from photos import photo, save
from PIL import Image

from d2ir_pl.image_io import Photo
from d2ir_pl.web import extent, job
from d2ir_pl.web.extent import Extent, extent_of, part, smaller
from d2ir_pl.web.job import Job
from d2ir_pl.web.order import Order, plan
from d2ir_pl.web.painting import Stroke
from d2ir_pl.web.program import PageSettings
from d2ir_pl.web.visitors import Visitors

PAGE = PageSettings(precision="32-true", accelerator="cpu")


@pytest.fixture
def few_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Photos of 64 x 64 pixels and more are large."""
    monkeypatch.setattr(extent, "LARGE", 64 * 64 - 1)
    monkeypatch.setattr(extent, "OVERVIEW", 32 * 32)


def test_a_smaller_copy_has_the_photos_shape_and_its_means() -> None:
    large = Photo(photo(1, 2000, 3000), alpha=torch.ones(1, 2000, 3000), codec="WebP")
    copy = smaller(large)
    height, width = copy.size
    assert abs(height * width / extent.OVERVIEW - 1) < 0.001
    assert abs(width / height - 1.5) < 0.001
    assert copy.alpha is not None
    assert copy.alpha.shape == (1, height, width)
    assert torch.allclose(copy.pixels.mean((1, 2)), large.pixels.mean((1, 2)), atol=2e-3)
    assert (copy.codec, copy.tables) == ("", None)


def test_missing_pixels_are_missing_in_a_smaller_copy(few_pixels: None) -> None:
    holes = torch.full((3, 96, 96), 0.5)
    holes[:, torch.rand(96, 96) < 0.8] = -1
    found = smaller(Photo(holes), exact=True).pixels
    assert set(found.unique().tolist()) == {-1.0, 0.5}
    assert abs(float((found == -1).float().mean()) - 0.8) < 0.06


def test_what_is_small_or_would_be_enlarged_has_no_smaller_copy(few_pixels: None) -> None:
    large, small = Photo(photo(1, 96, 64)), Photo(photo(1, 63, 63))
    spot = Image.new("L", (64, 96))
    spot.paste(255, (10, 10, 40, 40))
    found: list[Extent] = [
        extent_of(large, "overview", "auto", None),
        extent_of(small, "overview", "auto", None),
        extent_of(large, "overview", "super_resolution_x4", None),
        extent_of(large, "overview", "auto", spot),
        extent_of(large, "whole", "auto", None),
    ]
    assert found == ["overview", "whole", "part", "whole", "whole"]


def test_a_part_holds_what_is_known_of_its_pixels() -> None:
    side = 2 * extent.PART
    known = replace(Photo(photo(1, side, side)), mask=torch.rand(1, side, side).round())
    mask = Image.new("L", (side, side))
    mask.paste(255, (500, 501, 520, 520))
    found, painted = part(known, mask)
    assert painted is not None
    assert found.mask is not None
    assert painted.size == (extent.PART, extent.PART)
    assert found.mask.shape == (1, *found.size)
    box = painted.getbbox()
    assert box is not None
    assert (500 - box[0]) % 16 == (501 - box[1]) % 16 == 0  # where blocks of JPEG begin


def test_a_preview_says_what_it_cannot_show_and_how_long_the_whole_takes(
    few_pixels: None, tmp_path: Path
) -> None:
    file = save(tmp_path / "photo.png", 1, 96, 96)
    for task, says in (("blind_deblur", True), ("colorization", False)):
        planned = plan(Order(file, task, extent="overview"), 10**6)
        assert planned.photo.size == (32, 32)
        assert planned.model["method"]["init_args"]["estimation"]["steps"] == 5
        assert ("3.0 times smaller" in planned.remark) == says
        assert planned.cost == 8 / 5
    visitors = Visitors(PAGE)
    try:
        order = Order(file, "denoising", extent="overview")
        tried = visitors.begin("visitor", order)
        list(tried.watch())
        assert tried.rate is not None
        seconds = tried.result().record.seconds
        assert tried.rate == pytest.approx((seconds or 0) / 32**2)
    finally:
        visitors.close()


def test_the_time_left_is_told_before_the_first_step(
    few_pixels: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job, "EVERY", 0.01)
    file = save(tmp_path / "photo.png", 1, 96, 96)
    (tmp_path / "job").mkdir()
    restoration = Job(Order(file, "denoising"), tmp_path / "job", PAGE, usual=1.0)
    told = [view.text for view in restoration.watch()]
    assert "Restoring 96x96 pixels, which takes about 2.6 h." in told
    assert any(text.endswith("left (the first step takes long).") for text in told)


def test_a_painted_photo_is_tried_with_a_mask_of_its_size(few_pixels: None, tmp_path: Path) -> None:
    file = save(tmp_path / "photo.png", 1, 96, 96)
    painted = (Stroke(500, ((500, 500), (9500, 9500))),)
    order = Order(file, "auto", painted=painted, extent="overview")
    planned = plan(order, 10**6, tmp_path / "mask.png")
    assert planned.mask is not None
    assert planned.mask.size == planned.photo.size[::-1] == (32, 32)
    assert planned.remark == ""
    assert np.asarray(planned.mask).any()


def test_a_photo_that_is_smaller_than_a_part_is_told_of_no_part() -> None:
    pytest.importorskip("gradio")
    from d2ir_pl.web.showing import _ready

    def usual(pixels: int) -> float:
        return pixels / 1000

    assert _ready(256, 256, usual) == "Ready: 256x256 pixels, about 66 s on this computer."
    assert _ready(512, 512, usual).endswith(", about 4 min on this computer (a part: 2 min).")
