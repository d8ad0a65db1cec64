"""A second opinion on a restored photo, and the gentler hypotheses that are tried after a no."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch

from d2ir_pl.batches.attempts import Attempted
from d2ir_pl.batches.observation import Observation
from d2ir_pl.batches.plan import Plan
from d2ir_pl.degradations import Blur, Compose, Degradation, Fading, Identity, Jpeg, Light, Phi
from d2ir_pl.degradations.convolutional_blur import ConvolutionalBlur
from d2ir_pl.diagnosis.codecs import is_jpeg
from d2ir_pl.diagnosis.methods import suiting
from d2ir_pl.diagnosis.opinion import objection
from d2ir_pl.restoration import BlindDenoising, Intervals, Problem, Restoration

WEAKER, NOISIER = 0.7, 2.0
"""Share of a blur, and multiple of the noise, that the first of the gentler hypotheses assumes."""
LESS = 0.5
"""Share of the noise that is removed where all of it was perhaps texture."""
UNTOLD = 0.5
"""How sure the kernel of a shake is where no other was compared with it."""
SIZES = ("log_width", "log_radius", "log_length")
"""Parameters that are logarithms of the size of a blur."""

TONES = (Light, Fading)
"""Degradations of brightness and colour, which are undone even where nothing else is."""

Restore = Callable[[Observation, Plan, float | None], Attempted | None]
"""Restores a photo by another plan, with a noise in [0, 1] or its estimate; None if that fails."""


@dataclass(frozen=True)
class Hypothesis:
    """Another explanation of a photo, gentler than the one before.

    Attributes:
        name: what a record calls it.
        words: what was done, as the end of a sentence.
        plan: way to restore the photo.
        sigma_y: noise in [0, 1]; estimated if None.
    """

    name: str
    words: str
    plan: Plan
    sigma_y: float | None


def reconsidered(
    first: Attempted, observation: Observation, plan: Plan, restore: Restore
) -> tuple[Attempted, Plan]:
    """A restored photo itself where nothing is against it, and otherwise what is gentler.

    What is against it is judged without the truth, see `objection`. Then a weaker blur with more
    noise is undone, then no blur; where noise alone was removed, half of it, and then the rounding
    of a JPEG alone. Each is judged in its turn, and the last one is the photo itself, with the
    brightness and the colours that were found for it.

    Args:
        first: the restored photo.
        observation: the photo.
        plan: how it was restored.
        restore: function that restores it otherwise.

    Returns:
        The result, with a note on what was done where it is another, and the plan it is of.
    """
    if not is_judged(observation, plan):
        return first, plan
    sure = _shake(first.restoration, plan)
    against = _objection(first, observation, plan, sure)
    if not against:
        return replace(first, opinion="agreed"), plan
    nfe, gentlest = first.restoration.nfe[0], first.restoration
    for other in _gentler(first.restoration, observation, plan):
        again = restore(observation.under(other.plan.degradation), other.plan, other.sigma_y)
        if again is None or not again.sound:
            continue
        gentlest = again.restoration
        nfe += gentlest.nfe[0]
        if not _objection(again, observation, other.plan, sure):
            break
    else:
        other, again = _nothing(first, gentlest, observation, plan)
    restoration = replace(again.restoration, nfe=[nfe])
    note = f"second opinion: the first result was set aside, because {against}; {other.words}"
    notes = [*first.notes, *(n for n in again.notes if n not in first.notes), note]
    return replace(again, restoration=restoration, notes=notes, opinion=other.name), other.plan


def is_judged(observation: Observation, plan: Plan) -> bool:
    """Whether there is a second opinion on the restoration of a photo.

    There is none where the photo lacks what the result is to have, such as pixels or colours, where
    phi is known from an earlier restoration, and where the program has degraded the photo itself.
    """
    kinds = (ConvolutionalBlur, Identity, Jpeg, *TONES)
    own = all(isinstance(part, kinds) for part in _parts(plan.degradation))
    return own and plan.start is None and observation.true_phi is None and observation.y.ndim == 4


@torch.no_grad()
def _objection(
    attempted: Attempted, observation: Observation, plan: Plan, sure: float | None
) -> str:
    """What is against a restored photo, judged beside the photo with its brightness and colours."""
    r = attempted.restoration
    shown = plan.degradation.frame.crop(plan.degradation.lift(observation.y, r.phi))
    image = r.x0.to(shown)
    if observation.observed is not None:  # nothing is known of the other pixels
        image = torch.where(observation.observed == 1, image, shown)
    noise_alone, codec = isinstance(plan.degradation, Identity), observation.sample.photo.codec
    return objection(shown.clamp(-1, 1), image, float(r.sigma_y), noise_alone, sure, codec)


def _shake(first: Restoration, plan: Plan) -> float | None:
    """How sure the kernel of a shake is that was undone; None where a Gaussian or none was."""
    free = any(isinstance(part, Blur) for part in _parts(plan.degradation))
    if not free or any(kernel.source == "gaussian" for kernel in first.kernels):
        return None
    return first.kernels[0].sure if first.kernels else UNTOLD


def _gentler(first: Restoration, observation: Observation, plan: Plan) -> Iterator[Hypothesis]:
    """Gentler hypotheses about a photo, in their order."""
    parts = _parts(plan.degradation)
    if isinstance(plan.method, BlindDenoising):
        yield from _less_noise(observation, plan)
    rest = [part for part in parts if not isinstance(part, ConvolutionalBlur)]
    if len(rest) == len(parts):
        return
    noise = None if any(isinstance(part, Jpeg) for part in parts) else NOISIER
    weaker = observation.degradation.told(_weaker(plan.degradation, first.phi))
    size = (
        "the same blur" if _shake(first, plan) is not None else f"a blur of {WEAKER:g} of that size"
    )
    yield Hypothesis(
        "weaker",
        f"{size} was undone instead, with {NOISIER:g} times the noise",
        replace(plan, degradation=weaker),
        None if noise is None else min(noise * float(first.sigma_y) / 2, 0.9),
    )
    left = Identity() if not rest else rest[0] if len(rest) == 1 else Compose(rest)
    words = "no blur was undone" if rest else "only noise was removed"
    yield Hypothesis("no blur", words, replace(plan, degradation=left, method=suiting(left)), None)


def _less_noise(observation: Observation, plan: Plan) -> Iterator[Hypothesis]:
    """Hypotheses after one that all there is to a photo is its noise."""
    words = f"{LESS:.0%} of the noise was removed instead"
    yield Hypothesis("less noise", words, replace(plan, method=BlindDenoising(LESS)), None)
    photo = observation.sample.photo
    if is_jpeg(observation.y[0], photo):
        jpeg = Jpeg()
        words = "only the rounding of its JPEG was undone"
        yield Hypothesis("JPEG", words, replace(plan, degradation=jpeg, method=suiting(jpeg)), None)


def _weaker(degradation: Degradation, phi: Phi) -> Phi:
    """The parameters of a weaker blur, and of more noise before a JPEG."""
    changed = {}
    for name, value in phi.items():
        last = name.rpartition(".")[2]
        if last in SIZES:
            changed[name] = value + math.log(WEAKER)
        elif last == "noise":
            changed[name] = NOISIER * value
    return degradation.canonicalize(phi.detach().replace(**changed))


def _nothing(
    first: Attempted, gentlest: Restoration, observation: Observation, plan: Plan
) -> tuple[Hypothesis, Attempted]:
    """The photo itself, with the brightness and the colours that it should have.

    What is no photo, such as scratches and dead pixels, is filled in as the gentlest restoration
    has it.
    """
    own = [(plan.degradation, first.restoration.phi)]
    if isinstance(plan.degradation, Compose):
        own = plan.degradation.split(first.restoration.phi)
    tones: list[Degradation] = [part.told(phi) for part, phi in own if isinstance(part, TONES)]
    family: Degradation
    family = Identity() if not tones else tones[0] if len(tones) == 1 else Compose(tones)
    sigma = first.restoration.sigma_y.to(observation.y)
    problem = Problem(observation.y, sigma, family, [torch.Generator()])
    phi = problem.init()
    image = problem.lift(phi)
    if observation.observed is not None:  # what is no photo is not left as it is
        image = torch.where(observation.observed == 1, image, gentlest.x0.to(image))
    result = problem.result(image, phi, nfe=0, stopped_by="opinion", losses={})
    if first.restoration.intervals is not None:
        result = replace(result, intervals=Intervals.unknown("no restoration of it is kept", 1))
    words = "the photo is left as it is"
    if tones:
        words = "only its brightness and its colours were changed"
    hypothesis = Hypothesis("the photo", words, replace(plan, degradation=family), None)
    return hypothesis, Attempted(result, first.tile)


def _parts(degradation: Degradation) -> list[Degradation]:
    return list(degradation.parts) if isinstance(degradation, Compose) else [degradation]
