"""Whether a photo is blurred, by the widths of its edges."""

from __future__ import annotations

import math

from d2ir_pl.diagnosis.blur_kinds import kinds_of_blur
from d2ir_pl.diagnosis.measurements import Measurements

# What tells damaged photos from others, on photographs of the training set (docs/experiments.md).
EDGE_WEIGHTS = {
    "sharpest": 2.0,
    "typical": 2.95,
    "widest": 2.05,
    "coarse_sharpest": 0.21,
    "coarse_typical": 0.19,
    "coarse_widest": 0.81,
}
EDGE_CONSTANT = -3.6
"""Logarithm of the odds that a photo is blurred: a constant, and weights of the `EdgeWidths`."""
BLURRED, SHARP = 0.7, 0.05
"""Probability by the edges from which a photo counts as blurred, and below which the spectrum is
not believed if it says so."""
SURELY = 0.95
"""Probability by the edges from which a soft photo is believed to be blurred although its spectrum
does not show it: grain or sharpening has shaped that, and would be amplified."""
NO_GAUSSIAN = 0.5
"""Probability of a Gaussian below which a blur is believed that the edges alone show: a Gaussian
may be no more than what a camera did to its photo and to its noise."""


def blurred_by_edges(seen: Measurements) -> float:
    """Probability that a photo is blurred, by the widths of its edges."""
    odds = EDGE_CONSTANT + sum(w * getattr(seen.edges, name) for name, w in EDGE_WEIGHTS.items())
    return 1 / (1 + math.exp(-odds))


def is_no_gaussian(seen: Measurements) -> bool:
    """Whether the edges of a photo show a blur that is hardly a Gaussian."""
    return blurred_by_edges(seen) > BLURRED and kinds_of_blur(seen)[0] < NO_GAUSSIAN
