"""Impulses are found in photos that have them, and in no others."""

import math

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageFont
from repository import ROOT
from torch import Tensor

from d2ir_pl import restore
from d2ir_pl.diagnosis.observed import observed_pixels
from d2ir_pl.estimators.impulses import impulses
from d2ir_pl.image_io import Photo

CLEAN = sorted((ROOT / "examples" / "clean").glob("*.png"))


def photo(name: str = "chelsea", size: int = 128) -> Tensor:
    image = Image.open(ROOT / "examples" / "clean" / f"{name}.png").convert("RGB")
    pixels = np.asarray(image)[40 : 40 + size, 40 : 40 + size]
    return from_bytes(pixels)


def from_bytes(pixels: np.ndarray) -> Tensor:
    return torch.from_numpy(np.array(pixels)).permute(2, 0, 1).float() / 127.5 - 1


def eight_bits(y: Tensor) -> Tensor:
    return ((y.clamp(-1, 1) + 1) * 127.5).round() / 127.5 - 1


def struck(x: Tensor, kind: str, share: float) -> tuple[Tensor, Tensor]:
    """A photo with impulses, and `(1, H, W)` where they are."""
    g = torch.Generator().manual_seed(0)
    where = torch.rand(1, *x.shape[1:], generator=g) < share
    values = {
        "salt and pepper": (torch.rand(where.shape, generator=g) < 0.5).float() * 2 - 1,
        "any value": torch.rand(x.shape, generator=g) * 2 - 1,
        "dead": torch.ones(1, 1, 1),
    }
    return eight_bits(torch.where(where, values[kind], x)), where.float()


@pytest.mark.parametrize("file", CLEAN, ids=lambda file: str(file.stem))
@pytest.mark.parametrize("sigma", [0.0, 0.1])
def test_photos_have_none_noisy_or_not(file: object, sigma: float) -> None:
    x = from_bytes(np.asarray(Image.open(str(file)).convert("RGB")))
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    assert impulses(eight_bits(x + 2 * sigma * noise)) is None


@pytest.mark.parametrize("size", [8, 10, 12, 14, 20])
@pytest.mark.parametrize("noise", [0, 3])
def test_print_has_none(size: int, noise: int) -> None:
    image = Image.new("RGB", (300, 200), "white")
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(size)
    for top in range(2, 200, size + 4):
        draw.text((3, top), "Fox, jumps: over... i.j.k. lazy; " * 3, fill="black", font=font)
    noisy = np.asarray(image) + noise * np.random.default_rng(0).normal(size=(200, 300, 3))
    assert impulses(eight_bits(from_bytes(noisy))) is None


def test_stars_are_none() -> None:
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:200, :200]
    sky = rng.normal(8, 3, (200, 200, 3))
    for _ in range(150):
        v, u = rng.uniform(3, 197, 2)
        star = np.exp(-((rows - v) ** 2 + (columns - u) ** 2) / 2 / 0.7**2)
        sky += 60 * rng.pareto(1.5) * star[..., None]
    assert impulses(eight_bits(from_bytes(sky))) is None


@pytest.mark.parametrize(
    ("kind", "share"),
    [
        ("dead", 0.002),
        ("dead", 0.02),
        ("salt and pepper", 0.002),
        ("salt and pepper", 0.05),
        ("salt and pepper", 0.5),
        ("any value", 0.002),
        ("any value", 0.1),
    ],
)
def test_most_impulses_are_found_and_little_else(kind: str, share: float) -> None:
    x = photo()
    y, where = struck(x, kind, share)
    found = impulses(y)
    assert found is not None
    plain = where * ((y - x).abs().amax(0, keepdim=True) > 0.6)
    # A few of any value are told from texture only where that is weak.
    enough = 0.45 if share < 0.01 and kind == "any value" else 0.7
    assert float((found * plain).sum()) > enough * float(plain.sum())
    assert float((found * (1 - where)).sum()) < 0.02 * found.numel()


def test_tiny_photos_have_none() -> None:
    assert impulses(torch.rand(3, 4, 90)) is None


def test_impulses_are_unobserved_and_so_is_what_is_transparent() -> None:
    y, where = struck(photo(), "dead", 0.02)
    alpha = torch.ones(1, 128, 128)
    alpha[..., 90:] = 0
    hidden = torch.rand(y.shape, generator=torch.Generator().manual_seed(1)) * 2 - 1
    mixed = torch.where(alpha == 1, y, hidden)
    observed, _, findings = observed_pixels(Photo(mixed, alpha), mixed)
    assert observed is not None
    assert "impulses" in findings[0]
    assert float(observed[..., 90:].max()) == 0
    assert float((observed * where)[..., :88].sum()) < 0.2 * float(where[..., :88].sum())
    assert observed_pixels(Photo(photo()), photo()) == (None, None, ())


@pytest.mark.slow
@pytest.mark.parametrize("config", ["denoising", "auto"])
def test_impulses_are_filled_in_better_than_a_median_does(tmp_path: object, config: str) -> None:
    x = photo(size=96)
    y, _ = struck(x, "salt and pepper", 0.05)
    path = f"{tmp_path}/y.png"
    Image.fromarray(((y + 1) * 127.5).round().permute(1, 2, 0).byte().numpy()).save(path)
    result = restore(path, config)
    assert any("impulses" in reason for reason in result.reasons)
    padded = torch.nn.functional.pad(y[None], (1, 1, 1, 1), mode="reflect")
    median = padded.unfold(2, 3, 1).unfold(3, 3, 1).flatten(4).median(-1).values[0]

    def psnr(a: Tensor) -> float:
        return -10 * math.log10(float((a - x).square().mean()) / 4)

    assert psnr(result.restoration.x0[0]) > psnr(median) + 3
