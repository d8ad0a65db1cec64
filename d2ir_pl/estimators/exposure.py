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
PERCENTILES = (0.1, 0.5, 0.75, 0.9, 0.95, 0.99)
TYPICAL = (0.031, 0.174, 0.326, 0.498, 0.624, 0.802)
# Keeps logarithms of black finite: a third of the first level of 8 bits.
BLACK = 1e-4
# Weights of the rise from the 10th to the 90th percentile, from that to the 99th, and of the
# darkness of the middle, in logarithms, and a constant: their sum is above 0 where the light was
# scaled and below 0 where its encoded values were. Fitted to 400 photographs darkened both ways.
LIGHT_WEIGHTS = (0.66, 1.47, 0.83, -4.25)
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
        on_light: how much likelier it is, in logarithms, that linear light was scaled and not what
            is stored; positive where it is.
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
    luminance = to_light(stored).T @ stored.new_tensor([0.2126, 0.7152, 0.0722])
    light = torch.quantile(luminance, luminance.new_tensor(PERCENTILES)) + BLACK
    change = [math.log(a / b) for a, b in zip(light.tolist(), TYPICAL, strict=True)]
    low, bright, brightest = (math.log(float(light[i])) for i in (0, 3, 5))
    middle = sum(change[1:4]) / 3
    evidence = (bright - low, brightest - bright, -middle, 1.0)
    values = stored.flatten()
    return Exposure(
        log_gain=sum(change[1:]) / 5,
        middle=middle,
        on_light=sum(w * e for w, e in zip(LIGHT_WEIGHTS, evidence, strict=True)),
        median=float(torch.quantile(stored.mean(0), 0.5)),
        brightest=float(kth_smallest(values, max(1, round(0.99 * len(values))), 0)),
        starry=_starry(y),
    )


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
    levels = (torch.quantile(light, light.new_tensor(PERCENTILES[1:4]), dim=1) + BLACK).log()
    colour = levels.mean(0)
    return (colour - colour.mean()) / 2


def _pixels(y: Tensor, observed: Tensor | None) -> Tensor:
    """`(3, N)` stored intensities in [0, 1] of pixels that are spread over the photo."""
    stored = ((y.detach().float() + 1) / 2).clamp(0, 1).flatten(1)
    if observed is not None and bool(observed.any()):
        stored = stored[:, observed.flatten() > 0]
    return stored[:, :: -(-stored.shape[1] // MAX_PIXELS)]
