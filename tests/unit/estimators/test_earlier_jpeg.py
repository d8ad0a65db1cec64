"""The grid of an earlier JPEG is found where a photo was cropped after it, and nowhere else."""

import io

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter
from repository import EXAMPLES
from torch import Tensor

from d2ir_pl.estimators.earlier_jpeg import earlier_grid
from d2ir_pl.operators.jpeg_transform import standard_tables


def photo(name: str, sigma: float = 0.0) -> Image.Image:
    """A part of an example photo, with white noise."""
    whole = Image.open(EXAMPLES / "clean" / f"{name}.png").convert("RGB").crop((64, 64, 200, 200))
    noise = np.random.default_rng(0).normal(size=(136, 136, 3)) * 255 * sigma
    return Image.fromarray((np.asarray(whole) + noise).clip(0, 255).round().astype(np.uint8))


def compressed(image: Image.Image, quality: int) -> Image.Image:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=quality)
    return Image.open(stream).convert("RGB")


def pixels(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.asarray(image) / 127.5 - 1).permute(2, 0, 1)


@pytest.mark.parametrize("corner", [(5, 3), (0, 6), (1, 0)])
@pytest.mark.parametrize("sigma", [0.0, 0.03])
def test_the_grid_is_found_after_a_crop_and_another_compression(
    corner: tuple[int, int], sigma: float
) -> None:
    across, down = corner
    cropped = compressed(photo("coffee", sigma), 80).crop((across, down, 136, 136))
    expected = (-down % 8, -across % 8)
    assert earlier_grid(pixels(cropped)) == expected
    assert earlier_grid(pixels(compressed(cropped, 90))) == expected


@pytest.mark.parametrize("name", ["coffee", "astronaut", "chelsea"])
@pytest.mark.parametrize("sigma", [0.0, 0.03])
def test_no_grid_is_found_in_what_was_compressed_at_most_once(name: str, sigma: float) -> None:
    image = photo(name, sigma)
    assert earlier_grid(pixels(image)) is None
    for quality in (75, 90):
        assert earlier_grid(pixels(compressed(image, quality))) is None


@pytest.mark.parametrize("radius", [1.0, 2.0, 4.0])
@pytest.mark.parametrize("quality", [50, 60, 75])
def test_no_grid_is_found_in_poor_jpegs_of_blurred_photos(radius: float, quality: int) -> None:
    table = standard_tables(torch.tensor(quality))[0]
    for name in ("coffee", "astronaut", "chelsea"):
        blurred = photo(name).filter(ImageFilter.GaussianBlur(radius))
        assert earlier_grid(pixels(compressed(blurred, quality)), table) is None


def test_a_finer_compression_before_leaves_nothing_to_be_found() -> None:
    cropped = compressed(photo("coffee"), 92).crop((5, 3, 136, 136))
    table = standard_tables(torch.tensor(75))[0]
    assert earlier_grid(pixels(compressed(cropped, 75)), table) is None


def test_a_coarser_compression_before_is_found_with_the_table_of_the_file() -> None:
    cropped = compressed(photo("coffee"), 70).crop((5, 3, 136, 136))
    table = standard_tables(torch.tensor(85))[0]
    assert earlier_grid(pixels(compressed(cropped, 85)), table) == (5, 3)


@pytest.mark.parametrize("size", [8, 16])
def test_photos_of_a_few_blocks_show_none(size: int) -> None:
    assert earlier_grid(pixels(compressed(photo("coffee"), 50).crop((3, 3, size, size)))) is None
