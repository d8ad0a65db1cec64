import math
from typing import Any

import numpy as np
import pytest
import torch
from repository import EXAMPLES

from d2ir_pl.degradations import Light, Phi
from d2ir_pl.degradations.light import Scales
from d2ir_pl.degradations.shadows import UNSURE, faded_shadows
from d2ir_pl.diagnosis.darkness import darkness
from d2ir_pl.estimators.exposure import exposure
from d2ir_pl.image_io import read_image
from d2ir_pl.operators.encoding import from_light, to_light


def photos(count: int = 2, size: int = 48) -> torch.Tensor:
    """Patterns whose intensities fill most of [0, 1], as those of photographs do."""
    rows = torch.arange(size)[:, None] / 7.0
    columns = torch.arange(size) / 5.0
    phase = torch.arange(3 * count).view(count, 3, 1, 1) / 3
    return 0.85 * torch.sin(rows + phase) * torch.cos(columns - phase)


def phi_of(gain: float, count: int = 2, **others: torch.Tensor) -> Phi:
    return Phi(log_gain=torch.full((count, 1), math.log(gain)), **others)


def test_intensities_are_scaled_and_shifted() -> None:
    x = photos()
    shift = torch.full((2, 4, 4), 5.0)
    y = Light(map_size=4)(x, phi_of(0.25, map=shift))
    assert torch.allclose((y + 1) / 2, 0.25 * (x + 1) / 2 + 0.05, atol=1e-6)


def test_a_gamma_is_a_power_of_the_intensities() -> None:
    x = photos()
    y = Light(map_size=0, gamma=True)(x, phi_of(0.5, log_gamma=torch.tensor([2.0, 0.5]).log()))
    intensity = (x + 1) / 2
    assert torch.allclose((y[0] + 1) / 2, 0.5 * intensity[0] ** 2, atol=1e-5)
    assert torch.allclose((y[1] + 1) / 2, 0.5 * intensity[1].sqrt(), atol=1e-2)


def test_the_map_is_smooth() -> None:
    light = Light(map_size=8)
    grid = torch.zeros(1, 8, 8)
    grid[0, 3, 4] = 10.0
    black = torch.full((1, 3, 64, 64), -1.0)
    surface = (light(black, phi_of(0.3, 1, map=grid)) + 1) / 2
    assert float(surface.max()) > 0.05
    # No step is larger than the cell's height over a quarter of its width.
    assert float(surface.diff(dim=-1).abs().max()) < 0.1 / 2


@pytest.mark.parametrize("gamma", [False, True])
def test_lift_inverts_what_the_light_did(gamma: bool) -> None:
    light = Light(gamma=gamma)
    x = photos()
    phi = phi_of(0.3, map=torch.full((2, 8, 8), 1.0))
    if gamma:
        phi = phi.replace(log_gamma=torch.tensor([0.2, -0.2]))
    assert torch.allclose(light.lift(light(x, phi), phi), x, atol=1e-4)


@pytest.mark.parametrize("scales", ["encoded", "light", "auto"])
def test_lift_inverts_an_exposure(scales: Scales) -> None:
    light = Light(map_size=0, per_channel=True, scales=scales)
    x = photos()
    generators = [torch.Generator().manual_seed(b) for b in range(2)]
    phi = light.draw(generators, x)
    assert torch.allclose(light.lift(light(x, phi), phi), x, atol=1e-4)


def test_an_exposure_scales_linear_light() -> None:
    x = photos()
    y = Light(gain=0.05, map_size=0, scales="light")
    dark = (y(x, y.init(x, torch.zeros(2))) + 1) / 2
    decoded = np.where(dark > 0.04045, ((dark + 0.055) / 1.055) ** 2.4, dark / 12.92)
    before = (x + 1) / 2
    light = np.where(before > 0.04045, ((before + 0.055) / 1.055) ** 2.4, before / 12.92)
    assert np.allclose(decoded, 0.05 * light, atol=1e-5)


@pytest.mark.parametrize("gain", [0.01, 0.03, 0.1])
def test_the_exposure_of_a_photo_that_has_lamps_is_found(gain: float) -> None:
    x = read_image(EXAMPLES / "clean" / "coffee.png").pixels[None]
    light = Light(map_size=0, scales="auto")
    phi = Phi(log_gain=torch.tensor([[math.log(gain)]]), linear=torch.ones(1))
    dark = light(x, phi)
    dark[..., 10:30, 10:30] = 1.0
    start = light.init(dark, torch.zeros(1))
    usual = Light(map_size=0, scales="light").init(x, torch.zeros(1))
    assert float(start["linear"]) == 1
    assert float(start["log_gain"] - usual["log_gain"]) == pytest.approx(math.log(gain), abs=0.35)
    assert light.describe(start)[0]["scales"] == "light"


