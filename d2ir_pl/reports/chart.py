"""The curve of the losses as SVG, for the report."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from xml.etree.ElementTree import Element, SubElement, tostring

from markupsafe import Markup

from d2ir_pl.stages import Stage

WIDTH, HEIGHT = 480, 220
"""Size of the picture in pixels."""

LEFT, RIGHT, TOP, BOTTOM = 46, 470, 22, 190
"""Edges of the area in which curves are drawn, in pixels."""

TICKS = 6
"""Most lines of the grid; where there would be more, only powers of ten have one."""


@dataclass(frozen=True)
class _Axes:
    """Where a step and a level lie in the picture.

    Attributes:
        count: number of steps, which go to the right.
        low: decimal logarithm of the level at the bottom.
        high: decimal logarithm of the level at the top.
    """

    count: int
    low: float
    high: float

    def x(self, step: float) -> float:
        return LEFT + (RIGHT - LEFT) * (step + 0.5) / self.count

    def y(self, level: float) -> float:
        return BOTTOM - (BOTTOM - TOP) * (math.log10(level) - self.low) / (self.high - self.low)

    def ticks(self) -> list[float]:
        """The levels at which the grid has a line."""
        decades = range(math.floor(self.low), math.ceil(self.high) + 1)
        fine = [digit * 10.0**exponent for exponent in decades for digit in (1, 2, 5)]
        fine = [tick for tick in fine if self.low <= math.log10(tick) <= self.high]
        if len(fine) <= TICKS:
            return fine
        return [10.0**exponent for exponent in decades if self.low <= exponent <= self.high]


def loss_chart(losses: Mapping[Stage, list[float]], sigma_y: float | None) -> Markup | None:
    """Draw the residual at each step of all stages on a logarithmic axis, and the noise.

    The page colours the marks by their classes: `tick`, `noise`, and `stage0`, `stage1` for the
    stages in their order.

    Args:
        losses: mean squared residuals of each stage, by its name.
        sigma_y: standard deviation of the noise, whose square is drawn as a line.

    Returns:
        An `<svg>` element; None if there is nothing to draw.
    """
    stages = {stage: values for stage, values in losses.items() if values}
    values = [v for curve in stages.values() for v in curve if _drawable(v)]
    if not values:
        return None
    noise = None if not sigma_y else sigma_y**2
    levels = [*values, noise] if noise else values
    low, high = math.log10(min(levels)) - 0.1, math.log10(max(levels)) + 0.1
    # The axis spans a decade at least, so that the grid has some lines.
    margin = max(0.0, (1 - (high - low)) / 2)
    axes = _Axes(sum(map(len, stages.values())), low - margin, high + margin)
    label = f"Mean squared residual in {axes.count} steps, from {values[0]:.2g} to {values[-1]:.2g}"
    if noise:
        label += f"; the noise is at {noise:.2g}"
    svg = Element("svg", {"viewBox": f"0 0 {WIDTH} {HEIGHT}", "role": "img", "aria-label": label})
    for tick in axes.ticks():
        _level(svg, axes.y(tick), "tick")
        _text(svg, LEFT - 4, axes.y(tick) + 4, f"{tick:.0e}", anchor="end")
    start = 0
    for i, (stage, curve) in enumerate(stages.items()):
        _curve(svg, axes, start, curve, f"stage{i}")
        _text(svg, axes.x(start) - 4, BOTTOM + 18, stage)
        start += len(curve)
    if noise:
        _level(svg, axes.y(noise), "noise")
        _text(svg, RIGHT - 2, axes.y(noise) - 4, "noise", anchor="end")
    return Markup(tostring(svg, encoding="unicode"))


def _drawable(value: float) -> bool:
    """Whether a level has a place on a logarithmic axis."""
    return math.isfinite(value) and value > 0


def _curve(svg: Element, axes: _Axes, start: int, curve: list[float], kind: str) -> None:
    points = [(axes.x(start + i), axes.y(v)) for i, v in enumerate(curve) if _drawable(v)]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    SubElement(svg, "polyline", {"class": kind, "points": line})
    for x, y in points:
        SubElement(svg, "circle", {"class": kind, "cx": f"{x:.1f}", "cy": f"{y:.1f}", "r": "2.5"})


def _level(svg: Element, y: float, kind: str) -> None:
    place = {"x1": f"{LEFT}", "x2": f"{RIGHT}", "y1": f"{y:.1f}", "y2": f"{y:.1f}"}
    SubElement(svg, "line", {"class": kind, **place})


def _text(svg: Element, x: float, y: float, text: str, anchor: str = "start") -> None:
    place = {"x": f"{x:.1f}", "y": f"{y:.1f}", "text-anchor": anchor}
    SubElement(svg, "text", place).text = text
