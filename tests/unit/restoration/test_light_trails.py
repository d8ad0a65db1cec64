import math

import pytest
import torch
import torch.nn.functional as F
from shaken import discs, drawn
from torch import Tensor

from d2ir_pl.degradations import Blur, Compose, Degradation, Jpeg, Light, Phi
from d2ir_pl.diagnosis.blur import blur
from d2ir_pl.diagnosis.measurements import measure
from d2ir_pl.diffusion.randomness import image_generator, normal_like
from d2ir_pl.estimators.kernel_shapes import centred, likeness
from d2ir_pl.estimators.light_trails import light_trails
from d2ir_pl.priors import NetworkPrior
from d2ir_pl.restoration import Problem, restore_samples
from d2ir_pl.restoration.configs import load
from d2ir_pl.restoration.light_trails import kernel_of_trails
from d2ir_pl.restoration.searches import answered

LAMPS = ((30, 25), (40, 100), (70, 60), (105, 30), (100, 110))
METHOD = load("blind_deblur_kernel").method


def path() -> Tensor:
    """A camera that moved over 21 pixels."""
    kernel = torch.zeros(25, 25)
    kernel[4:22, 8] = 1
    kernel[21, 8:18] = 1
    return centred(drawn(kernel, 0.7))


def night(kernel: Tensor | None, lamps: tuple[tuple[int, int], ...] = LAMPS) -> Tensor:
    """A dark scene `(1, 3, 136, 136)` with lamps, seen by a camera that shakes, or does not."""
    light = 0.05 + 0.4 * (discs(160)[None] + 0.6) / 1.2
    for row, column in lamps:
        light[..., row + 12, column + 12] = 40.0
    if kernel is not None:
        light = Blur(kernel.shape[-1])(light, Phi(logits=(kernel[None] + 1e-12).log()))
    else:
        light = light[..., 12:-12, 12:-12]
    y = 2 * light - 1
    y = y + 0.006 * normal_like(y, [image_generator(0, "night")])
    return y.clamp(-1, 1)


def problem(y: Tensor) -> Problem:
    return Problem.of(y, Blur(41), [image_generator(0, "a")])


def test_trails_show_the_kernel() -> None:
    trails = light_trails(night(path())[0], 41)
    assert trails is not None
    assert 4 <= trails.count <= len(LAMPS)
    assert likeness(trails.kernel, path()) > 0.85
    assert float(trails.kernel.sum()) == pytest.approx(1, abs=1e-4)
    assert 0 < float(trails.hidden.mean()) < 0.2


@pytest.mark.parametrize(
    ("y", "largest"),
    [
        (night(None), 41),  # lamps of a camera that stands still
        (night(path(), LAMPS[:2]), 41),  # two are no evidence
        (night(path()), 15),  # longer than any kernel that is looked for
        (night(path()) + 1.2, 41),  # by day
        (night(path())[..., :30, :30], 41),
        (torch.zeros(1, 3, 64, 64) - 1, 41),
    ],
)
def test_there_are_no_trails_elsewhere(y: Tensor, largest: int) -> None:
    assert light_trails(y[0].clamp(-1, 1), largest) is None


def test_a_dark_scene_appears_behind_its_lights(natural_small: NetworkPrior) -> None:
    y, sharp = night(path()), night(None, ())
    batch = Problem.of(torch.cat([y, y]), Blur(41), [image_generator(0, n) for n in "ab"])
    result = restore_samples(METHOD, 1, batch.select([0]), natural_small)
    assert result.kernels[0].source == "lights"
    ground = torch.ones(136, 136, dtype=torch.bool)
    for row, column in LAMPS:
        ground[max(0, row - 4) : row + 5, max(0, column - 4) : column + 5] = False

    def error(x: Tensor) -> float:
        return math.sqrt(float((x - sharp)[0][:, ground].square().mean()))

    assert error(result.x0) < 0.5 * error(y)
    white = (result.x0[0].amin(0) > 0.9).float()
    assert 1 <= float(white.sum()) < 25 * len(LAMPS)
    prepared = METHOD.prepared(batch, natural_small)
    assert prepared.observed is not None
    assert 0.8 < float(prepared.observed.mean()) < 1


@pytest.mark.parametrize("ground", ["sharp", "plain", "fog"])
def test_bright_things_of_one_shape_in_a_sharp_photo_are_no_trails(
    natural_small: NetworkPrior, ground: str
) -> None:
    y = night(None, ())
    if ground == "plain":
        y = torch.full_like(y, -0.7) + 0.006 * normal_like(y, [image_generator(0, "plain")])
    elif ground == "fog":
        y = -0.6 + 0.3 * F.avg_pool2d(F.pad(y, (12,) * 4, mode="reflect"), 25, 1)
    for row, column in LAMPS:
        y[..., row - 12 : row + 13, column - 12 : column + 13] += 2 * (path() > 0.015)
    y = y.clamp(-1, 1)
    assert answered(kernel_of_trails(problem(y)), natural_small) is None


@pytest.mark.parametrize("later", [Jpeg(), Light(gain=0.6)], ids=["compressed", "dark"])
def test_trails_show_the_kernel_whatever_followed_it(
    natural_small: NetworkPrior, later: Degradation
) -> None:
    y = night(path())
    y = later(y, later.draw([image_generator(0, "later")], y))
    both = Problem.of(y, Compose([Blur(41), later]), [image_generator(0, "a")])
    found = answered(kernel_of_trails(both), natural_small)
    assert found is not None
    assert likeness(found.kernel, path()) > 0.8


def test_blurred_things_that_are_alike_as_blobs_are_no_trails() -> None:
    y = night(None, ())
    rows = torch.arange(136.0)
    for row, column in LAMPS:
        down, right = (rows - row)[:, None] / 9, (rows - column) / 14
        y += 0.7 * torch.exp(-(down.square() + right.square()))
    assert light_trails(y[0].clamp(-1, 1), 61) is None


def test_a_diagnosis_tells_of_trails() -> None:
    finding = blur(measure(night(path())[0]))
    assert finding.config == "blind_deblur_kernel"
    assert "lights have left trails of one shape" in finding.sentence
    assert "trails" not in blur(measure(night(None)[0])).sentence
