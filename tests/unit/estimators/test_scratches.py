"""White scratches of old prints are found, and lines of the scene are not."""

import pytest
import torch
from PIL import Image, ImageDraw
from repository import EXAMPLES
from torch import Tensor

from d2ir_pl import restore
from d2ir_pl.diagnosis.observed import observed_pixels
from d2ir_pl.estimators.scratches import scratches
from d2ir_pl.image_io import Photo, as_picture, read_image


def photo(name: str) -> Tensor:
    return read_image(EXAMPLES / "clean" / f"{name}.png").pixels


def scratched(y: Tensor) -> tuple[Tensor, Tensor]:
    """A photo with three white scratches, and 1 where they are."""
    height, width = y.shape[-2:]
    drawing = Image.new("L", (4 * width, 4 * height))
    pen = ImageDraw.Draw(drawing)
    for points in (
        [(60, 40), (300, 420), (500, 980)],
        [(0, 700), (420, 620), (1000, 760)],
        [(900, 30), (820, 400)],
    ):
        pen.line(points, fill=255, width=9)
    small = drawing.resize((width, height), Image.Resampling.BOX)
    share = torch.frombuffer(bytearray(small.tobytes()), dtype=torch.uint8).view(height, width)
    covered = share.float() / 255
    return y * (1 - covered) + 0.85 * covered, (covered > 0.5).float()


@pytest.mark.parametrize("name", ["astronaut", "chelsea", "coffee"])
def test_undamaged_photos_have_none(name: str) -> None:
    assert scratches(photo(name)) is None


def test_scratches_are_found() -> None:
    y, where = scratched(photo("chelsea"))
    found = scratches(y)
    assert found is not None
    assert float((found[0] * where).sum()) > 0.75 * float(where.sum())
    assert float((found[0] * (1 - where)).mean()) < 0.03


def test_a_large_photo_is_looked_at_when_smaller() -> None:
    y, where = scratched(photo("chelsea"))
    large = torch.nn.functional.interpolate(y[None], scale_factor=4, mode="bicubic")[0]
    found = scratches(large)
    assert found is not None
    assert found.shape == (1, *large.shape[-2:])
    at = torch.nn.functional.interpolate(where[None, None], scale_factor=4)[0, 0]
    assert float((found[0] * at).sum()) > 0.6 * float(at.sum())


@pytest.mark.slow
def test_auto_fills_scratches_in_and_leaves_a_frame_alone() -> None:
    clean = photo("chelsea")
    y, where = scratched(clean)
    # Under so much noise no blur is looked for, which would take a minute.
    y = (y + 0.08 * torch.randn(y.shape)).clamp(-1, 1)
    y = ((y + 1) * 127.5).round() / 127.5 - 1
    y[:, :12] = y[:, -12:] = -1.0
    result = restore(as_picture(y), "auto")
    image = result.photo.pixels
    inner = where.clone()
    inner[:14] = inner[-14:] = 0
    before, after = (((x - clean).square() * inner).sum() for x in (y, image))
    assert float(after) < 0.2 * float(before)
    assert torch.equal(image[:, :12], y[:, :12])
    told = " ".join(result.reasons)
    assert "scratches" in told
    assert "frame" in told


def test_scratches_are_not_observed() -> None:
    y, where = scratched(photo("chelsea"))
    seen = observed_pixels(Photo(y), y)
    assert seen.mask is not None
    assert float((seen.mask[0] * where).sum()) < 0.25 * float(where.sum())
    assert any(s.startswith("scratches") for s in seen.findings)
