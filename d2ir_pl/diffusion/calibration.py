"""How far restorations with a prior can be off, as measured on photographs whose truth is known.

Source: Vovk, Gammerman and Shafer, Algorithmic learning in a random world, 2005, sections 2.2
(split conformal prediction) and 4.5 (a quantile for each category: Mondrian).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from d2ir_pl.schema import Within

FAINT = 0.002
"""Noise in [0, 1] below which all noises are alike: that of rounding to 8 bits."""

Part = Literal["all", "observed", "missing"]
"""All pixels, those that a photo with holes has, or those that it lacks."""

Positive = Annotated[float, Within(1e-9, 1e9)]
"""A factor or a contrast."""


@dataclass(frozen=True)
class Widths:
    """The half-width of intervals over the spread of the samples, by local contrast.

    Attributes:
        num_samples: number of restorations whose spread it was measured for.
        level: probability in (0, 1) with which an interval holds the truth.
        noise: median noise of the photographs that it was measured on, in [0, 1]; of JPEG files,
            that of their rounding.
        noisiest: largest noise of these photographs.
        photographs: number of these photographs.
        contrast: local contrasts in [0, 1], ascending.
        factor: half-width over spread at each of them; between them its logarithm is linear in
            that of the contrast, and beyond them it is constant.
        part: the pixels that it holds for.
    """

    num_samples: Annotated[int, Within(2, 1000)]
    level: Annotated[float, Within(0.01, 0.9999)]
    noise: Annotated[float, Within(0, 1)]
    noisiest: Annotated[float, Within(0, 1)]
    photographs: Annotated[int, Within(1, 1e9)]
    contrast: list[Positive]
    factor: list[Positive]
    part: Part = "all"

    def __post_init__(self) -> None:
        ascending = all(a < b for a, b in zip(self.contrast, self.contrast[1:], strict=False))
        if len(self.contrast) != len(self.factor) or not self.contrast or not ascending:
            raise ValueError("has contrasts that are not ascending with a factor each")


@dataclass(frozen=True)
class Calibration:
    """What intervals a prior's restorations have, and for which restorations that is known.

    Attributes:
        sha256: digest of the file of weights that it holds for.
        level: level of intervals where none is asked for.
        floor: what is added to the spread, in [0, 1].
        about: the photographs that it was measured on.
        situations: widths by what was restored and how, see `situation` in the room `restoration`,
            for some numbers of samples, levels and noises.
        settings: all settings of the method that each of them was measured with; empty in files
            that were made before they were kept.
    """

    sha256: str
    level: Annotated[float, Within(0.01, 0.9999)]
    floor: Annotated[float, Within(1e-6, 1)]
    about: str
    situations: dict[str, list[Widths]]
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)

    def widths(self, situation: str, num_samples: int, level: float) -> list[Widths]:
        """Those for the largest number of samples that is not above the given one, if any."""
        there = [w for w in self.situations.get(situation, []) if w.level == level]
        most = max((w.num_samples for w in there if w.num_samples <= num_samples), default=0)
        return [w for w in there if w.num_samples == most]


def around(widths: Sequence[Widths], noise: float) -> tuple[Widths, Widths, float]:
    """Those for the next lower and the next higher noise, and how far a noise lies between them.

    The share in [0, 1] is that of the logarithm of the noise. Below the least noise and above the
    most, both are the same.

    Args:
        widths: at least one.
        noise: standard deviation in [0, 1].
    """
    ordered = sorted(widths, key=lambda w: w.noise)
    lower = [w for w in ordered if w.noise <= noise]
    higher = [w for w in ordered if w.noise > noise]
    if not lower or not higher:
        only = (lower[-1:] or higher)[0]
        return only, only, 0.0
    low, high, own = (math.log(n + FAINT) for n in (lower[-1].noise, higher[0].noise, noise))
    return lower[-1], higher[0], (own - low) / (high - low)
