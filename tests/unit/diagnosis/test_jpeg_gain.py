"""What `auto` makes of JPEG files is nearer to what was photographed than the file is."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from repository import EXAMPLES
from scipy.ndimage import gaussian_filter

from d2ir_pl import restore

CORNER = (5, 3)


def scene(name: str) -> np.ndarray:
    """A part of an example photo, `(112, 112, 3)` in [0, 1]."""
    whole = Image.open(EXAMPLES / "clean" / f"{name}.png").convert("RGB")
    return np.asarray(whole).astype(float)[72:184, 72:184] / 255


def photographed(x: np.ndarray, width: float, sigma: float) -> Image.Image:
    y = gaussian_filter(x, (width, width, 0), mode="reflect")
    y = y + np.random.default_rng(0).normal(size=y.shape) * sigma
    return Image.fromarray((y.clip(0, 1) * 255).round().astype(np.uint8))


def psnr(image: Image.Image, x: np.ndarray) -> float:
    error = np.asarray(image.convert("RGB")) / 255 - x
    return float(-10 * np.log10(np.mean(error**2)))


def gain(path: Path, x: np.ndarray) -> float:
    """What `auto` gains in dB."""
    return psnr(restore(path, "auto").image, x) - psnr(Image.open(path), x)


@pytest.mark.parametrize(
    "quality",
    [90, *(pytest.param(quality, marks=pytest.mark.thorough) for quality in (85, 95))],
)
def test_a_blurred_jpeg_gains(quality: int, tmp_path: Path) -> None:
    x = scene("coffee")
    photographed(x, 1.6, 0.01).save(tmp_path / "photo.jpg", quality=quality)
    assert gain(tmp_path / "photo.jpg", x) > 1.5


def test_a_blurred_jpeg_that_was_cropped_and_compressed_again_gains(tmp_path: Path) -> None:
    x = scene("chelsea")
    photographed(x, 1.6, 0.03).save(tmp_path / "first.jpg", quality=80)
    cropped = Image.open(tmp_path / "first.jpg").crop((*CORNER, 112, 112))
    cropped.save(tmp_path / "photo.jpg", quality=90)
    assert gain(tmp_path / "photo.jpg", x[CORNER[1] :, CORNER[0] :]) > 0.5


@pytest.mark.parametrize("kind", ["rgb", "cmyk"])
def test_a_sharp_jpeg_of_other_colours_does_not_lose(kind: str, tmp_path: Path) -> None:
    x = scene("chelsea")
    picture = photographed(x, 0, 0)
    if kind == "cmyk":
        picture.convert("CMYK").save(tmp_path / "photo.jpg", quality=90)
    else:
        picture.save(tmp_path / "photo.jpg", quality=90, keep_rgb=True)
    assert gain(tmp_path / "photo.jpg", x) > -0.1
