"""How much light a photo got, by what photographs have: how dark it is, and what it lacks.

Exposure multiplies linear light (see `operators.encoding`), so it shifts the logarithms of all
percentiles of a photo's light alike. Photographs have typical ones. Their middle ones tell what a
person calls dark: a street at night has lamps, and its brightest hundredth is white.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from d2ir_pl.operators.encoding import to_light
from d2ir_pl.operators.order import kth_smallest

# Percentiles of the linear light, and their medians over 500 photographs (docs/experiments.md).
PERCENTILES = (0.5, 0.75, 0.9, 0.95, 0.99)
TYPICAL = (0.174, 0.326, 0.498, 0.624, 0.802)
# Keeps logarithms of black finite: a third of the first level of 8 bits.
BLACK = 1e-4
# By how much more than usual, in logarithms, the brightest hundredth exceeds the brightest
# twentieth before it counts as lamps.
LAMPS = 0.3
# How many decibels are gained in the mean by taking light for scaled and not encoded values: a
# quadratic function of the logarithms of four percentiles of the light, from these points. Fitted
# to crops of 1342 photographs darkened both ways (docs/experiments.md).
TOLD_BY, TOLD_FROM = (0.05, 0.5, 0.9, 0.99), (-7.0, -5.0, -4.0, -3.0)
TOLD_CONSTANT, TOLD_LINEAR = 0.29, (-1.57, 1.10, -0.12, 0.36)
TOLD_SQUARES = (
    (-0.09, 0.23, 0.22, 0.28),
    (0.0, -0.15, -0.87, 0.84),
    (0.0, 0.0, 1.23, -2.79),
    (0.0, 0.0, 0.0, 1.35),
)
# What a photo of another side than this adds to that for each doubling, at most so often: a small
# one tells less, and taking stored values for scaled costs less where it is wrong.
TOLD_SIDE, TOLD_DOUBLING, TOLD_DOUBLINGS = 128, 0.25, 2
# What an even ground with points of light on it has: the logarithm of the 90th over the 10th
# percentile of the medians of its blocks at most, and that of its brightest thousandth over the
# former at least (docs/experiments.md).
EVEN, POINTS = 0.7, 1.5
BLOCK = 16
# Least intensity that is told from black: a third of a level of 8 bits.
DARKEST = 1 / 765
# Pixels that are looked at, at most, evenly spread.
MAX_PIXELS = 1 << 18


@dataclass(frozen=True)
class Exposure:
    """How much light a photo got.

    Attributes:
        log_gain: natural logarithm of the share of the light that a usual exposure has; 0 for a
            photo of typical brightness, and negative for darker ones.
        middle: the same by the middle of its pixels alone, without its brightest tenth.
        on_light: how much closer to the scene it brings a photo, in decibels of the mean, to take
            linear light for scaled, and not what is stored; positive where it is the better guess.
        median: intensity, as it is stored, that half of the pixels stay below.
        brightest: intensity, as it is stored, at which the brightest hundredth begins.
        starry: whether it shows points of light on an even ground, as a night sky does.
    """

    log_gain: float
    middle: float
    on_light: float
    median: float
    brightest: float
    starry: bool = False


def exposure(y: Tensor, observed: Tensor | None = None) -> Exposure:
    """The exposure of one photo.

    Args:
        y: `(3, H, W)` in [-1, 1].
        observed: `(1, H, W)`, 1 where a pixel belongs to the photo; None where all do.
    """
    stored = _pixels(y, observed)
    pixels = y[0].numel() if observed is None else max(1, int(observed.sum()))
    luminance = to_light(stored).T @ stored.new_tensor([0.2126, 0.7152, 0.0722])
    light = torch.quantile(luminance, luminance.new_tensor(PERCENTILES)) + BLACK
    change = [math.log(a / b) for a, b in zip(light.tolist(), TYPICAL, strict=True)]
    twentieth, hundredth = change[3:]
    values = stored.flatten()
    return Exposure(
        log_gain=min(hundredth, twentieth + LAMPS),
        middle=sum(change[:3]) / 3,
        on_light=_worth_of_light(luminance, pixels),
        median=float(torch.quantile(stored.mean(0), 0.5)),
        brightest=float(kth_smallest(values, max(1, round(0.99 * len(values))), 0)),
        starry=_starry(y),
    )


def _worth_of_light(luminance: Tensor, pixels: int) -> float:
    """`Exposure.on_light`, from the light `(N,)` of some pixels of a photo, and their number.

    Where a photo tells little, what costs less when it is wrong decides.
    """
    doublings = math.log2(math.sqrt(pixels) / TOLD_SIDE)
    larger = TOLD_DOUBLING * min(max(doublings, -TOLD_DOUBLINGS), TOLD_DOUBLINGS)
    levels = (torch.quantile(luminance, luminance.new_tensor(TOLD_BY)) + BLACK).log()
    z = levels - levels.new_tensor(TOLD_FROM)
    told = z @ z.new_tensor(TOLD_LINEAR) + z @ z.new_tensor(TOLD_SQUARES) @ z
    return TOLD_CONSTANT + larger + float(told)


def _starry(y: Tensor) -> bool:
    """Whether nearly all blocks of a photo are alike, and its brightest pixels far above them.

    A scene that got little light keeps its differences, and lamps light what is around them.
    """
    grey = ((y.detach().float() + 1) / 2).clamp(DARKEST, 1).mean(0)
    if min(grey.shape) < 4 * BLOCK:
        return False
    step = max(1, math.isqrt(grey.numel() // MAX_PIXELS))
    rows = grey.unfold(0, BLOCK, step * BLOCK).unfold(1, BLOCK, step * BLOCK)
    ground = rows.flatten(2).median(2).values.flatten().log()
    low, high = torch.quantile(ground, ground.new_tensor([0.1, 0.9])).tolist()
    pixels = rows.flatten()
    points = kth_smallest(pixels, max(1, round(0.999 * len(pixels))), 0).log()
    return bool(high - low < EVEN and float(points) - high > POINTS)


def light_tint(y: Tensor) -> Tensor:
    """`(3,)` logarithms of the light of red, green and blue against their mean, half believed.

    Under coloured lamps about half of the differences between channels is theirs; where a camera
    has balanced the white, nearly all of it is the scene's (docs/experiments.md).

    Args:
        y: `(3, H, W)` in [-1, 1].
    """
    light = to_light(_pixels(y, None))
    levels = (torch.quantile(light, light.new_tensor(PERCENTILES[:3]), dim=1) + BLACK).log()
    colour = levels.mean(0)
    return (colour - colour.mean()) / 2


def _pixels(y: Tensor, observed: Tensor | None) -> Tensor:
    """`(3, N)` stored intensities in [0, 1] of pixels that are spread over the photo."""
    stored = ((y.detach().float() + 1) / 2).clamp(0, 1).flatten(1)
    if observed is not None and bool(observed.any()):
        stored = stored[:, observed.flatten() > 0]
    return stored[:, :: -(-stored.shape[1] // MAX_PIXELS)]
