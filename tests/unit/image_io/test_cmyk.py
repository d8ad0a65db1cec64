"""CMYK files become sRGB, through their profile where they have one."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from image_files import cmyk_profile, levels, noise
from PIL import Image

from d2ir_pl.image_io import read_image


@pytest.mark.parametrize("suffix", ["jpg", "tif"])
def test_cmyk_goes_through_its_profile(tmp_path: Path, suffix: str) -> None:
    inks = np.full((32, 256, 4), 90, np.uint8)
    inks[..., 3] = np.arange(256)
    path = tmp_path / f"inks.{suffix}"
    options: dict[str, Any] = {"quality": 100} if suffix == "jpg" else {}
    Image.fromarray(inks, "CMYK").save(path, icc_profile=cmyk_profile(), **options)
    photo = read_image(path)
    lightness = 100 * (1 - inks[..., 3:] / 255.0)
    luminance = np.where(lightness > 8, ((lightness + 16) / 116) ** 3, lightness * 27 / 24389)
    gamma = 1.055 * np.maximum(luminance, 0.0031308) ** (1 / 2.4) - 0.055
    expected = 255 * np.where(luminance > 0.0031308, gamma, 12.92 * luminance)
    assert np.abs(levels(photo) - expected).max() <= (5 if suffix == "jpg" else 2)
    assert photo.icc_profile is None
    assert "ICC" in photo.notes[0]


@pytest.mark.parametrize("profile", [None, b"no profile at all"])
def test_cmyk_without_usable_profile_is_the_product_of_its_inks(
    tmp_path: Path, profile: bytes | None
) -> None:
    inks = noise(8, 8, 4)
    path = tmp_path / "inks.tif"
    Image.fromarray(inks, "CMYK").save(path, icc_profile=profile)
    photo = read_image(path)
    transmitted = 1 - inks.astype(np.float64) / 255
    expected = 255 * transmitted[..., :3] * transmitted[..., 3:]
    assert np.abs(levels(photo) - expected).max() <= 1
    assert "approximately" in photo.notes[0]
    assert photo.icc_profile is None


def test_cmyk_jpeg_keeps_paper_white_and_ink_black(tmp_path: Path) -> None:
    inks = np.zeros((16, 32, 4), np.uint8)
    inks[:, 16:, 3] = 255
    path = tmp_path / "inks.jpg"
    Image.fromarray(inks, "CMYK").save(path, quality=95)
    values = levels(read_image(path))
    assert values[:, :16].min() > 250
    assert values[:, 16:].max() < 5


def test_sixteen_bit_cmyk_tiff_is_converted(tmp_path: Path) -> None:
    inks = noise(8, 8, 4, dtype=np.uint16)
    path = tmp_path / "inks.tif"
    tifffile.imwrite(path, inks, photometric="separated")
    photo = read_image(path)
    transmitted = 1 - inks.astype(np.float64) / 65535
    assert np.abs(levels(photo) - 255 * transmitted[..., :3] * transmitted[..., 3:]).max() <= 1.5
    assert photo.bit_depth == 8