@pytest.mark.parametrize("side", [64, 128])
def test_what_was_scaled_is_told_better_than_by_a_coin(side: int) -> None:
    """Under even and uneven light; few photos are told, and only then light is believed."""
    found = {scales: Light(map_size=0, scales=scales) for scales in ("auto", "encoded", "light")}
    psnr: dict[str, list[float]] = {scales: [] for scales in found}
    for file in sorted((EXAMPLES / "clean").glob("*.png")):
        whole = read_image(file).pixels
        parts = [whole[:, i:, j:][:, :side, :side] for i in (0, -side) for j in (0, -side)]
        clean = torch.stack(parts)
        scene = (clean + 1) / 2
        slope = torch.linspace(-1, 1, scene.shape[-1])
        for shape in (0 * slope, 0.3 * slope, -0.5 * slope**2):
            darkened = [gain * shape.exp() * scene for gain in (0.2, 0.3)]
            darkened += [
                from_light(gain * (2.2 * shape).exp() * to_light(scene)) for gain in (0.02, 0.06)
            ]
            for dark in darkened:
                y = (255 * dark).round().clamp(0, 255) / 127.5 - 1
                for scales, light in found.items():
                    lifted = light.lift(y, light.init(y, torch.zeros(len(y))))
                    errors = ((lifted - clean) / 2).square().mean((1, 2, 3))
                    psnr[scales].append(float(-10 * errors.log10().mean()))
    guessed, stored, linear = (sum(psnr[k]) / len(psnr[k]) for k in ("auto", "encoded", "light"))
    assert guessed > (stored + linear) / 2


def test_a_small_photo_is_less_readily_taken_for_scaled_light() -> None:
    """A wrong guess of stored values costs less, and a small photo tells less."""
    tile = read_image(EXAMPLES / "clean" / "coffee.png").pixels[:, :64, :64] / 4 - 0.75
    small, large = exposure(tile), exposure(tile.tile(1, 4, 4))
    assert small.log_gain == pytest.approx(large.log_gain, abs=1e-3)
    assert small.on_light < large.on_light


@pytest.mark.parametrize("gain", [0.2, 1.0])
def test_stars_on_an_even_ground_are_a_night_sky(gain: float) -> None:
    """A day scene in little light keeps differences between its parts; a sky has none."""
    g = torch.Generator().manual_seed(0)
    sky = 0.05 + 0.005 * torch.randn(3, 128, 128, generator=g)
    at = torch.randint(0, 128, (2, 60), generator=g)
    sky[:, at[0], at[1]] = 0.8
    dark = 2 * gain * sky - 1
    light = Light(map_size=0, scales="auto")
    assert exposure(dark).starry
    assert not darkness(exposure(dark)).config
    assert float(light.init(dark[None], torch.zeros(1))["linear"]) == 0
    day = read_image(EXAMPLES / "clean" / "coffee.png").pixels
    scene = light(day[None], Phi(log_gain=torch.tensor([[-3.0]]), linear=torch.ones(1)))[0]
    scene[:, at[0], at[1]] = 1.0
    assert not exposure(scene).starry
    assert darkness(exposure(scene)).config == "low_light"


def test_what_is_brighter_than_white_is_explained_by_white() -> None:
    light = Light(gain=0.05, map_size=0, scales="light")
    x = photos()
    phi = light.init(x, torch.zeros(2))
    x[..., 10:20, 10:20] = 1.0
    y = light(x, phi)
    assert torch.allclose(light.residual(y, light(x, phi), phi), torch.zeros_like(y), atol=1e-6)
    y[..., 10:20, 10:20] = 0.8  # a lamp
    assert torch.allclose(light.residual(y, light(x, phi), phi), torch.zeros_like(y), atol=1e-6)
    y[..., 30:40, 30:40] -= 0.1
    assert float(light.residual(y, light(x, phi), phi).abs().max()) > 0.05


def test_half_of_the_colour_of_a_light_is_taken_off() -> None:
    x = read_image(EXAMPLES / "clean" / "coffee.png").pixels[None]
    light = Light(map_size=0, per_channel=True, scales="light")
    tint = torch.tensor([[0.05, 0.03, 0.02]]).log()
    dark = light(x, Phi(log_gain=tint))
    found = light.init(dark, torch.zeros(1))["log_gain"] - light.init(x, torch.zeros(1))["log_gain"]
    own, true = found - found.mean(), tint - tint.mean()
    assert torch.allclose(own, true / 2, atol=0.08)


@pytest.mark.parametrize("gain", [0.1, 0.25, 0.6])
def test_the_start_scales_with_the_gain_and_is_near_it_for_photos(gain: float) -> None:
    light = Light()
    x = photos()
    y = light(x, light._phi(torch.full((2, 1), math.log(gain))))
    noisy = y + 0.02 * torch.randn(y.shape, generator=torch.Generator().manual_seed(0))
    start = light.init(noisy, torch.full((2,), 0.02))
    assert torch.allclose(start["log_gain"].exp(), torch.tensor(gain), rtol=0.25)
    assert float(start["map"].abs().max()) == 0


