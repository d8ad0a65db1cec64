"""What kind of blur a blurred photo has, by its edges and its spectrum."""

from __future__ import annotations

import math

from d2ir_pl.diagnosis.measurements import Measurements

# What tells the kinds apart, on photographs of the training set (docs/experiments.md).
KINDS = ("soft", "out of focus", "shaken")
KIND_WEIGHTS = {
    "coarse_typical": (-1.09, -0.74, 1.83),
    "coarse_sharpest": (-0.19, -0.18, 0.36),
    "misfit": (-1.16, 0.0, 1.17),
    "blur": (0.43, 0.30, -0.73),
    "elongated": (1.27, -2.44, 1.17),
    "disk": (-0.35, 1.05, -0.71),
    "coarse_direction": (-0.55, 0.27, 0.28),
    "fine_direction": (0.52, -1.28, 0.76),
    "coarse_widest": (0.41, -0.18, -0.23),
}
KIND_CONSTANTS = (0.90, 0.17, -1.07)
"""Logarithms of the odds of the `KINDS` of a blur: constants, and weights of what is measured."""
WIDENED = 0.3
"""Pixels that are added to widths of edges before their ratios are taken."""


def kinds_of_blur(seen: Measurements) -> tuple[float, ...]:
    """Probabilities that the blur of a blurred photo is of each of the `KINDS`."""
    fine = seen.edges.typical, seen.edges.sharpest, seen.edges.coarse_sharpest
    coarse = seen.edges.coarse_typical, seen.edges.coarse_sharpest, seen.edges.coarse_widest
    names = ("coarse_typical", "coarse_sharpest", "coarse_widest")
    values = {
        name: math.log((b + WIDENED) / (a + WIDENED))
        for name, a, b in zip(names, fine, coarse, strict=True)
    }
    values |= {k: getattr(seen.shape, k) for k in KIND_WEIGHTS if k not in values}
    odds = [
        constant + sum(w[i] * values[k] for k, w in KIND_WEIGHTS.items())
        for i, constant in enumerate(KIND_CONSTANTS)
    ]
    total = sum(math.exp(o) for o in odds)
    return tuple(math.exp(o) / total for o in odds)
