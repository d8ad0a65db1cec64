"""How many true pixels intervals hold, and how wide they have to be: what `coverage` counts."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks import tables
from d2ir_pl.diffusion.calibration import Part, Widths
from d2ir_pl.restoration.intervals import over_spread

LEVEL, LEVELS = 0.9, (0.5, 0.7, 0.8, 0.9, 0.95)
FLOOR, BINS = 0.002, 10
"""What is added to the spread in [0, 1], and the number of contrasts that have a factor."""
TITLES = (
    *("task", "photographs", "held, %", "tenths, %", "deviation of photographs, %", "mean width"),
    *(f"held at {level:.0%}, %" for level in LEVELS if level != LEVEL),
)

Values = NDArray[np.float32]
Places = NDArray[np.bool_]


@dataclass(frozen=True)
class Pixels:
    """The pixels of a restored photograph.

    Attributes:
        error: `(N, 3)` distance from the truth in [0, 1].
        spread: `(N,)` averaged spread of the samples in [0, 1], with the floor.
        contrast: `(N,)` local contrast of the restored image in [0, 1].
        noise: noise of the photograph in [0, 1], see `noise_of`.
        half_width: `(N,)` half of the intervals in [0, 1] by their level, where they are known.
        lacking: `(N,)` whether they lie in holes; None of a task whose photographs have none.
    """

    error: Values
    spread: Values
    contrast: Values
    noise: float
    half_width: dict[float, Values]
    lacking: Places | None = None


def measured(pixels: Sequence[Pixels], num_samples: int, level: float) -> list[Widths]:
    """The widths of a task, of pixels in holes and of others by themselves where it has holes."""
    if all(p.lacking is None for p in pixels):
        return [widths(pixels, num_samples, level)]
    parts: list[tuple[Part, bool]] = [("observed", False), ("missing", True)]
    found = []
    for part, lacking in parts:
        if own := some(pixels, lacking):
            found.append(replace(widths(own, num_samples, level), part=part))
    return found


def some(pixels: Sequence[Pixels], lacking: bool) -> list[Pixels]:
    """The pixels in the holes of photographs, or the others, of those that have some."""
    found = []
    for p in pixels:
        assert p.lacking is not None
        there = p.lacking == lacking
        half = {level: values[there] for level, values in p.half_width.items()}
        own = Pixels(p.error[there], p.spread[there], p.contrast[there], p.noise, half, None)
        found += [own] if there.any() else []
    return found


def widths(pixels: Sequence[Pixels], num_samples: int, level: float) -> Widths:
    """The quantiles of error over spread, by local contrast."""
    ratio = np.concatenate([p.error / p.spread[:, None] for p in pixels])
    contrast = np.concatenate([p.contrast for p in pixels])
    tenths = tenth_of(contrast)
    at: list[float] = []
    factor: list[float] = []
    for k in range(BINS):
        middle = max(float(np.median(contrast[tenths == k])), 1e-5) if (tenths == k).any() else 0.0
        if middle > (at[-1] if at else 0.0):
            at.append(round(middle, 6))
            factor.append(round(float(np.quantile(ratio[tenths == k], level)), 4))
    noises = [p.noise for p in pixels]
    noise, noisiest = round(statistics.median(noises), 4), round(max(noises), 4)
    return Widths(num_samples, level, noise, noisiest, len(pixels), at, factor)


def tenth_of(contrast: Values) -> NDArray[np.int64]:
    """In which tenth of all pixels each of them lies by its contrast, from 0."""
    edges = np.quantile(contrast, np.linspace(0, 1, BINS + 1)[1:-1])
    return np.digitize(contrast, edges)


def row(name: str, *parts: Sequence[Pixels]) -> str:
    """The row of a task, whose cells have a value for each part of its photographs."""
    return tables.row(name, *map(", ".join, zip(*map(cells, parts), strict=True)))


def cells(pixels: Sequence[Pixels]) -> list[str]:
    """What photographs say of their intervals, those that have some."""
    pixels = [p for p in pixels if LEVEL in p.half_width]
    if not pixels:
        return ["0", *[""] * (len(TITLES) - 2)]
    inside = {
        level: [p.error <= p.half_width[level][:, None] for p in pixels if level in p.half_width]
        for level in LEVELS
    }
    shares = {level: [100 * float(held.mean()) for held in each] for level, each in inside.items()}
    own, others = shares[LEVEL], [shares[level] for level in LEVELS if level != LEVEL]
    tenths = tenth_of(np.concatenate([p.contrast for p in pixels]))
    everywhere = np.concatenate(inside[LEVEL])
    by_tenth = [everywhere[tenths == k].mean() for k in range(BINS) if (tenths == k).any()]
    width = 2 * statistics.mean(float(p.half_width[LEVEL].mean()) for p in pixels)
    return [
        f"{len(pixels)}",
        f"{statistics.mean(own):.1f}",
        f"{100 * min(by_tenth):.0f} to {100 * max(by_tenth):.0f}",
        f"{statistics.stdev(own) if len(own) > 1 else 0.0:.1f}",
        f"{width:.3f}",
        *(f"{statistics.mean(share):.1f}" if share else "" for share in others),
    ]


def halves(pixels: Sequence[Pixels], num_samples: int) -> list[list[Pixels]]:
    """Every second photograph of a task, and the others, with what the other half says."""
    parts = [list(pixels[0::2]), list(pixels[1::2])]
    if not parts[1]:
        return parts
    found = [{level: measured(part, num_samples, level) for level in LEVELS} for part in parts]
    return [
        [within(own, others) for own in part]
        for part, others in zip(parts, reversed(found), strict=True)
    ]


def within(own: Pixels, found: dict[float, list[Widths]]) -> Pixels:
    """A photograph with the intervals of widths by their level."""
    lacking = np.zeros(own.contrast.shape, bool) if own.lacking is None else own.lacking
    place = torch.from_numpy(own.contrast), torch.from_numpy(lacking)
    factor = {level: over_spread(w, own.noise, *place) for level, w in found.items()}
    return replace(own, half_width={level: f.numpy() * own.spread for level, f in factor.items()})


def show(by_task: dict[str, list[list[Pixels]]]) -> None:
    """Print the table, with a row more for the pixels in holes."""
    print(tables.head(*TITLES))
    for name, parts in by_task.items():
        print(row(name, *parts), flush=True)
        if all(p.lacking is not None for part in parts for p in part) and any(parts):
            print(row(f"{name}, in the holes", *(some(part, True) for part in parts)))
