"""The pictures of the report look as if PyTorch had read them."""

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from photos import photo, save
from PIL import Image

from d2ir_pl.image_io import as_picture, read_image, write_png
from d2ir_pl.reports.pictures import data_uri, read_picture

ALPHA = torch.linspace(0, 1, 24 * 32).reshape(1, 24, 32)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize(
    "kind", [{}, {"grey": True}, {"alpha": ALPHA}, {"grey": True, "alpha": ALPHA}], ids=str
)
def test_a_png_file_is_read_as_image_io_reads_it(
    tmp_path: Path, kind: dict[str, Any], bits: int
) -> None:
    path = save(tmp_path / "a.png", 3, bit_depth=bits, **kind)
    picture = read_picture(path)
    assert picture is not None
    assert picture.mode == "RGB"
    np.testing.assert_array_equal(picture, as_picture(read_image(path).pixels))


def test_sixteen_bits_are_rounded_to_the_nearest_of_eight(tmp_path: Path) -> None:
    values = torch.arange(2**16, dtype=torch.float64).reshape(1, 256, 256) / (2**16 - 1)
    path = tmp_path / "all.png"
    write_png(path, (2 * values - 1).float().expand(3, -1, -1), bit_depth=16)
    picture = read_picture(path)
    exact = values[0].numpy() * 255
    assert np.abs(np.asarray(picture)[..., 0] - exact).max() <= 0.5 + 2e-3


def test_a_jpeg_file_is_read_as_image_io_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    as_picture(photo()).save(path)
    np.testing.assert_array_equal(
        np.asarray(read_picture(path)), as_picture(read_image(path).pixels)
    )


def test_what_is_missing_or_damaged_is_no_picture(tmp_path: Path) -> None:
    assert read_picture(tmp_path / "missing.png") is None
    whole = save(tmp_path / "a.png", bit_depth=16).read_bytes()
    for name, contents in (("cut.png", whole[: len(whole) // 2]), ("no.jpg", b"no image")):
        (tmp_path / name).write_bytes(contents)
        assert read_picture(tmp_path / name) is None


@pytest.mark.parametrize(("kind", "start"), [("png", b"\x89PNG"), ("jpeg", b"\xff\xd8")])
def test_an_address_holds_the_picture_reduced_to_its_largest_side(kind: Any, start: bytes) -> None:
    address = data_uri(Image.new("RGB", (200, 50), "red"), 100, kind)
    head, _, content = address.partition(",")
    assert head == f"data:image/{kind};base64"
    decoded = base64.b64decode(content)
    assert decoded.startswith(start)
    assert Image.open(io.BytesIO(decoded)).size == (100, 25)
    assert data_uri(None, 100) == ""
