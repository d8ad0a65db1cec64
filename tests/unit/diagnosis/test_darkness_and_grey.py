"""What looks like damage and may be meant so: dark grounds, and the texture of grey scenes."""

import pytest
import torch
from repository import EXAMPLES

from d2ir_pl.diagnosis.darkness import darkness
from d2ir_pl.diagnosis.opinion import COLOURED, _allowed
from d2ir_pl.diagnosis.proposal import propose
from d2ir_pl.estimators.exposure import Exposure
from d2ir_pl.estimators.noise_reading import read_spectrum
from d2ir_pl.image_io import read_image
from d2ir_pl.operators.encoding import from_light, to_light
from d2ir_pl.restoration.configs import load


@pytest.mark.parametrize(("brightest", "expected"), [(0.3, "low_light"), (0.9, "")])
def test_a_lit_subject_before_a_dark_ground_is_not_too_dark(
    brightest: float, expected: str
) -> None:
    light = Exposure(-2.0, -2.7, 1.0, 0.05, brightest)
    assert darkness(light).config == expected
    assert darkness(Exposure(-3.5, -3.5, 1.0, 0.05, brightest)).config == "low_light", "a street"


@pytest.mark.parametrize("grey", [False, True])
def test_coarse_noise_that_no_colour_confirms_is_doubted_as_white_noise_is(grey: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    photo = torch.nn.functional.interpolate(
        0.3 * torch.randn(1, 3, 64, 64, generator=generator), size=(192, 192), mode="bicubic"
    )
    photo = photo.mean(1, keepdim=True).expand_as(photo).contiguous() if grey else photo
    spectrum = read_spectrum(photo)
    assert spectrum is not None
    assert spectrum.coloured
    assert spectrum.confirmed is not grey
    assert (_allowed(photo, False) >= COLOURED) is not grey


def test_a_dark_photo_of_a_coloured_scene_keeps_its_colours() -> None:
    colours = torch.tensor([0.9, 0.55, 0.3])[:, None, None]
    photograph = read_image(EXAMPLES / "clean" / "coffee.png").pixels
    scene = colours * (photograph + 1) / 2
    y = 2 * from_light(0.04 * to_light(scene)) - 1
    proposal = propose(y)
    assert "Light" in proposal.kinds
    light = load(proposal.config, proposal.overrides).degradation
    phi = light.init(y[None], torch.zeros(1))
    bright = (light.lift(y[None], phi)[0] + 1) / 2
    # The lights of the channels have the ratios that those of the scene have, but for what lies
    # next to black, whose colours are not believed.
    whole = (bright < 0.99).all(0) & ((y.mean(0) + 1) / 2 > 8 / 255)
    assert float(whole.float().mean()) > 0.25
    ratios = to_light(bright)[:, whole].mean(1) / to_light(scene)[:, whole].mean(1)
    assert float(ratios.max() / ratios.min()) < 1.02
