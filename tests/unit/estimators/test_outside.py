"""Frames and saturated areas are no part of a photo."""

import pytest
import torch
from repository import EXAMPLES
from torch import Tensor

from d2ir_pl.diagnosis.observed import observed_pixels
from d2ir_pl.estimators.outside import frame, framed, saturated
from d2ir_pl.image_io import Photo, read_image


def photo(name: str = "coffee") -> Tensor:
    return read_image(EXAMPLES / "clean" / f"{name}.png").pixels


@pytest.mark.parametrize("colour", [-1.0, 0.3, 1.0])
@pytest.mark.parametrize("noise", [0.0, 0.01])
def test_a_frame_is_found_to_the_pixel(colour: float, noise: float) -> None:
    y = photo()
    sides = (9, 14, 5, 20)
    mask = torch.ones_like(y[:1])
    mask[:, 9:-14, 5:-20] = 0
    y = torch.where(mask == 1, colour, y)
    y = (y + 2 * noise * torch.randn(y.shape, generator=torch.Generator().manual_seed(0))).clamp(
        -1, 1
    )
    assert all(abs(a - b) <= 1 for a, b in zip(frame(y), sides, strict=True))
    found = framed(y)
    assert found is not None
    assert float((found - mask).abs().mean()) < 0.02


def test_a_frame_in_a_frame_is_found() -> None:
    y = photo()
    y[:, :20] = y[:, -20:] = -1.0
    y[:, :8] = y[:, -8:] = 1.0
    assert frame(y)[:2] == (20, 20)


def test_photos_and_flat_images_have_no_frame() -> None:
    for name in ("astronaut", "chelsea", "coffee"):
        assert framed(photo(name)) is None
    assert framed(torch.zeros(3, 40, 40)) is None
    sky = photo()
    sky[:, :60] = 0.9  # at one side alone it may be sky
    assert framed(sky) is None


def test_saturated_areas_are_found_without_single_pixels() -> None:
    y = photo().clamp(-1, 0.9)
    y[:, 30:60, 40:90] = 1.0
    y[:, 100, 100] = 1.0
    found = saturated(y)
    assert found is not None
    assert float(found[:, 30:60, 40:90].min()) == 1
    assert float(found.sum()) == 30 * 50
    assert saturated(photo().clamp(-1, 0.9)) is None


def test_both_are_kept_and_not_observed() -> None:
    y = photo().clamp(-1, 0.9)
    y[:, :16] = y[:, -16:] = -1.0
    y[:, 100:120, 100:120] = 1.0
    seen = observed_pixels(Photo(y), y)
    assert seen.mask is not None
    assert seen.kept is not None
    assert torch.equal(seen.kept, 1 - seen.mask)
    assert float(seen.kept[:, :16].min()) == 1
    assert float(seen.kept[:, 100:120, 100:120].min()) == 1
    assert [s.partition(":")[0] for s in seen.findings] == ["frame", "overexposed"]
    # A result of another size cannot keep them.
    assert observed_pixels(Photo(y), y, keeps_size=False).kept is None
