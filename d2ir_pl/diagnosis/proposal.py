"""A proposal for a photo of which nothing is known: what happened to it, and how to restore it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from d2ir_pl.degradations import Blur, Compose, Degradation, GaussianBlur, Identity, Jpeg, Light
from d2ir_pl.degradations.light import BRIGHT
from d2ir_pl.diagnosis.measurements import SHARP_WIDTH, Measurements, measure
from d2ir_pl.image_io import FileTables
from d2ir_pl.restoration import D2IR, PosteriorMean, RestorationMethod
from d2ir_pl.restoration.degradation_estimation import DegradationEstimation

# What tells damaged photos from others, on photographs of the training set (docs/experiments.md).
SHARP_JPEG_WIDTH = 0.85
"""Width in pixels of a blur that the coefficients of sharp JPEGs stay below."""
TRUSTED = 0.75
"""Of the width that the coefficients of a JPEG show, what its spectrum has to show to count."""
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
        findings: a sentence each on blur, darkness, JPEG and noise.
        parts: the degradations in the order in which they happened; none where there is only noise.
        estimation: settings of D2IR's first stage.
        model_error: of D2IR.
    """

    findings: tuple[str, ...]
    parts: tuple[Part, ...]
    estimation: dict[str, Any]
    model_error: float = 0.0

    @property
    def kinds(self) -> str:
        """The degradations by name."""
        return " + ".join(kind.__name__ for kind, _ in self.parts) or "noise alone"

    @property
    def reasons(self) -> tuple[str, ...]:
        """What the photo is taken for, and the findings."""
        return f"taken for: {self.kinds}", *self.findings

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


def propose(y: Tensor, tables: FileTables | None = None, sigma_y: float | None = None) -> Proposal:
    """Look at a photo and say what happened to it.

    Args:
        y: `(3, H, W)` in [-1, 1].
        tables: how it was compressed, if it was read from a JPEG; found in its pixels if None.
        sigma_y: standard deviation of its noise in [0, 1]; estimated if None.
    """
    return explain(measure(y, tables, sigma_y))


def explain(seen: Measurements) -> Proposal:
    """The proposal that measurements lead to."""
    findings = [_blur(seen), _darkness(seen), _compression(seen)]
    parts = tuple(part for _, part in findings if part is not None)
    kinds = [kind for kind, _ in parts]
    reasons = [reason for reason, _ in findings]
    if Jpeg in kinds:
        reasons.append("noise: what there is beside the rounding of JPEG is counted with it")
    else:
        reasons.append(f"noise: about {seen.sigma_y:.3f} of the range")
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

    The spectrum of a JPEG misses most of a blur, unless the quality is of the best; the
    coefficients do not, but know no direction. Widths of JPEGs are kept, because the walk would
    start from the spectrum.
    """
    (major, minor), angle = seen.widths, seen.angle
    compressed, is_jpeg = seen.quality < MAX_QUALITY, seen.jpeg_width > 0
    if seen.jpeg_width > SHARP_JPEG_WIDTH and seen.width < TRUSTED * seen.jpeg_width:
        width = round(seen.jpeg_width, 2)
        return (
            f"blur: about {width:.1f} pixels wide by its JPEG coefficients; sharp photos show less "
            f"than {SHARP_JPEG_WIDTH}",
            (GaussianBlur, {"width": width}),
        )
    if seen.width <= SHARP_WIDTH:
        return (
            f"no blur: {seen.width:.2f} pixels wide by its spectrum; sharp photos show less than "
            f"{SHARP_WIDTH}",
            None,
        )
    if seen.shaken > SHAKEN and not compressed:
        return (
            f"blur of any shape, such as a shake: the kernel that its edges show explains its "
            f"spectrum better than a Gaussian, by {seen.shaken:.0f}, where {SHAKEN:.0f} is enough",
            (Blur, {}),
        )
    if major > MAX_RATIO * minor:
        known = {"width": [round(major, 2), round(minor, 2)], "angle": round(angle, 2)}
        return (
            f"blur: about {major:.1f} by {minor:.1f} pixels wide, at "
            f"{math.degrees(angle):.0f} degrees",
            (GaussianBlur, {"isotropic": False, **(known if is_jpeg else {})}),
        )
    return (
        f"blur: about {seen.width:.2f} pixels wide; sharp photos show less than {SHARP_WIDTH}",
        (GaussianBlur, {"width": round(seen.width, 2)} if is_jpeg else {}),
    )


def _darkness(seen: Measurements) -> tuple[str, Part | None]:
    bright = f"its brightest 1 % begin at {seen.brightness:.2f}"
    if seen.brightness < DARK:
        return f"too dark: {bright}; {BRIGHT:.2f} is usual", (Light, {"map_size": 0})
    return f"not too dark: {bright}; those of dark photos begin below {DARK:.2f}", None


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
