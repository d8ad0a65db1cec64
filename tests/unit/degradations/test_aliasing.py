"""Small photos that were made without anti-aliasing."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from d2ir_pl import restore
from d2ir_pl.degradations import Downsampling
from d2ir_pl.degradations.downsampling import ALIASED
from d2ir_pl.estimators.aliasing import aliasing_evidence
from d2ir_pl.image_io import Photo, read_image
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


def test_aliasing_is_told_by_the_spectrum() -> None:
    for name in EXAMPLES:
        smooth, aliased = (
            aliasing_evidence(2 * smaller(clean(name), antialias) - 1, 4)
            for antialias in (True, False)
        )
        assert smooth < -20
        assert aliased > 0


def test_what_says_nothing_is_not_called_aliased() -> None:
    noise = torch.randn(3, 48, 48, generator=torch.Generator().manual_seed(0))
    for y in (torch.zeros(3, 48, 48), 0.05 * noise, torch.zeros(3, 9, 60)):
        assert aliasing_evidence(y, 4) <= ALIASED


def test_an_aliased_photo_is_told_where_none_is_expected() -> None:
    photos = [Photo(2 * smaller(clean("coffee"), antialias) - 1) for antialias in (True, False)]
    degradation = Downsampling(4)
    assert [len(degradation.for_images([p], ["a"]).reasons) for p in photos] == [0, 1]
    assert "super_resolution_aliased" in degradation.for_images(photos, ["a", "b"]).reasons[0]
    assert degradation.for_images(photos[1:], ["a"], degraded=False).reasons == ()
    assert Downsampling(4, "nearest").for_images(photos[1:], ["a"]).reasons == ()
    assert degradation.reasons == ()


@pytest.mark.slow
def test_an_aliased_photo_is_restored_better_than_enlarged() -> None:
    x = clean("coffee", 128)
    y = smaller(x, antialias=False)
    restored = restore(y, "super_resolution_aliased").restoration.x0
    enlarged = F.interpolate(2 * y[None] - 1, scale_factor=4, mode="bicubic").clamp(-1, 1)
    assert float(psnr(restored, x)) > float(psnr(enlarged, x))
