"""Light beyond white: it rings in no restoration, and is where it was before the blur."""

import math

import pytest
import torch
from shaken import corner, discs
from torch import Tensor

from d2ir_pl.degradations import Blur, Compose, Degradation, GaussianBlur, Jpeg, Phi
from d2ir_pl.diffusion.randomness import image_generator, normal_like
from d2ir_pl.operators.encoding import from_light
from d2ir_pl.priors import NetworkPrior
from d2ir_pl.restoration import (
    D2IR,
    DegradationEstimation,
    Problem,
    provenance,
    restore_samples,
)
from d2ir_pl.restoration.configs import load
from d2ir_pl.restoration.lamp_evidence import MOST
from d2ir_pl.restoration.lamps import Lamps, lamps
from d2ir_pl.restoration.result import LightsFound, Restoration

LAMPS = ((30, 25), (40, 90), (70, 60), (95, 30))
TOLD = Phi(logits=(corner()[None] + 1e-12).log())
KNOWN = Blur(21).told(TOLD)
METHOD = load("deblur").method
QUICK = D2IR(DegradationEstimation(data_weight=0.7), stages="estimation")
"""One stage, where nothing but noise is to be left unexplained, which need not be found."""


def scene(bright: float, seed: int = 3) -> Tensor:
    """A scene `(1, 3, 148, 148)` with lamps of so many whites, one of them yellow, in [0, inf)."""
    light = 0.1 + 0.5 * (discs(148, seed)[None] + 0.6) / 1.2
    margin = KNOWN.frame.before
    for row, column in LAMPS if bright else ():
        light[..., row + margin, column + margin] = bright
    if bright:
        row, column = LAMPS[0]
        light[:, 2, row + margin, column + margin] = 0.1
    return light


def photo(bright: float, degradation: Degradation = KNOWN, seed: int = 3) -> Tensor:
    x = 2 * scene(bright, seed) - 1
    blurred: Tensor = KNOWN(x, TOLD.broadcast(1, x))
    blurred = blurred + 0.01 * normal_like(blurred, [image_generator(seed, "lamps")])
    blurred = blurred.clamp(-1, 1)
    if isinstance(degradation, Compose):
        last = degradation.parts[1]
        blurred = last(blurred, last.draw([image_generator(0, "file")], blurred))
    return blurred


def problem(y: Tensor, degradation: Degradation = KNOWN) -> Problem:
    return Problem.of(y, degradation, [image_generator(0, str(b)) for b in range(len(y))])


def found(y: Tensor, degradation: Degradation = KNOWN) -> Lamps | None:
    asked = problem(y, degradation)
    return lamps(asked, asked.init())


def error(x: Tensor) -> float:
    """Root mean square error away from the lamps, in [0, 1]."""
    sharp = KNOWN.frame.crop(scene(0))
    ground = torch.ones(sharp.shape[-2:], dtype=torch.bool)
    for row, column in LAMPS:
        ground[row - 4 : row + 5, column - 4 : column + 5] = False
    return math.sqrt(float(((x + 1) / 2 - sharp)[0][:, ground].square().mean()))


@pytest.mark.parametrize(
    "degradation", [KNOWN, Compose([KNOWN, Jpeg(quality=85)])], ids=["blurred", "compressed"]
)
def test_lamps_ring_in_no_restoration(
    natural_small: NetworkPrior, degradation: Degradation
) -> None:
    y = photo(30.0, degradation)
    result = restore_samples(METHOD, 1, problem(y, degradation), natural_small)
    assert error(result.x0) < (0.6 if degradation is KNOWN else 0.85) * error(y)
    for row, column in LAMPS:
        spot = result.x0[0, :, row - 2 : row + 3, column - 2 : column + 3]
        assert float(spot[:2].amin(0).max()) > 0.9
    if degradation is KNOWN:  # the colours of a JPEG are coarse
        row, column = LAMPS[0]
        blue = result.x0[0, 2, row - 2 : row + 3, column - 2 : column + 3]
        assert float(blue.max()) < 0.5


def test_their_places_and_their_light_are_found() -> None:
    known = found(photo(15.0))
    assert known is not None
    for n, (row, column) in enumerate(LAMPS):
        spot = known.points[0, :, row - 3 : row + 4, column - 3 : column + 4]
        assert float(spot[0].sum()) > 8
        assert float(spot[2].sum()) < (1 if n == 0 else 20)
        at = divmod(int(spot[0].argmax()), 7)
        assert max(abs(at[0] - 3), abs(at[1] - 3)) <= 1
    assert 0.02 < float(known.hidden.mean()) < 0.2


