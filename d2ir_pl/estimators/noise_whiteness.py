"""Whether the noise of a photo is white, by the frequencies at which it shows nothing else."""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor

from d2ir_pl.estimators.noise_level import MIN_SIGMA, is_grey
from d2ir_pl.estimators.periodogram import EXPONENT
from d2ir_pl.estimators.remembered import remembered
from d2ir_pl.operators.constants import kept
from d2ir_pl.operators.linear import size_of
from d2ir_pl.operators.noise_shape import PER_CYCLE, radius
from d2ir_pl.operators.opponent import to_opponent

# Chosen on photographs of the training set with blurs and noise (docs/experiments.md).
HINT = 1.2
"""Unevenness of the finest frequencies, which may hold detail too, that white noise of 128x128
pixels does not reach: it has 1.06."""
COLOURED = 1.5
"""Unevenness where the blur leaves nothing from which the noise counts as coloured."""
NOTHING = 0.02
"""Factor of a blur below which nothing is left of the detail of a photo."""
LEAK = 0.3
"""Detail of neighbours at a frequency that holds noise alone, at most, as a share of the noise."""
SHOWN = 0.1
"""Factor of a blur above which the power of a photo tells of its scene."""
FINEST = 13 / PER_CYCLE
"""Lowest of the finest frequencies, in cycles a pixel."""

_BANDS = (6, 8, 10, 13, 17, 24)
_FEWEST = 60
"""Fewer frequencies say nothing about the noise of a band."""


def noise_alone(y: Tensor, passed: Tensor, sigma_y: Tensor) -> Tensor:
    """Where the spectrum of a photo that is known to be blurred holds noise alone.

    A blur may pass nothing at single frequencies, as the zeros of a straight motion, into which
    power leaks from those beside them. How much follows from the power law of natural images
    (`periodogram.py`), whose scale is read where the blur passes something.

    Args:
        y: `(1, 3, h, w)` photo in [-1, 1].
        passed: `(h, w // 2 + 1)` factor of the blur at the frequencies of a real transform.
        sigma_y: standard deviation of the noise in the units of y, a scalar.

    Returns:
        `(h, w // 2 + 1)`, whether it does.
    """
    power = torch.fft.rfft2(to_opponent(_tapered(y))[0, 0]).abs().square()
    noise = sigma_y.double() ** 2 * (3 if is_grey(y).item() else 1)
    place = radius(power, *size_of(y))
    detail = passed.to(power) ** 2 * place.clamp_min(1) ** -EXPONENT
    shown = (passed > SHOWN) & (place > 1)
    if not bool(shown.any()):
        return passed < NOTHING
    scale = ((power - noise) / detail)[shown].median().clamp_min(0)
    # A Hann window spreads the power of a frequency over its neighbours.
    around = F.pad(F.pad(detail[None, None], (1, 1, 0, 0), "replicate"), (0, 0, 1, 1), "circular")
    spread = torch.tensor([1.0, 4.0, 1.0]).to(around) / 6
    leaked = F.conv2d(around, torch.outer(spread, spread)[None, None])[0, 0]
    alone: Tensor = (passed < NOTHING) & (scale * leaked < LEAK * noise)
    return alone


@remembered
def unevenness(y: Tensor, alone: Tensor | None = None) -> float:
    """How much stronger the noise of a photo is at some frequencies, or in its luminance.

    It is the ratio of the largest amplitude to the least one, among the luminance and the
    differences of colours in bands of frequencies. It is 1 for white noise, but for chance.

    Args:
        y: `(1, 3, h, w)` photo in [-1, 1]. Amplitudes below `MIN_SIGMA` count as that.
        alone: `(h, w // 2 + 1)`, whether a frequency of a real transform holds noise alone; those
            from `FINEST` on if None.

    Returns:
        The ratio; 1 for photos without enough such frequencies.
    """
    power = torch.fft.rfft2(to_opponent(_tapered(y))[0]).abs().square()
    # Both differences of colours have about the same noise. A grey photo has none.
    colours = power[:0] if is_grey(y).item() else power[1:].mean(0, keepdim=True)
    power = torch.cat([power[:1], colours])
    place = radius(power, *size_of(y))
    if alone is None:
        alone = place >= FINEST * PER_CYCLE
    bands = [alone & (place >= low) & (place < high) for low, high in itertools.pairwise(_BANDS)]
    amplitudes = [power[:, band].mean(1).sqrt() for band in bands if int(band.sum()) >= _FEWEST]
    if not amplitudes:
        return 1.0
    found = torch.cat(amplitudes).clamp_min(MIN_SIGMA)
    return float(found.max() / found.min())


def _tapered(y: Tensor) -> Tensor:
    """The photo without its mean, fading toward its border; noise keeps its power."""
    taper = _taper(y, *size_of(y))
    mean = (y * taper).sum((2, 3), keepdim=True) / taper.sum()
    tapered: Tensor = (y - mean) * taper / taper.square().sum().sqrt()
    return tapered


@kept
def _taper(height: int, width: int) -> Tensor:
    rows, columns = (torch.hann_window(n, dtype=torch.float64) for n in (height, width))
    return torch.outer(rows, columns)
