"""What is painted on a photo becomes a mask of its size, whatever a browser sends."""

import json
from pathlib import Path

import numpy as np
import pytest
from photos import save
from PIL import Image

from d2ir_pl.errors import UsageError
from d2ir_pl.web.extent import PART
from d2ir_pl.web.liveliest import liveliest
from d2ir_pl.web.markup import compared, surface
from d2ir_pl.web.order import Order, plan
from d2ir_pl.web.painting import Stroke, mask_of, strokes
from d2ir_pl.web.result import Comparison


def test_a_straight_stroke_covers_the_pixels_within_half_a_brush_of_it() -> None:
    # In a photo of 200 pixels, a unit is a fiftieth of a pixel.
    painted = strokes(json.dumps([[1000, 2500, 2500, 7500, 2500]]))
    mask = np.asarray(mask_of(painted, (100, 200)), dtype=float) / 255
    y, x = np.mgrid[:100, :200]
    distance = np.hypot(x - np.clip(x, 50, 150), y - 50)
    assert bool((mask[distance < 8.5] == 1).all())
    assert bool((mask[distance > 11.5] == 0).all())


def test_the_same_strokes_mean_the_same_part_at_any_size() -> None:
    painted = [Stroke(800, ((2000, 3000), (6000, 4000), (6000, 6000)))]
    large, small = mask_of(painted, (900, 1200)), mask_of(painted, (225, 300))
    both = [np.asarray(m.resize((300, 225), Image.Resampling.BOX)) > 127 for m in (large, small)]
    assert float((both[0] != both[1]).mean()) < 0.01


NONSENSE = (
    "much",
    "null",
    "{}x",
    "[1, 2, 3]",
    "[[1]]",
    "[[100, 1, 2, 3]]",
    '[["a", 1, 2]]',
    "[[100, 1.5, 2]]",
    "[[true, 1, 2]]",
    "[[0, 1, 2]]",
    "[[100, 1, 1000000000]]",
    "[" * 5000,
)


@pytest.mark.parametrize("text", NONSENSE)
def test_what_no_page_sends_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="clear it and paint it again"):
        strokes(text)


def test_nothing_painted_is_nothing() -> None:
    assert strokes("") == ()


def test_a_mask_is_neither_empty_nor_the_whole_photo() -> None:
    with pytest.raises(UsageError, match="beside the photo"):
        mask_of([Stroke(10, ((20_000, 20_000),))], (50, 50))
    with pytest.raises(UsageError, match="whole photo"):
        mask_of([Stroke(10_000, ((0, 0), (10_000, 10_000), (0, 10_000), (10_000, 0)))], (50, 50))


def test_what_is_painted_is_a_hole_or_the_region(tmp_path: Path) -> None:
    photo, mask = save(tmp_path / "photo.png"), tmp_path / "mask.png"
    painted = (Stroke(500, ((5000, 5000),)),)
    filled = plan(Order(photo, "auto", painted=painted), 10**6, mask).model
    assert filled["degradation"]["init_args"] == {"source": str(mask), "invert": True}
    assert filled["region"] == str(mask)
    part = plan(Order(photo, "denoising", painted=painted, fill=False), 10**6, mask).model
    assert part["region"] == str(mask)
    assert "Identity" in part["degradation"]["class_path"]


def test_the_part_that_is_tried_holds_what_was_painted(tmp_path: Path) -> None:
    side = 2 * PART
    grey = np.full((side, side, 3), 120, np.uint8)
    grey[:PART, :PART] += np.random.default_rng(0).integers(0, 60, (PART, PART, 3), dtype=np.uint8)
    file = tmp_path / "photo.png"
    Image.fromarray(grey).save(file)
    lively = plan(Order(file, "denoising", extent="part"), 10**6)
    assert lively.photo.pixels.shape == (3, PART, PART)
    assert float(lively.photo.pixels.std()) > 0.1
    painted = (Stroke(100, ((9000, 9000),)),)
    told = plan(Order(file, "denoising", painted=painted, extent="part"), 10**6, tmp_path / "m.png")
    assert told.mask is not None
    assert told.mask.size == (PART, PART)
    assert 0 < np.asarray(told.mask).mean() < 20
    assert float(told.photo.pixels.std()) < 0.1  # the quiet corner, where it was painted
    assert liveliest(told.photo.pixels, (PART, PART)) == (0, 0)


def test_names_of_files_are_no_markup() -> None:
    picture = Image.new("RGB", (8, 8))
    page = surface(picture, '"><img src=x onerror=alert(1)>') + compared(
        Comparison(picture, picture), "<b>"
    )
    assert "<img src=x" not in page
    assert "<b>" not in page