def test_a_gain_per_channel_follows_the_colour_of_the_light() -> None:
    light = Light(per_channel=True, map_size=0)
    truth = Phi(log_gain=torch.tensor([[0.4, 0.2, 0.1]]).log())
    x = photos(1)
    start = light.init(light(x, truth), torch.zeros(1))["log_gain"]
    reference = light.init(x, torch.zeros(1))["log_gain"]
    assert torch.allclose(start - reference, truth["log_gain"], atol=1e-4)


def test_a_black_photo_has_a_finite_start() -> None:
    black = torch.full((1, 3, 16, 16), -1.0)
    light = Light()
    phi = light.init(black, torch.zeros(1))
    assert bool(light.lift(black, phi).isfinite().all())


def test_a_known_gain_is_used_and_not_estimated() -> None:
    light = Light(0.2)
    phi = light.init(photos(), torch.zeros(2))
    assert torch.allclose(phi["log_gain"].exp(), torch.tensor(0.2))
    assert light.free(phi) == ["map"]
    known = Light(0.2, map_size=0)
    assert not known.estimated
    assert known.free(known.init(photos(), torch.zeros(2))) == []


def test_the_anchor_is_in_units_of_the_scatter_of_brightness() -> None:
    light = Light(map_size=0)
    start, moved = phi_of(0.2), phi_of(0.2 * math.exp(0.14))
    assert torch.allclose(light.anchor(moved, start), torch.ones(2), atol=1e-5)


def test_descent_on_the_residual_finds_gain_and_map_of_a_known_scene() -> None:
    light = Light(map_size=4)
    x = photos()
    truth = phi_of(0.3, map=2 * torch.randn(2, 4, 4, generator=torch.Generator().manual_seed(1)))
    y = light(x, truth)
    start = light.init(y, y.new_ones(2))
    phi = start.leaves(start)
    optimizer = torch.optim.LBFGS(list(phi.values()), line_search_fn="strong_wolfe", max_iter=100)

    def loss() -> float:
        optimizer.zero_grad()
        value = 1e3 * light.residual(y, light(x, phi), phi).square().sum()
        value.backward()
        return float(value)

    optimizer.step(loss)
    for name, value in truth.items():
        assert torch.allclose(phi[name], value, atol=3e-2), name


@pytest.mark.parametrize(
    "arguments",
    [{"gain": 0.0}, {"gain": -1.0}, {"map_size": -1}, {"draw_gain": (0.3, 0.1)}, {"scales": "log"}],
)
def test_settings_out_of_range_are_refused(arguments: Any) -> None:
    with pytest.raises(ValueError, match=next(iter(arguments))):
        Light(**arguments)


@pytest.mark.parametrize("level", [0.5, 2, 8, 40])
def test_colours_fade_next_to_black_alone(level: float) -> None:
    tint = torch.tensor([-0.3, 0.3, -0.3]).view(1, 3, 1, 1)
    flat = level / 255 * torch.ones(1, 3, 16, 16)
    stored = (
        flat + tint.sub(tint.mul(torch.tensor([0.299, 0.587, 0.114]).view_as(tint)).sum()) / 255
    )
    found = (faded_shadows(2 * stored - 1) + 1) / 2
    weights = torch.tensor([0.299, 0.587, 0.114])
    grey = torch.einsum("c,bchw->bhw", weights, stored)
    assert torch.allclose(torch.einsum("c,bchw->bhw", weights, found), grey, atol=1e-6)
    share = 1 - 2 ** -((level / 255 / UNSURE) ** 2)
    assert torch.allclose(found - grey[:, None], share * (stored - grey[:, None]), atol=1e-6)


def test_a_wrong_black_level_tints_no_shadow_of_a_short_exposure() -> None:
    """Half a level more in green; told a gain, nothing is changed."""
    scene = torch.full((1, 3, 64, 64), 0.15)
    scene[..., 32:] = 0.9
    told = Light(gain=1 / 80, map_size=0, scales="light")
    dark = told(2 * scene - 1, told.init(scene, torch.zeros(1)))
    dark[:, 1] += 1 / 255
    found = Light(map_size=0, scales="light")
    phi = told.init(dark, torch.zeros(1))
    excess = [
        float((image[:, 1] - image[:, 0])[..., 2:28].mean())
        for image in (found.lift(dark, phi), told.lift(dark, phi))
    ]
    assert 0 < excess[0] < 0.6 * excess[1]
    bright = (found.lift(dark, phi) - told.lift(dark, phi))[..., 36:]
    assert float(bright.abs().max()) < 0.01
