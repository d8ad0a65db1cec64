"""A proposal for a photo of which nothing is known: what happened to it, and how to restore it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from torch import Tensor

from d2ir_pl.degradations import Compose, Degradation, Identity
from d2ir_pl.degradations.light import BRIGHT
from d2ir_pl.diagnosis.codecs import CODEC_ERROR
from d2ir_pl.diagnosis.measurements import Measurements, measure
from d2ir_pl.diagnosis.methods import FULL_SIZE_JPEG
from d2ir_pl.estimators.widths import SHARP_WIDTH
from d2ir_pl.image_io import FileTables
from d2ir_pl.restoration import RestorationMethod
from d2ir_pl.restoration.configs import Setup, load, setup_settings
from d2ir_pl.restoration.construction import Settings, concise

# What tells damaged photos from others, on photographs of the training set (docs/experiments.md).
SHARP_JPEG_WIDTH = 0.85
"""Width in pixels of a blur that the coefficients of sharp JPEGs stay below."""
TRUSTED = 0.75
"""Share of the width in its coefficients that the spectrum of a JPEG has to show to be believed."""
MAX_RATIO = 1.5
"""Ratio of the two widths above which a blur counts as stronger in one direction."""
SHAKEN = 75.0
"""Value of `Measurements.shaken` above which the kernel of the edges is believed."""
FAITHFUL, FAITHFUL_TRUSTED = 95, 0.5
"""Quality of a JPEG from which its spectrum shows at least 0.7 of a blur where there is no noise,
and the share of the width in its coefficients from which it is then believed."""
CAUTIOUS = 0.9
"""Share that is undone of the width that the coefficients of a JPEG show, or the spectrum of a WebP
file: a blur that is taken for wider than it was costs more than one that is taken for narrower."""
DARK = BRIGHT / 2
"""99th percentile of the intensities below which a photo counts as too dark."""


@dataclass(frozen=True)
class Finding:
    """What a photo shows of one kind of damage.

    Attributes:
        sentence: the measured value, and what it is compared with.
        config: the shipped config for photos with this damage alone; empty where there is none.
        known: arguments of its degradation that the photo shows.
    """

    sentence: str
    config: str = ""
    known: Settings = field(default_factory=dict)

    @property
    def override(self) -> Settings:
        """Settings that replace those of the degradation in the config."""
        return {"degradation": {"init_args": self.known}}

    @property
    def degradation(self) -> Settings:
        """The settings of the degradation."""
        degradation: Settings = setup_settings(self.config, self.override)["degradation"]
        return degradation


@dataclass(frozen=True)
class Proposal:
    """What happened to a photo, and how to restore it.

    Attributes:
        sentences: what was found of blur, darkness, JPEG and noise.
        config: the shipped config that restores such a photo.
        overrides: settings that differ from the config's, in a tree like that under its `model`.
    """

    sentences: tuple[str, ...]
    config: str
    overrides: Settings

    @property
    def parts(self) -> tuple[Settings, ...]:
        """The degradations in the order in which they happened; none where there is only noise."""
        degradation = setup_settings(self.config, self.overrides)["degradation"]
        if _name(degradation) == Compose.__name__:
            return tuple(degradation["init_args"]["parts"])
        return () if _name(degradation) == Identity.__name__ else (degradation,)

    @property
    def kinds(self) -> str:
        """The names of the degradations."""
        return " + ".join(map(_name, self.parts)) or "noise alone"

    @property
    def reasons(self) -> tuple[str, ...]:
        """What the photo is taken for, and the findings that led there."""
        return f"taken for: {self.kinds}", *self.sentences

    @property
    def degradation(self) -> Degradation:
        """The degradation that explains the photo."""
        return load(self.config, self.overrides).degradation

    @property
    def method(self) -> RestorationMethod:
        """What restores photos that were degraded so."""
        return load(self.config, self.overrides).method

    def settings(self) -> Settings:
        """The same as a config of `predict` without its defaults, and with a second opinion."""
        setup = concise(Setup, setup_settings(self.config, self.overrides))
        return {"model": setup | {"second_opinion": True}}


def propose(
    y: Tensor,
    tables: FileTables | None = None,
    sigma_y: float | None = None,
    observed: Tensor | None = None,
    codec: str = "",
) -> Proposal:
    """Look at a photo and say what happened to it.

    Args:
        y: the photo, `(3, H, W)` in [-1, 1].
        tables: quantisation tables of the JPEG that it was read from; found in its pixels if None.
        sigma_y: standard deviation of the photo's noise in [0, 1]; estimated if None.
        observed: `(1, H, W)`, 0 where a pixel is no part of the photo, such as a transparent one;
            None where all are.
        codec: lossy format of its file, as `Photo` has it.
    """
    return explain(measure(y, tables, sigma_y, observed, codec))


def explain(seen: Measurements) -> Proposal:
    """The proposal that measurements lead to."""
    blur, light, jpeg = _blur(seen), _darkness(seen), _compression(seen)
    noise = f"noise: about {seen.sigma_y:.3f} of the range"
    if jpeg.config:
        noise = f"noise: about {seen.jpeg_noise:.1f} grey levels before the compression"
    sentences = (blur.sentence, light.sentence, jpeg.sentence, noise)
    damage = [finding for finding in (blur, light, jpeg) if finding.config]
    if not damage:
        return Proposal(sentences, "denoising", {})
    if len(damage) == 1:
        return Proposal(sentences, damage[0].config, damage[0].override)
    parts = [finding.degradation for finding in damage]
    chain = {"class_path": "d2ir_pl.degradations.Compose", "init_args": {"parts": parts}}
    overrides: Settings = {"degradation": chain}
    if jpeg.config:
        return Proposal(sentences, "old_photo", overrides | FULL_SIZE_JPEG)
    # The settings for a free kernel allow for its errors, which those for a dark photo do not.
    shaken = blur.config == "blind_deblur_kernel"
    return Proposal(sentences, blur.config if shaken else light.config, overrides)


def _blur(seen: Measurements) -> Finding:
    """Judge the blur by the spectrum, the edges and, of a JPEG, the coefficients.

    The spectrum of a JPEG misses most of a blur, unless its quality is among the best; the
    coefficients do not, but they show no direction. The width of a JPEG is handed on as known,
    because stage 1 would read it off the spectrum again.
    """
    (major, minor), angle = seen.widths, seen.angle
    is_jpeg = seen.jpeg_width > 0 or bool(seen.codec)
    known: Settings = {}
    faithful = seen.quality >= FAITHFUL and seen.jpeg_noise <= 1
    trusted = FAITHFUL_TRUSTED if faithful else TRUSTED
    if seen.jpeg_width > SHARP_JPEG_WIDTH and seen.width < trusted * seen.jpeg_width:
        width = round(CAUTIOUS * seen.jpeg_width, 2)
        return Finding(
            f"blur: about {width:.1f} pixels wide by its JPEG coefficients; sharp photos show less "
            f"than {SHARP_JPEG_WIDTH}",
            "blind_deblur",
            {"width": width},
        )
    if seen.width <= SHARP_WIDTH:
        return Finding(
            f"no blur: {seen.width:.2f} pixels wide by its spectrum; sharp photos show less than "
            f"{SHARP_WIDTH}"
        )
    if seen.shaken > SHAKEN and not is_jpeg:  # whose rounding shapes its spectrum
        return Finding(
            f"blur of any shape, such as a shake: the kernel that its edges show explains its "
            f"spectrum better than a Gaussian, by {seen.shaken:.0f}, where {SHAKEN:.0f} is enough",
            "blind_deblur_kernel",
        )
    if major > MAX_RATIO * minor and not seen.codec:
        if is_jpeg:
            known = {"width": [round(major, 2), round(minor, 2)], "angle": round(angle, 2)}
        return Finding(
            f"blur: about {major:.1f} by {minor:.1f} pixels wide, at "
            f"{math.degrees(angle):.0f} degrees",
            "blind_deblur_anisotropic",
            known,
        )
    if is_jpeg:
        known = {"width": round((CAUTIOUS if seen.codec else 1) * seen.width, 2)}
    return Finding(
        f"blur: about {seen.width:.2f} pixels wide; sharp photos show less than {SHARP_WIDTH}",
        "blind_deblur",
        known,
    )


def _darkness(seen: Measurements) -> Finding:
    """Judge the brightness."""
    bright = f"its brightest 1 % begin at {seen.brightness:.2f}"
    if seen.brightness < DARK:
        return Finding(f"too dark: {bright}; {BRIGHT:.2f} is usual", "low_light")
    return Finding(f"not too dark: {bright}; those of dark photos begin below {DARK:.2f}")


def _compression(seen: Measurements) -> Finding:
    """Judge the quality of a JPEG."""
    source = "its file says" if seen.from_file else "its pixels show"
    if seen.codec:
        return Finding(
            f"{seen.codec}: compressed, it is unknown how much; an error of at least "
            f"{CODEC_ERROR / 2:.3f} of the range is assumed where a blur is undone"
        )
    if seen.quality < 100:
        return Finding(f"JPEG: {source} a quality of {seen.quality}", "jpeg")
    return Finding("no JPEG: its pixels show no rounding of coefficients")


def _name(degradation: Settings) -> str:
    return str(degradation["class_path"]).rpartition(".")[2]
