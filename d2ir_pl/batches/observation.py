"""What is at hand of each photo of a batch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from d2ir_pl.batches.plan import Plan, Start
from d2ir_pl.degradations import Degradation, Mask, Phi
from d2ir_pl.degradations.observation import observe, shot_noise
from d2ir_pl.degradations.remarks import remarks
from d2ir_pl.degradations.saved import SavedPhi
from d2ir_pl.diagnosis.codecs import least_noise
from d2ir_pl.diagnosis.observed import Observed, observed_pixels
from d2ir_pl.diffusion.randomness import image_generator, normal_like
from d2ir_pl.image_io import read_image
from d2ir_pl.inputs.samples import Sample
from d2ir_pl.operators.linear import Size, joined, size_of
from d2ir_pl.restoration import Problem
from d2ir_pl.restoration.part_problem import PartProblem

MOST_AROUND, SMALL = 25, 2**18
"""How many times the pixels of what the user gets are restored at most, and pixels that may always
be: what lies around a photo is unseen, and only guessed."""


@dataclass(frozen=True, eq=False)
class Observation:
    """A degraded image as a batch of one, and what is known about it.

    Attributes:
        sample: input that it comes from.
        y: `(1, 3, h, w)`, or `(1, S, 3, h, w)` for several photos of a scene, in [-1, 1].
        degradation: family that explains it, with what lies in or beside its file.
        reference: `(1, 3, H, W)` clean image, if it is known.
        true_phi: parameters with which the program itself degraded the clean image.
        start: parameters that are known from an earlier restoration.
        first: `(1, 3, H, W)` image of that restoration, where it is at hand.
        observed: `(1, 1, h, w)`, 0 where a pixel of y is no part of the photo, such as a
            transparent or dead one; None where all are.
        kept: `(1, 1, h, w)`, 1 where the result has the pixels of y; None where it has none.
        findings: sentences on such pixels.
        why: sentences on why this photo is restored as it is, where the program has chosen that.
        within: photo of which this is a part, and its first row and column; None if it is whole.
    """

    sample: Sample
    y: Tensor
    degradation: Degradation
    reference: Tensor | None = None
    true_phi: Phi | None = None
    start: SavedPhi | None = None
    first: Tensor | None = None
    observed: Tensor | None = None
    kept: Tensor | None = None
    findings: tuple[str, ...] = ()
    why: tuple[str, ...] = ()
    within: tuple[Observation, Size] | None = None

    def reasons(self, plan: Plan, phi: Phi) -> list[str]:
        """Sentences on what was decided by the photo and what lies beside it.

        Args:
            plan: how the photo was restored.
            phi: parameters with which it was, a batch of one.
        """
        (description,) = plan.degradation.describe(phi)
        own = (*self.degradation.reasons, *self.findings)
        return [*self.why, *plan.reasons, *own, *remarks(description), *plan.asides]

    @staticmethod
    def problem(
        observations: Sequence[Observation], plan: Plan, seed: int, sigma_y: float | None
    ) -> Problem:
        """What is to be solved for several photos as a batch; a part has the noise of its photo.

        Args:
            observations: photos of one size.
            plan: how they are restored.
            seed: number from which, with the key of its file, every photo draws its noise.
            sigma_y: standard deviation of their noise in [0, 1]; estimated if None.
        """
        family, whole = Observation.together(observations, plan), None
        told = None if sigma_y is None else torch.full((len(observations),), 2 * sigma_y)
        within = observations[0].within if len(observations) == 1 else None
        if within is not None:
            photo = within[0]
            if family.holes is None:  # which would be those of the part
                photo = replace(photo, degradation=family)
            whole = Observation.problem([photo], plan, seed, sigma_y)
            told = whole.sigma_y
        problem = Problem.of(
            joined([o.y for o in observations]),
            family,
            [image_generator(seed, o.sample.item.key) for o in observations],
            told,
            Observation.all_observed(observations),
            torch.tensor([o.least_noise for o in observations]),
        )
        first = [o.first for o in observations if o.first is not None]
        if len(first) == len(observations):
            problem = replace(problem, first=torch.cat(first))
        if whole is None or within is None:
            return problem
        return PartProblem.within(whole, within[1], problem)

    @property
    def photo(self) -> Observation:
        """The whole photo, of which this may be a part."""
        return self if self.within is None else self.within[0]

    @property
    def least_noise(self) -> float:
        """The least noise that is assumed, in [-1, 1], where it is estimated."""
        return least_noise(self.sample.photo, self.degradation)

    @staticmethod
    def all_observed(observations: Sequence[Observation]) -> Tensor | None:
        """`Observation.observed` of several photos as a batch."""
        observed = [o.observed for o in observations]
        if all(own is None for own in observed):
            return None
        whole = torch.ones_like(observations[0].y[:, :1])
        return torch.cat([whole if own is None else own for own in observed])

    @torch.no_grad()
    def started(self, start: Start | None) -> Observation:
        """The same with the phi known that was found for this photo before; itself without start.

        Raises:
            ValueError: if there is none, or it is of another family, or does not fit the photo.
        """
        if start is None:
            return self
        saved = start(self.sample)
        degradation = saved.told(self.degradation)
        try:
            phi = degradation.init(self.y, self.y.new_ones(1))
            degradation(degradation.lift(self.y, phi), phi)
        except (RuntimeError, LookupError):
            height, width = size_of(self.y)
            raise ValueError(
                f"the parameters in {saved.source} do not fit this photo of {height}x{width} "
                "pixels: take those of a photo of its size"
            ) from None
        first = None
        if saved.restored is not None:
            first = read_image(saved.restored).pixels[None].to(self.y)
            if size_of(first) != degradation.frame.output_size(size_of(self.y)):
                raise ValueError(f"{saved.restored} is not of its size: restore it there again")
        return replace(self, degradation=degradation, start=saved, first=first)

    def under(self, degradation: Degradation) -> Observation:
        """The same photo under another degradation, with what its file says of that.

        Args:
            degradation: family that takes the place of its own; what is known of phi stays known.
        """
        photo, key = self.sample.photo, self.sample.item.key
        family = degradation.for_images([photo], [key])
        if self.start is None:
            return replace(self, degradation=family)
        return replace(self, degradation=self.start.told(family))

    @property
    def restored_as(self) -> Sample:
        """The sample as its restoration is written: holes that were transparent are opaque."""
        alpha, holes = self.sample.photo.alpha, self.degradation.holes
        if alpha is None or holes is None:
            return self.sample
        photo = replace(self.sample.photo, alpha=torch.maximum(alpha, holes[0]))
        return replace(self.sample, photo=photo)

    @staticmethod
    def together(observations: Sequence[Observation], plan: Plan) -> Degradation:
        """The family that explains several images as one batch."""
        if len(observations) == 1:
            return observations[0].degradation
        photos = [o.sample.photo for o in observations]
        keys = [o.sample.item.key for o in observations]
        family = plan.degradation.for_images(photos, keys, observations[0].true_phi is None)
        told = [o for o in observations if o.start is not None]
        known = [o.degradation.init(o.y, o.y.new_ones(1)) for o in told]
        return family.told(Phi.join(known)) if known else family

    @classmethod
    def given(cls, sample: Sample, y: Tensor, degradation: Degradation) -> Observation:
        """A photo as it is.

        Raises:
            ValueError: if its reference is of a wrong size, or the degradation lacks something of
                this photo, such as a mask.
        """
        reference = None if sample.reference is None else sample.reference.pixels[None]
        if reference is not None:
            height, width = degradation.frame.output_size(size_of(y))
            if size_of(reference) != (height, width):
                theirs = "{}x{}".format(*size_of(reference))
                raise ValueError(
                    f"its reference {sample.item.reference} is {theirs}, not {height}x{width}"
                )
        if sample.photo.mask is not None and _ignores_masks(degradation):
            raise ValueError(
                f"a mask is given, and {type(degradation).__name__} has no use for one: leave it "
                "out, or restore with the degradation Mask()"
            )
        _require_bounded(degradation, size_of(y))
        own = degradation.for_images([sample.photo], [sample.item.key])
        seen = Observed()
        # Where the degradation has holes, what is transparent is among them, or left out too.
        if y.ndim == 4 and own.holes is None:
            seen = observed_pixels(sample.photo, sample.y, degradation.frame.factor == 1)
        observed, kept = (None if m is None else m[None].to(y) for m in (seen.mask, seen.kept))
        findings = seen.findings
        return cls(
            sample, y.clone(), own, reference, observed=observed, kept=kept, findings=findings
        )

    @classmethod
    @torch.no_grad()
    def made(
        cls,
        sample: Sample,
        clean: Tensor,
        degradation: Degradation,
        noise: float,
        seed: int,
        photons: float | None = None,
    ) -> Observation:
        """A clean image degraded, with noise, in 8 bits: as a camera would have stored it.

        Args:
            sample: the clean image's file.
            clean: `(1, 3, H, W)`, x, which is cut to a size that a whole y can show.
            degradation: family that phi is drawn from.
            noise: standard deviation of n in [0, 1].
            seed: seed of phi and n, beside the image's own name.
            photons: photons that a white pixel collects, whose own noise comes before n; None for
                as many as show none.

        Raises:
            ValueError: if the degradation lacks something of this image, such as a mask.
        """
        _require_bounded(degradation, size_of(clean))
        degradation = degradation.for_images([sample.photo], [sample.item.key], degraded=False)
        x = degradation.frame.fit(clean.clone())
        generators = [image_generator(seed, sample.item.key, "degrade")]
        phi = degradation.draw(generators, x)

        def draw(like: Tensor) -> Tensor:
            n = 2 * noise * normal_like(like, generators)
            if photons is not None:
                n = n + shot_noise(like, photons, generators)
            if sample.photo.grey:
                n = n.narrow(-3, 0, 1).expand_as(n)
            return n

        y = observe(degradation, degradation.frame.embed(x), phi, draw)
        stored = ((y.clamp(-1, 1) + 1) * 127.5).round() / 127.5 - 1
        return cls(sample, stored, degradation, x, phi)


def _require_bounded(degradation: Degradation, size: tuple[int, int]) -> None:
    """Check that a photo needs no huge image around it, as it does for a kernel of its own size.

    Raises:
        ValueError: if it does.
    """
    whole = degradation.frame.image_size(size)
    given = degradation.frame.output_size(size)
    if math.prod(whole) > max(MOST_AROUND * math.prod(given), SMALL):
        raise ValueError(
            "an image of {}x{} pixels would have to be restored for one of {}x{}: ".format(
                *whole, *given
            )
            + "give a smaller kernel, or the whole photo"
        )


def _ignores_masks(degradation: Degradation) -> bool:
    """Whether a degradation of this package has no part that takes a mask."""
    parts = list(degradation.modules())
    own = any(type(part).__module__.partition(".")[0] != "d2ir_pl" for part in parts)
    return not own and not any(isinstance(part, Mask) for part in parts)