@pytest.mark.parametrize("family", [KNOWN, GaussianBlur(width=2.0), GaussianBlur()])
def test_there_are_none_in_other_photos(family: Degradation) -> None:
    assert found(photo(0.0), family) is None


@pytest.mark.parametrize("quality", [80, 50])
def test_what_a_jpeg_leaves_of_white_things_is_no_lamp(quality: int) -> None:
    light = scene(0.0)
    for n in range(6):
        row = 14 + 20 * n
        light[..., row : row + 12, 20 + 9 * n : 80 + 8 * n] = 1.0
        light[..., row + 3 : row + 5, 30:60] = 0.05
    blur = Blur(21, response="srgb").told(TOLD)
    x, jpeg = 2 * from_light(light) - 1, Jpeg(quality=quality)
    y: Tensor = blur(x, TOLD.broadcast(1, x))
    y = (y + 0.01 * normal_like(y, [image_generator(0, "page")])).clamp(-1, 1)
    coded = jpeg(y, jpeg.draw([image_generator(0, "file")], y))
    for family in (blur, Compose([blur, jpeg])):  # whether or not that is told
        assert found(coded, family) is None


def test_a_white_window_is_no_lamp() -> None:
    x = 2 * scene(0.0) - 1
    x[..., 40:80, 30:90] = 1.0
    y: Tensor = KNOWN(x, TOLD.broadcast(1, x))
    y = y + 0.01 * normal_like(y, [image_generator(0, "window")])
    assert found(y.clamp(-1, 1)) is None


@pytest.mark.parametrize("white", [1.0, 3.0])
def test_a_sun_is_a_lamp_where_it_is_brighter_than_white(white: float) -> None:
    light, margin = scene(0.0), KNOWN.frame.before
    rows, columns = (torch.arange(n) - margin - 60 for n in light.shape[-2:])
    distance = (rows[:, None].square() + columns.square()).sqrt()
    light = torch.where(distance < 12, white, light + 0.5 * torch.exp(-distance / 20))
    y = spread(light)
    known = found(y)
    assert (known is not None) == (white > 1)
    if known is not None:
        assert 0 < float(known.hidden.mean()) < 0.2
        (lights,) = known.lights
        assert lights is not None
        assert lights.count == 1
        assert float(known.areas[0, :, 56:65, 56:65].min()) > 0.9


def spread(light: Tensor) -> Tensor:
    x = 2 * light - 1
    y: Tensor = KNOWN(x, TOLD.broadcast(1, x))
    return (y + 0.01 * normal_like(y, [image_generator(0, "spread")])).clamp(-1, 1)


@pytest.mark.parametrize("quality", [None, 80, 50])
@pytest.mark.parametrize("amount", [50.0, 500.0, 2000.0])
def test_each_saturated_trail_is_of_one_lamp(amount: float, quality: int | None) -> None:
    kernel = torch.zeros(21, 21)  # a camera that halts, moves on, and halts again
    kernel[10, 2:5], kernel[10, 5:11], kernel[10, 11:18] = 0.04, 0.005, 0.12
    uneven = Phi(logits=(kernel[None] + 1e-12).log())
    blur = Blur(21, response="srgb").told(uneven)
    light, margin = 0.1 * scene(0.0), blur.frame.before
    rows, columns = (torch.arange(n) - margin for n in light.shape[-2:])
    for row, column in LAMPS:
        squares = (rows[:, None] - row).square() + (columns - column).square()
        light = light + amount * torch.exp(-squares / 2) / (2 * math.pi)
    x = 2 * from_light(light) - 1
    y: Tensor = blur(x, uneven.broadcast(1, x))
    y = (y + 0.01 * normal_like(y, [image_generator(0, "trails")])).clamp(-1, 1)
    if quality is None:
        known = found(y, blur)
    else:
        jpeg = Jpeg(quality=quality)
        coded = jpeg(y, jpeg.draw([image_generator(0, "file")], y))
        known = found(coded, Compose([blur, jpeg]))
    assert known is not None
    (lights,) = known.lights
    assert lights is not None
    assert lights.count == len(LAMPS)
    lamp = (known.points + known.areas)[0].amax(0) > 0.2
    for row, column in LAMPS:
        assert bool(lamp[row - 1 : row + 2, column - 1 : column + 2].any())
        lamp[row - 6 : row + 7, column - 6 : column + 7] = False
    assert not bool(lamp.any())


