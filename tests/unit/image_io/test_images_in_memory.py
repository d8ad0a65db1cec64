"""Photos from and to images in memory: of Pillow, arrays and tensors."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from image_files import ORIENTATION_TAG, ORIENTATIONS, noise
from PIL import Image, ImageCms

from d2ir_pl.errors import ImageError
from d2ir_pl.image_io import (
    from_array,
    from_pillow,
    from_tensor,
    read_image,
    to_array,
    to_pillow,
    to_tensor,
)

RGB = Image.fromarray(noise(18, 26, 3))
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def exif(orientation: int) -> Image.Exif:
    """The maker and a time of exposure, and what holds for the stored pixels alone."""
    data = Image.Exif()
    data[ORIENTATION_TAG] = orientation
    data[271] = "a camera"
    data[34665] = {33434: 0.5, 40962: 26, 40963: 18}
    return data


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "I;16"])
@pytest.mark.parametrize("kind", ["png", "tiff", "jpg"])
def test_an_opened_image_is_what_its_file_is(mode: str, kind: str, tmp_path: Path) -> None:
    image = Image.fromarray(noise(18, 26, dtype=np.uint16)) if mode == "I;16" else RGB
    if mode not in ("RGB", "I;16"):
        image = (RGB.convert("P") if mode == "PA" else RGB).convert(mode)
    path = tmp_path / f"photo.{kind}"
    try:
        image.save(path)
        expected = read_image(path)
    except (OSError, ImageError):
        pytest.skip(f"no {kind} of mode {mode} is written by Pillow and read")
    with Image.open(path) as opened:
        found = from_pillow(opened)
    assert torch.equal(found.pixels, expected.pixels)
    assert (found.alpha is None) == (expected.alpha is None)
    assert (found.bit_depth, found.grey) == (expected.bit_depth, expected.grey)
    assert (found.tables is None) == (expected.tables is None)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_an_opened_jpeg_is_turned_upright_and_keeps_what_its_file_says(
    orientation: int, tmp_path: Path
) -> None:
    path = tmp_path / "photo.jpg"
    RGB.save(path, exif=exif(orientation), icc_profile=PROFILE, quality=30)
    expected = read_image(path)
    for image in (Image.open(path), Image.open(io.BytesIO(path.read_bytes()))):
        found = from_pillow(image)
        assert torch.equal(found.pixels, expected.pixels)
        assert (found.icc_profile, found.metadata) == (PROFILE, expected.metadata)
        assert found.tables is not None
        assert expected.tables is not None
        assert torch.equal(found.tables.tables, expected.tables.tables)
        assert found.tables.orientation == orientation
        info = to_pillow(found).info
        assert info["icc_profile"] == PROFILE
        kept = Image.Exif()
        kept.load(info["exif"])
        assert dict(kept) == {ORIENTATION_TAG: 1, 271: "a camera", 34665: kept[34665]}
        height, width = found.pixels.shape[-2:]
        assert dict(kept.get_ifd(34665)) == {33434: 0.5, 40962: width, 40963: height}


def test_an_image_that_no_longer_has_its_files_pixels_has_no_tables(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    RGB.save(path)
    decoded = Image.open(path)
    decoded.load()
    assert from_pillow(decoded).tables is not None
    small = Image.open(path)
    small.thumbnail((9, 9))
    assert from_pillow(small).tables is None
    small = Image.open(io.BytesIO(path.read_bytes()))
    small.thumbnail((9, 9))
    assert from_pillow(small).tables is None


@pytest.mark.parametrize(
    "array",
    [
        noise(6, 7),
        noise(6, 7, 1),
        noise(6, 7, 2),
        noise(6, 7, 3),
        noise(6, 7, 4),
        noise(6, 7, 3, dtype=np.uint16),
        (noise(6, 7, 4) / 255).astype(np.float32),
        noise(6, 7) / 255,
    ],
)
def test_an_array_comes_back_as_it_was(array: Any) -> None:
    found = to_array(from_array(array), array)
    assert (found.dtype, found.shape) == (array.dtype, array.shape)
    assert np.allclose(found, array, atol=1e-6, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.uint8])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_tensor_comes_back_as_it_was(dtype: torch.dtype, channels: int) -> None:
    levels = torch.from_numpy(noise(channels, 6, 7))
    tensor = levels if dtype == torch.uint8 else (levels / 255).to(dtype)
    found = to_tensor(from_tensor(tensor.requires_grad_(dtype != torch.uint8)), tensor)
    assert (found.dtype, found.shape) == (dtype, tensor.shape)
    assert torch.allclose(found.float(), tensor.detach().float(), atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((3, 8, 8), np.uint8), r"use array.transpose\(1, 2, 0\)"),
        (np.zeros(8, np.uint8), r"must be \(H, W\)"),
        (np.zeros((0, 8), np.uint8), "has no pixels"),
        (np.zeros((8, 8), bool), "of uint8, of uint16 or of floats .* not bool: use image"),
        (np.zeros((8, 8), np.int64), "not int64: divide it by the value of white"),
        (np.full((8, 8), 200.0), "values from 200 to 200, .*: use image / 255"),
        (np.linspace(-1, 1, 64).reshape(8, 8), r"use \(image \+ 1\) / 2"),
        (np.full((8, 8), np.nan), "repair"),
    ],
)
def test_an_array_of_another_kind_is_refused_with_a_remedy(array: Any, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        from_array(array)


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (torch.zeros(8, 8), r"use image\[None\]"),
        (torch.zeros(8, 8, 3), r"use image.permute\(2, 0, 1\)"),
        (torch.zeros(4, 8, 8), r"leave out alpha: image\[:3\]"),
        (torch.zeros(1, 2, 3, 8, 8), "or a batch of these"),
        (torch.zeros(3, 8, 8, dtype=torch.int64), "not int64"),
        (torch.full((3, 8, 8), 255.0), "use image / 255"),
    ],
)
def test_a_tensor_of_another_kind_is_refused_with_a_remedy(
    tensor: torch.Tensor, message: str
) -> None:
    with pytest.raises(ImageError, match=message):
        from_tensor(tensor)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (Image.new("I", (8, 8)), "of mode I has no value of white; convert it"),
        (Image.new("F", (8, 8), 7.0), "of mode F has values from 7 to 7; scale them"),
        (Image.new("RGB", (0, 8)), "has no pixels"),
    ],
)
def test_a_mode_that_says_too_little_is_refused(image: Image.Image, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        from_pillow(image)
