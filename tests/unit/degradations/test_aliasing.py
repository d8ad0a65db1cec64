"""Small photos that were made without anti-aliasing."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from d2ir_pl import restore
from d2ir_pl.degradations import Downsampling
from d2ir_pl.diagnosis.aliased import ALIASED
from d2ir_pl.estimators.aliasing import aliasing_odds
from d2ir_pl.image_io import read_image
from d2ir_pl.restoration import D2IR, DegradationEstimation
from d2ir_pl.results.metrics import psnr

EXAMPLES = ("astronaut", "chelsea", "coffee")


def clean(name: str, side: int = 256) -> Tensor:
    x = read_image(Path("examples/clean") / f"{name}.png").pixels[None]
    top, left = ((n - side) // 2 for n in x.shape[-2:])
    return x[..., top : top + side, left : left + side]


def smaller(x: Tensor, antialias: bool, factor: int = 4) -> Tensor:
    """A photo in 8 bits, in [0, 1]."""
    y = F.interpolate(x, scale_factor=1 / factor, mode="bicubic", antialias=antialias)
    return ((y.clamp(-1, 1) + 1) * 127.5).round()[0] / 255


def test_aliasing_is_told_by_spectrum_and_edges() -> None:
    for name in EXAMPLES:
        smooth, aliased = (
            aliasing_odds(2 * smaller(clean(name), antialias) - 1, 4) for antialias in (True, False)
        )
        assert smooth < -3
        assert aliased > ALIASED


def test_what_says_nothing_is_not_called_aliased() -> None:
    noise = torch.randn(3, 48, 48, generator=torch.Generator().manual_seed(0))
    for y in (torch.zeros(3, 48, 48), 0.05 * noise, torch.zeros(3, 9, 60)):
        assert aliasing_odds(y, 4) <= ALIASED


def test_an_aliased_photo_is_told_where_it_is_not_restored_otherwise() -> None:
    photos = [smaller(clean("coffee"), antialias) for antialias in (True, False)]
    quick = D2IR(DegradationEstimation(start=100, steps=1, cg_iterations=1), stages="estimation")
    told = [restore(y, Downsampling(4), quick).reasons for y in photos]
    assert [any("super_resolution_aliased" in reason for reason in own) for own in told] == [0, 1]
    again = restore(photos[1], Downsampling(4, "nearest"), quick)
    assert not any("super_resolution_aliased" in reason for reason in again.reasons)


@pytest.mark.slow
def test_an_aliased_photo_is_restored_better_than_enlarged() -> None:
    x = clean("coffee", 128)
    y = smaller(x, antialias=False)
    restored = restore(y, "super_resolution_aliased").restoration.x0
    enlarged = F.interpolate(2 * y[None] - 1, scale_factor=4, mode="bicubic").clamp(-1, 1)
    assert float(psnr(restored, x)) > float(psnr(enlarged, x))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["astronaut", "coffee"])
@pytest.mark.parametrize("antialias", [True, False])
def test_the_config_finds_how_a_photo_was_made_smaller(name: str, antialias: bool) -> None:
    x = clean(name, 128)
    y = smaller(x, antialias)
    result = restore(y, "super_resolution_x4")
    enlarged = F.interpolate(2 * y[None] - 1, scale_factor=4, mode="bicubic").clamp(-1, 1)
    assert float(psnr(result.restoration.x0, x)) > float(psnr(enlarged, x))
    assert any("without anti-aliasing" in reason for reason in result.reasons) != antialias
    assert f"kernel {'bicubic' if antialias else 'bilinear_aliased'}" in repr(result)
