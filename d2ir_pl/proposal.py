"""A proposal for a photo of which nothing is known: what happened to it, and how to restore it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from d2ir_pl.degradations import Blur, Compose, Degradation, GaussianBlur, Identity, Jpeg, Light
from d2ir_pl.degradations.light import BRIGHT
from d2ir_pl.measurements import SHARP_WIDTH, Measurements, measure
from d2ir_pl.restoration import D2IR, PosteriorMean, RestorationMethod
from d2ir_pl.restoration.degradation_estimation import DegradationEstimation

# What tells damaged photos from others, on photographs of the training set (docs/experiments.md).
SHARP_JPEG_WIDTH = 0.85
"""Width in pixels of a blur that the coefficients of sharp JPEGs stay below."""
MAX_RATIO = 1.5
"""Ratio of the widths from which a blur counts as stronger in one direction."""
SHAKEN = 75.0
"""`Measurements.shaken` from which the kernel of the edges is believed."""
MAX_QUALITY = 90
"""Quality of a JPEG from which its rounding errors are taken for noise."""
DARK = BRIGHT / 2
"""99th percentile of the intensities below which a photo counts as too dark."""

Part = tuple[type[Degradation], dict[str, Any]]
"""A degradation and its arguments."""


@dataclass(frozen=True)
class Proposal:
    """What happened to a photo, and how to restore it.

    Attributes:
        reasons: a sentence each on blur, darkness, JPEG and noise.
        parts: the degradations in the order in which they happened; none where there is only noise.
        estimation: settings of D2IR's first stage.
        model_error: of D2IR.
    """

    reasons: tuple[str, ...]
    parts: tuple[Part, ...]
    estimation: dict[str, Any]
    model_error: float = 0.0

    @property
    def degradation(self) -> Degradation:
        parts = [kind(**arguments) for kind, arguments in self._parts]
        return parts[0] if len(parts) == 1 else Compose(parts)

    @property
    def method(self) -> RestorationMethod:
        if not self.parts:
            return PosteriorMean()
        return D2IR(DegradationEstimation(**self.estimation), model_error=self.model_error)

    def settings(self) -> dict[str, Any]:
        """The same as a config of `predict`."""
        parts = [_setting(kind, arguments) for kind, arguments in self._parts]
        degradation = parts[0] if len(parts) == 1 else _setting(Compose, {"parts": parts})
        if not self.parts:
            return {"model": {"degradation": degradation, "method": _setting(PosteriorMean, {})}}
        arguments: dict[str, Any] = {}
        if self.model_error:
            arguments["model_error"] = self.model_error
        if self.estimation:
            arguments["estimation"] = dict(self.estimation)
        return {"model": {"degradation": degradation, "method": _setting(D2IR, arguments)}}

    @property
    def _parts(self) -> tuple[Part, ...]:
        return self.parts or ((Identity, {}),)


def propose(y: Tensor, path: Path | None = None) -> Proposal:
    """Look at a photo and say what happened to it.

    Args:
        y: `(3, H, W)` in [-1, 1].
        path: the file it was read from, for the tables of a JPEG.
    """
    return explain(measure(y, path))


def explain(seen: Measurements) -> Proposal:
    """The proposal that measurements lead to."""
    findings = [_blur(seen), _darkness(seen), _compression(seen)]
    parts = tuple(part for _, part in findings if part is not None)
    kinds = [kind for kind, _ in parts]
    reasons = [reason for reason, _ in findings]
    if Jpeg not in kinds:
        reasons.append(f"noise: {seen.sigma_y:.3f} of the range")
    estimation: dict[str, Any] = {}
    if kinds == [Jpeg]:
        estimation = {"start": 150, "data_weight": 0.3}
    elif Jpeg in kinds:
        estimation = {"start": 100, "data_weight": 0.3, "phi_steps": 0}
    elif Blur in kinds:
        # The settings of 'blind_deblur_kernel', where they are explained.
        estimation = {"steps": 6, "start": 60, "data_weight": 1.0, "phi_steps": 0}
        return Proposal(tuple(reasons), parts, estimation, model_error=0.015)
    elif Light in kinds:
        estimation = {"phi_steps": 0}
    return Proposal(tuple(reasons), parts, estimation)


def _blur(seen: Measurements) -> tuple[str, Part | None]:
    """What the spectrum, the edges and, of a JPEG, the coefficients show.

    The spectrum and the coefficients of a JPEG may miss a blur, and neither sees one where there is
    none: the wider counts. Such widths are kept, because a walk would not improve them.
    """
    (major, minor), angle = seen.widths, seen.angle
    compressed = seen.quality < MAX_QUALITY
    if seen.jpeg_width > max(seen.width, SHARP_JPEG_WIDTH):
        width = round(seen.jpeg_width, 2)
        return (
            f"blur: its JPEG coefficients fall as after one {width:.2f} pixels wide; sharp photos "
            f"show less than {SHARP_JPEG_WIDTH}",
            (GaussianBlur, {"width": width}),
        )
    if seen.width <= SHARP_WIDTH:
        return (
            f"no blur: its spectrum falls as after one {seen.width:.2f} pixels wide; sharp photos "
            f"show less than {SHARP_WIDTH}",
            None,
        )
    if seen.shaken > SHAKEN and not compressed:
        return (
            "blur of any shape, such as a shake: the kernel that its edges show explains its "
            "spectrum better than a Gaussian",
            (Blur, {}),
        )
    if major > MAX_RATIO * minor:
        known = {"width": [round(major, 2), round(minor, 2)], "angle": round(angle, 2)}
        return (
            f"blur: {major:.2f} by {minor:.2f} pixels wide, at {math.degrees(angle):.0f} degrees",
            (GaussianBlur, {"isotropic": False, **(known if compressed else {})}),
        )
    return (
        f"blur: {seen.width:.2f} pixels wide; sharp photos show less than {SHARP_WIDTH}",
        (GaussianBlur, {"width": round(seen.width, 2)} if compressed else {}),
    )


def _darkness(seen: Measurements) -> tuple[str, Part | None]:
    bright = f"its brightest 1 % begin at {seen.brightness:.2f}"
    if seen.brightness < DARK:
        return f"too dark: {bright}, where {BRIGHT:.2f} is usual", (Light, {"map_size": 0})
    return f"not too dark: {bright}; below {DARK:.2f} would be", None


def _compression(seen: Measurements) -> tuple[str, Part | None]:
    source = "its file says" if seen.from_file else "its pixels show"
    if seen.quality < MAX_QUALITY:
        return f"JPEG: {source} a quality of {seen.quality}", (Jpeg, {})
    if seen.quality < 100:
        return (
            f"no damage by JPEG: {source} a quality of {seen.quality}; from {MAX_QUALITY} on, "
            "rounding passes for noise",
            None,
        )
    return "no JPEG: its pixels show no rounding of coefficients", None


def _setting(kind: type, arguments: dict[str, Any]) -> dict[str, Any]:
    setting = {"class_path": f"{kind.__module__.rpartition('.')[0]}.{kind.__name__}"}
    return {**setting, "init_args": arguments} if arguments else setting
