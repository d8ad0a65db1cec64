"""A proposal for a photo of which nothing is known: what happened to it, and how to restore it."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from d2ir_pl.degradations import Compose, Degradation, Identity
from d2ir_pl.diagnosis.blur import LITTLE, blur, compared
from d2ir_pl.diagnosis.codecs import EARLIER_ERROR, EARLIER_ERROR_IN_NOISE, codec_error
from d2ir_pl.diagnosis.darkness import darkness
from d2ir_pl.diagnosis.fading import fading
from d2ir_pl.diagnosis.finding import Finding
from d2ir_pl.diagnosis.measurements import Measurements, measure
from d2ir_pl.diagnosis.methods import FULL_SIZE_JPEG, NOISY_JPEG
from d2ir_pl.diagnosis.noise import noise
from d2ir_pl.image_io import FileTables
from d2ir_pl.restoration import RestorationMethod
from d2ir_pl.restoration.configs import Setup, load, setup_settings
from d2ir_pl.restoration.construction import Settings, concise

WORDS = {
    "Blur": "shaken, or blurred in any way",
    "GaussianBlur": "soft",
    "DefocusBlur": "out of focus",
    "Light": "too dark",
    "Fading": "faded",
    "Jpeg": "spoiled by JPEG",
}
"""What the degradations are called by people."""

SUBJECT = (
    "out of focus in part: the blur was measured where the photo is sharpest ({}), and the rest, "
    "such as a soft background, is not sharpened any more than that"
)
SHARP_SUBJECT = (
    "out of focus in part: it is sharp at its sharpest place ({}), and the rest, such as a soft "
    "background, is left as it is"
)
"""What is said of a subject before a softer ground, where a blur is undone and where none is."""

_NOISE = "taken for: noise alone"


@dataclass(frozen=True)
class Proposal:
    """What happened to a photo, and how to restore it.

    Attributes:
        sentences: what was found of blur, darkness, JPEG and noise.
        config: the shipped config that restores such a photo.
        overrides: settings that differ from the config's, in a tree like that under its `model`.
        damage: for each kind of damage that was found, the shipped config for it alone.
    """

    sentences: tuple[str, ...]
    config: str
    overrides: Settings
    damage: tuple[str, ...] = ()

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
        return " + ".join(map(_name, self.parts)) or _NOISE.removeprefix("taken for: ")

    @property
    def reasons(self) -> tuple[str, ...]:
        """What the photo is taken for, and the findings that led there."""
        words = ", ".join(WORDS.get(_name(part), _name(part)) for part in self.parts)
        return f"taken for: {words} ({self.kinds})" if words else _NOISE, *self.sentences

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
    step: float | None = None,
) -> Proposal:
    """Look at a photo and say what happened to it.

    Args:
        y: the photo, `(3, H, W)` in [-1, 1].
        tables: quantisation tables of the JPEG that it was read from; found in its pixels if None.
        sigma_y: standard deviation of the photo's noise in [0, 1]; estimated if None.
        observed: `(1, H, W)`, 0 where a pixel is no part of the photo, such as a transparent one;
            None where all are.
        codec: lossy format of its file, as `Photo` has it.
        step: step of that format, as `Photo` has it.
    """
    return explain(measure(y, tables, sigma_y, observed, codec, step))


def explain(seen: Measurements) -> Proposal:
    """The proposal that measurements lead to."""
    blurred, dark = blur(seen), darkness(seen.light)
    jpeg = _compression(seen, blurred)
    faded = fading(seen.tones)
    if not dark.config and not faded.config:
        blurred = compared(seen, blurred)
    noisy = noise(seen, blurred)
    damage = [finding for finding in (blurred, dark, faded, jpeg) if finding.config]
    if noisy.config and not dark.config and not faded.config:
        damage = [noisy]
        if blurred.config:
            blurred = Finding("no blur to undo: its noise is about as soft as the photo")
    sentences = tuple(
        finding.told
        for finding in (blurred, dark, faded, jpeg, noisy)
        if finding is not faded or faded.config
    )
    names = tuple(finding.config for finding in damage)
    if seen.subject and not seen.trails:
        said = SUBJECT if blurred.config else SHARP_SUBJECT
        sentences += (said.format(seen.subject),)
    if seen.part is not None:
        size = "{}x{}".format(*seen.part)
        sentences += (f"measured on its liveliest {size} pixels, where its edges are strongest",)
    config, overrides = _chained(damage, seen.jpeg_noise > LITTLE)
    return Proposal(sentences, config, overrides, names)


def _chained(damage: list[Finding], noisy: bool) -> tuple[str, Settings]:
    """The config for what was found, in the order of its happening, and what differs from it."""
    if not damage:
        return "denoising", {}
    if len(damage) == 1:
        return damage[0].config, damage[0].override
    parts = [finding.degradation for finding in damage]
    chain = {"class_path": "d2ir_pl.degradations.Compose", "init_args": {"parts": parts}}
    overrides: Settings = {"degradation": chain}
    names = [finding.config for finding in damage]
    # The settings for a free kernel allow for its errors, which those for others do not.
    if "blind_deblur_kernel" in names:
        return "blind_deblur_kernel", overrides
    if "jpeg" in names:
        return "old_photo", overrides | (NOISY_JPEG if noisy else FULL_SIZE_JPEG)
    return next(name for name in ("low_light", "faded") if name in names), overrides


def _compression(seen: Measurements, blurred: Finding) -> Finding:
    """Judge the quality of a JPEG, and what an earlier one has left where a blur is undone."""
    source = "its file says" if seen.from_file else "its pixels show"
    if seen.codec:
        known = "compressed, it is unknown how much"
        if seen.step is not None:
            known = f"its file says a quantisation step of {seen.step:.1f} grey levels"
        return Finding(
            f"{seen.codec}: {known}; an error of at least {codec_error(seen.step) / 2:.3f} of the "
            "range is assumed where a blur is undone"
        )
    if seen.quality < 100:
        sentence = f"JPEG: {source} a quality of {seen.quality}"
        if not seen.earlier:
            return Finding(sentence, "jpeg")
        sentence += ", and its pixels that it was cropped and had been compressed before"
        noise = EARLIER_ERROR_IN_NOISE if seen.jpeg_noise > LITTLE else EARLIER_ERROR
        return Finding(sentence, "jpeg", {"noise": noise} if blurred.config else {})
    return Finding("no JPEG: its pixels show no rounding of coefficients")


def _name(degradation: Settings) -> str:
    return str(degradation["class_path"]).rpartition(".")[2]
