"""Whether a photo is too dark."""

from __future__ import annotations

import math

from d2ir_pl.degradations.light import BRIGHT
from d2ir_pl.diagnosis.finding import Finding
from d2ir_pl.estimators.exposure import Exposure

DARK = BRIGHT / 2
"""99th percentile of the intensities below which a photo counts as too dark in any case."""
DARK_MIDDLE, SCATTER = -2.5, 0.15
"""Value of `Exposure.middle` below which most of a photo is too dark, though it may have lamps, and
how far from it the confidence is 73 %: of 500 undamaged photographs two are below it
(docs/experiments.md)."""
LIT_MIDDLE = -2.95
"""The same for a photo with bright parts: a subject in the light before a dark ground may be meant
so. Of 350 undamaged photographs one is below it, and of 6 at night with lamps five."""
USUAL = 0.45
"""Median intensity of photographs."""
SURELY_DARK = 0.95
"""Confidence where no part of a photo is bright."""


def darkness(light: Exposure) -> Finding:
    """Judge the exposure: no part of the photo is bright, or most of it is dark.

    A night sky is dark although nothing is wrong with it.
    """
    lit = light.brightest >= DARK
    middle = 1 / (1 + math.exp((light.middle - (LIT_MIDDLE if lit else DARK_MIDDLE)) / SCATTER))
    confidence = max(middle, 0.0 if lit else SURELY_DARK)
    half = f"half of it is darker than {light.median:.0%} of white"
    if light.starry:
        return Finding(f"not too dark: {half}, but it shows points of light, as a night sky does")
    if confidence <= 0.5:
        return Finding(f"not too dark: {half}, and {USUAL:.0%} is usual")
    lamps = ", although it has bright spots" if lit else ""
    return Finding(
        f"too dark: {half}, where {USUAL:.0%} is usual{lamps}; it got about "
        f"1/{math.exp(-light.log_gain):.0f} of the usual light",
        "low_light",
        confidence=confidence,
    )
