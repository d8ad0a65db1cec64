"""Whether the colours of a photo have faded."""

from __future__ import annotations

import math

from d2ir_pl.diagnosis.finding import Finding
from d2ir_pl.estimators.tones import Tones

BLACK, RANGE, TINT = 0.2, 0.55, 0.05
"""Intensity at which the darkest hundredth of a faded photo ends at least, what lies at most
between it and the brightest hundredth, and by how much the ends of its channels differ at least:
dyes fade each at a pace of their own, and fog has no colour."""
FLAT = 0.25
"""What lies between these hundredths at least: a photo of a wall, say, has less, and never had
more."""
ENOUGH, SCATTER = 0.7, 0.02
"""Confidence from which a photo counts as faded, and how far from a margin it is 73 %."""


def fading(tones: Tones) -> Finding:
    """Judge the range of the tones, and the colours of its ends."""
    span = tones.white - tones.black
    margins = (tones.black - BLACK, RANGE - span, span - FLAT, tones.tint - TINT)
    confidence = 1.0
    for margin in margins:
        confidence *= 1 / (1 + math.exp(-margin / SCATTER))
    ends = f"its tones lie between {tones.black:.0%} and {tones.white:.0%} of white"
    if confidence <= ENOUGH:
        return Finding(f"not faded: {ends}")
    return Finding(f"faded: {ends}, with a tint", "faded", confidence=confidence)
