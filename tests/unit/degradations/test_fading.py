import pytest
import torch
from repository import EXAMPLES

from d2ir_pl.degradations import Fading
from d2ir_pl.diagnosis.fading import fading
from d2ir_pl.estimators.tones import tones
from d2ir_pl.image_io import read_image


def photo() -> torch.Tensor:
    return read_image(EXAMPLES / "clean" / "coffee.png").pixels[None]


def test_intensities_of_each_channel_are_scaled_and_shifted() -> None:
    x, family = photo(), Fading()
    phi = family.draw([torch.Generator().manual_seed(0)], x)
    y = (family(x, phi) + 1) / 2
    contrast, offset = phi["log_contrast"].exp(), phi["offset"]
    expected = contrast[..., None, None] * (x + 1) / 2 + offset[..., None, None]
    assert torch.allclose(y, expected, atol=1e-6)
    assert torch.allclose(family.lift(family(x, phi), phi), x, atol=1e-5)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_faded_photo_gets_its_range_back_and_is_recognised(seed: int) -> None:
    x, family = photo(), Fading()
    phi = family.draw([torch.Generator().manual_seed(seed)], x)
    y = family(x, phi)
    lifted = family.lift(y, family.init(y, torch.zeros(1)))
    assert float((lifted - x).abs().mean()) < 0.5 * float((y - x).abs().mean())
    black, white = tones(lifted[0]).black, tones(lifted[0]).white
    assert black == pytest.approx(0.07, abs=0.05)
    assert white == pytest.approx(0.9, abs=0.1)


def test_a_faded_print_is_told_and_others_are_not() -> None:
    x = photo()
    phi = (
        Fading()
        .draw([torch.Generator().manual_seed(0)], x)
        .replace(
            log_contrast=torch.tensor([[0.45, 0.42, 0.38]]).log(),
            offset=torch.tensor([[0.35, 0.31, 0.24]]),
        )
    )
    assert fading(tones(Fading()(x, phi)[0])).config == "faded"
    for name in ("astronaut", "chelsea", "coffee"):
        own = read_image(EXAMPLES / "clean" / f"{name}.png").pixels
        assert fading(tones(own)).config == ""
