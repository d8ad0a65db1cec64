"""What became of the images of a batch."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from d2ir_pl.batches.attempts import Attempted
from d2ir_pl.batches.observation import Observation
from d2ir_pl.batches.plan import Plan
from d2ir_pl.degradations import Degradation, Phi
from d2ir_pl.degradations.saved import SavedPhi
from d2ir_pl.errors import in_words
from d2ir_pl.inputs.items import Failure
from d2ir_pl.inputs.samples import Sample
from d2ir_pl.operators.freed_memory import give_back
from d2ir_pl.operators.linear import size_of
from d2ir_pl.operators.numbers import compacted
from d2ir_pl.prediction.at_hand import AtHand
from d2ir_pl.restoration import Restoration
from d2ir_pl.results import blind_metrics, metrics
from d2ir_pl.results.record import Record


@dataclass(frozen=True, eq=False, repr=False)
class ImageResult:
    """A restored image and all there is to know of it, on the CPU.

    Attributes:
        sample: input that was restored.
        degradation: family that explains it.
        y: `(3, h, w)` degraded image, or `(S, 3, h, w)` for several photos of a scene.
        shown: `(3, H, W)` y, or a first guess from it, at the size of the restored image.
        reference: `(3, H, W)` clean image, if it is known.
        true_phi: parameters with which the program itself degraded the clean image.
        restoration: batch of this image alone.
        scores: PSNR and so on by the names of `Record`; they may be infinite or NaN.
        notes: sentences on what had to be done differently.
        reasons: sentences on why it was restored so, where the program has chosen that itself.
        tile: largest side in pixels that the prior may see at once.
        precision: name that Lightning has for what the prior computed in.
        phi_change: share by which the degradation's parameters moved from step to step of stage 1,
            see `Degradation.change`; empty where they are known, or there was no such step.
        seed: number from which the noise was drawn, beside the image's own name.
        num_samples: number of restorations, of which this is the mean.
        seconds: time that was spent on it.
        start: parameters that were known from an earlier restoration, if they were.
        opinion: what a second opinion has chosen, see `Record`; empty where there was none.
    """

    sample: Sample
    degradation: Degradation
    y: Tensor
    shown: Tensor
    reference: Tensor | None
    true_phi: Phi | None
    restoration: Restoration
    scores: dict[str, float]
    notes: list[str]
    reasons: list[str]
    tile: int
    precision: str
    phi_change: list[float | None]
    seed: int
    num_samples: int
    seconds: float
    start: SavedPhi | None = None
    opinion: str = ""

    def __repr__(self) -> str:
        height, width = size_of(self.x0)
        scores = "".join(f", {name} {value:.4g}" for name, value in self.scores.items())
        return f"<{type(self).__name__} {self.name!r}: {height}x{width} pixels{scores}>"

    @property
    def name(self) -> str:
        """The name under which it is written."""
        return self.sample.item.name

    @property
    def image(self) -> Tensor:
        """`(3, H, W)` restored image in [0, 1]; `(1, H, W)` where the photo was grey and stays so.

        It is the mean of several restorations where there are.
        """
        unit = (self.x0 + 1) / 2
        grey = self.sample.photo.grey and self.degradation.keeps_grey
        return unit.mean(0, keepdim=True) if grey else unit

    @property
    def parameters(self) -> dict[str, Any]:
        """The estimated degradation as numbers that JSON can hold."""
        return self.degradation.describe(self.restoration.phi)[0]

    @property
    def x0(self) -> Tensor:
        """`(3, H, W)` restored image in [-1, 1]."""
        return self.restoration.x0[0]

    @property
    def std(self) -> Tensor | None:
        """`(1, H, W)` standard deviation of several restorations, in the units of x0."""
        return None if self.restoration.std is None else self.restoration.std[0]

    @property
    def filled_in(self) -> Tensor | None:
        """`(1, H, W)` share in [0, 1] of the details that the prior has filled in, if known."""
        told = self.restoration.provenance
        return None if told is None else told.filled_in[0]

    @property
    def picture(self) -> Tensor | None:
        """`(h, w)` in [0, 1]: what the degradation looks like, such as a kernel."""
        picture = self.degradation.picture(self.restoration.phi)
        return None if picture is None else picture[0]

    def to(self, device: torch.device | str) -> ImageResult:
        """The same with all its tensors on a device; its degradation and its sample stay."""
        return replace(
            self,
            y=self.y.to(device),
            shown=self.shown.to(device),
            reference=None if self.reference is None else self.reference.to(device),
            true_phi=None if self.true_phi is None else self.true_phi.to(device),
            restoration=self.restoration.to(device),
        )

    def record(self, fingerprint: str = "") -> Record:
        """What is written about it: squared residuals and noise refer to [0, 1].

        Args:
            fingerprint: digest of the settings.
        """
        r = self.restoration
        side = max(self.degradation.frame.image_size(size_of(self.y)))
        drawn = self.true_phi
        known = [] if self.start is None else [f"its phi is known from {self.start.source}"]
        return Record(
            name=self.name,
            status="restored",
            fingerprint=fingerprint,
            input_sha256=self.sample.digest,
            reference_sha256=self._reference_sha256(),
            height=r.x0.shape[-2],
            width=r.x0.shape[-1],
            seed=self.seed,
            sigma_y=float(r.sigma_y) / 2,
            model_error=None if r.model_error is None else float(r.model_error) / 2,
            **r.found,
            residual=float(r.residual) / 4,
            stopped_by=r.stopped_by[0],
            nfe=r.nfe[0],
            num_samples=self.num_samples,
            std=None if r.std is None else float(r.std.square().mean().sqrt()) / 2,
            **({} if r.provenance is None else r.provenance.numbers()),
            **({} if r.intervals is None else r.intervals.numbers()),
            precision=self.precision,
            tile=self.tile if side > self.tile else None,
            seconds=round(self.seconds, 3),
            losses={stage: [v / 4 for v in losses[0]] for stage, losses in r.losses.items()},
            phi=compacted(self.parameters),
            degradation=SavedPhi.of(self.degradation, r.phi).as_json(),
            start="" if self.start is None else self.start.source,
            start_sha256="" if self.start is None else self.start.digest,
            phi_change=self.phi_change,
            true_phi=None if drawn is None else compacted(self.degradation.describe(drawn)[0]),
            notes=[*self.sample.photo.notes, *self.notes],
            reasons=[*self.reasons, *known],
            opinion=self.opinion,
            **self._finite(),
        )

    def _finite(self) -> dict[str, Any]:
        """The scores that JSON can hold."""
        return {name: value for name, value in self.scores.items() if math.isfinite(value)}

    def _reference_sha256(self) -> str:
        """Digest of the clean image: the input itself where the program has degraded it."""
        if self.true_phi is not None:
            return self.sample.digest
        return "" if self.sample.reference is None else self.sample.reference.sha256


@dataclass(frozen=True)
class BatchResult:
    """What became of the images of a batch: what `predict_step` returns, and callbacks are given.

    A loop over it goes over the images that were restored.

    Attributes:
        results: images that were restored.
        failures: the others, with reasons.
    """

    results: list[ImageResult]
    failures: list[Failure]

    def __iter__(self) -> Iterator[ImageResult]:
        return iter(self.results)

    def __len__(self) -> int:
        return len(self.results)

    def to(self, device: torch.device | str) -> BatchResult:
        """The same with the tensors of all images on a device, as Lightning asks for."""
        return replace(self, results=[image.to(device) for image in self.results])


@torch.no_grad()
def image_result(
    observation: Observation,
    restored: Attempted,
    at_hand: AtHand,
    plan: Plan,
    precision: str,
    phi_change: list[float | None],
    seed: int,
    num_samples: int,
    seconds: float,
) -> ImageResult:
    """Make the account of a restored image.

    Args:
        observation: the degraded image.
        restored: how it was restored.
        at_hand: its tensors, on the CPU.
        plan: how it was meant to be.
        precision: name that Lightning has for the run's precision.
        phi_change: see `ImageResult`, as are the others.
        seed: seed of its noise.
        num_samples: number of restorations.
        seconds: time that was spent on it.
    """
    restoration, y, shown = at_hand.restoration, at_hand.y, at_hand.shown
    reference = at_hand.reference
    notes, scores = [*restored.notes, *restoration.remarks], {}
    try:
        scores = score(restoration, y, shown, reference, at_hand.observed)
    except Exception as error:  # a photo without scores is still restored
        notes.append(f"it has no scores ({in_words(error)})")
    return ImageResult(
        sample=observation.restored_as,
        degradation=plan.degradation,
        y=y[0],
        shown=shown[0],
        reference=None if reference is None else reference[0],
        true_phi=at_hand.true_phi,
        restoration=restoration,
        scores=scores,
        notes=notes,
        reasons=observation.reasons(plan, restoration.phi),
        tile=restored.tile,
        precision="32-true" if restored.in_float32 else precision,
        phi_change=phi_change,
        seed=seed,
        num_samples=num_samples,
        seconds=seconds,
        start=observation.start,
        opinion=restored.opinion,
    )


def score(
    restoration: Restoration,
    y: Tensor,
    shown: Tensor,
    reference: Tensor | None,
    observed: Tensor | None = None,
) -> dict[str, float]:
    """How good a restoration is, by the names of `Record`.

    Args:
        restoration: batch of one image.
        y: `(1, 3, h, w)` degraded image, or `(1, S, 3, h, w)`.
        shown: `(1, 3, H, W)` y at the size of the restored image.
        reference: `(1, 3, H, W)` clean image, if it is known.
        observed: `(1, 1, h, w)`, 0 where a pixel of y is no part of the photo.
    """
    scores: dict[str, Tensor | None] = {
        "sharpness": blind_metrics.sharpness(restoration.x0),
        "input_sharpness": blind_metrics.sharpness(shown),
        "brisque": blind_metrics.brisque(restoration.x0),
        "input_brisque": blind_metrics.brisque(shown),
    }
    give_back(y)
    if restoration.reblurred is not None and restoration.reblurred.ndim == 4:
        scores["reblur_psnr"] = metrics.psnr(restoration.reblurred, y, observed)
    if reference is not None:
        seen = observed if size_of(y) == size_of(reference) else None
        scores["psnr"] = metrics.psnr(restoration.x0, reference, seen)
        scores["ssim"] = metrics.ssim(restoration.x0, reference)
        scores["input_psnr"] = metrics.psnr(shown, reference, seen)
        scores["lpips"] = metrics.lpips(restoration.x0, reference)
    give_back(y)
    return {name: float(value) for name, value in scores.items() if value is not None}