@pytest.mark.parametrize("count", [40, 700])
def test_of_lamps_that_hide_too_much_the_brightest_are_kept(count: int) -> None:
    light, generator = 0.2 * scene(0.0), torch.Generator().manual_seed(0)
    rows, columns = (torch.randint(12, 136, (count,), generator=generator) for _ in range(2))
    light[..., rows, columns] = 10 + 90 * torch.rand(count, generator=generator)
    known = found(spread(light))
    assert known is not None
    (lights,) = known.lights
    assert lights is not None
    assert 0.1 < lights.hidden <= MOST
    assert lights.hidden == pytest.approx(float(known.hidden.mean()))
    assert (lights.left > 0) == (count > 40)
    assert len(lights.remarks) == 1 + (count > 40)


PAIR = torch.cat([photo(30.0), photo(0.0, seed=4)])
"""A photo with lamps beside one without."""


@pytest.fixture(scope="module")
def together(natural_small: NetworkPrior) -> tuple[Problem, Restoration]:
    """What is known of both photos, and their restoration."""
    both = QUICK.prepared(problem(PAIR), natural_small)
    return both, QUICK.restore(both, natural_small)


def test_what_was_found_is_told(together: tuple[Problem, Restoration]) -> None:
    both, result = together
    lit, dark = result.lights
    assert lit is not None
    assert lit.count == len(LAMPS)
    assert dark is None
    assert len(result.remarks) == 1
    assert f"{len(LAMPS)} lights brighter than white" in result.remarks[0]
    assert result.select([1]).remarks == []
    assert Restoration.join([result.select([1]), result.select([0])]).lights == [dark, lit]
    assert both.found is not None
    assert both.found.beside is not None
    filled = provenance(both, result).filled_in[0, 0]
    behind = both.found.beside[0, 0] == 0
    assert float(filled[behind].mean()) > 2 * float(filled[~behind].mean())


def test_nothing_is_told_of_no_lights() -> None:
    assert LightsFound(0, 0.0).remarks == []


def test_lamps_of_one_photo_change_nothing_of_another(
    natural_small: NetworkPrior, together: tuple[Problem, Restoration]
) -> None:
    both, result = together
    assert both.found is not None
    assert both.found.points is not None
    assert float(both.found.points[1].abs().max()) == 0
    alone = QUICK.prepared(problem(PAIR[:1]), natural_small)
    assert alone.found is not None
    assert alone.found.points is not None
    assert torch.allclose(both.found.points[:1], alone.found.points, atol=1e-4)
    assert both.observed is not None
    assert float(both.observed[1].min()) == 1
    for b in (0, 1):
        alone = Problem.of(PAIR[b : b + 1], KNOWN, [image_generator(0, str(b))])
        assert torch.allclose(QUICK.restore(alone, natural_small).x0[0], result.x0[b], atol=2e-3)


def test_a_blur_that_explains_nothing_hides_nothing() -> None:
    sharp = 2 * KNOWN.frame.crop(scene(0)) - 1
    stripes = torch.where((torch.arange(sharp.shape[-1]) // 3) % 2 == 0, 0.9, -0.9)
    assert found(stripes.expand_as(sharp).clone()) is None


def test_an_extended_light_keeps_its_colour_and_its_parts(natural_small: NetworkPrior) -> None:
    light = scene(0.0)
    margin = KNOWN.frame.before
    sign = (slice(margin + 50, margin + 62), slice(margin + 40, margin + 80))
    colour = torch.tensor([4.0, 0.6, 1.5])
    light[(..., *sign)] = colour[:, None, None]
    x = 2 * light - 1
    y: Tensor = KNOWN(x, TOLD.broadcast(1, x))
    y = (y + 0.01 * normal_like(y, [image_generator(0, "sign")])).clamp(-1, 1)
    result = restore_samples(METHOD, 1, problem(y), natural_small)
    inside = (result.x0[0, :, 52:60, 44:76] + 1) / 2
    assert float(inside[0].min()) > 0.9
    assert float((inside[1] - 0.6).abs().mean()) < 0.15
    assert float(inside[2].min()) > 0.8
