"""What a restoration returns."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from d2ir_pl.degradations import Phi
from d2ir_pl.operators.fetching import on_cpu
from d2ir_pl.operators.linear import rows_of
from d2ir_pl.restoration.half_widths import Intervals
from d2ir_pl.stages import Stage, StoppedBy

Losses = dict[Stage, list[list[float]]]
"""The misfit at every step of every image of the batch, by stage."""


NO_INTERVALS = "it has no intervals: "
"""How the sentence begins that says why nothing is known of how far a restoration can be off."""


@dataclass(frozen=True)
class KernelEvidence:
    """How sure a kernel is that was chosen among several guesses.

    Attributes:
        source: what the chosen one was read off: `gaussian`, `motion`, `disk` or `edges`.
        guesses: number of guesses that a walk was taken for.
        lead: by how much its score is better than that of the best guess of another shape; None
            where there is no other.
        sure: probability in [0, 1] of its shape among the guesses.
        places: how like the kernel of each part of the photo is to the mean of the others, in
            [0, 1], by rows and columns of parts; None where a part shows none, and empty where they
            were not compared.
        halves: the same for the halves of these parts, the mean of all; None where it is empty.
    """

    source: str
    guesses: int
    lead: float | None
    sure: float
    places: list[list[float | None]] = field(default_factory=list)
    halves: float | None = None


@dataclass(frozen=True)
class LightsFound:
    """Lights brighter than white that were found in a photo whose blur was undone (`lamps.py`).

    Attributes:
        count: number of lamps and other lights that count.
        hidden: share of the photo that their blurred light hides, in [0, 1].
        left: number of further lights that are left as they are, because all of them together would
            hide too much.
    """

    count: int
    hidden: float
    left: int = 0

    @property
    def remarks(self) -> list[str]:
        """Sentences on them for the owner of the photo."""
        said = []
        if self.hidden > 0:
            what = _lights(self.count) if self.count else "light from outside"
            said.append(
                f"the blur has spread {what} brighter than white over {self.hidden:.1%} of the "
                "photo, which is filled in"
            )
        if self.left:
            said.append(
                f"{_lights(self.left)} brighter than white left as in the photo, perhaps with "
                "rings: all of them together hide too much of it"
            )
        return said


def _lights(count: int) -> str:
    return "1 light" if count == 1 else f"{count} lights"


@dataclass(frozen=True, eq=False)
class Provenance:
    """The share of a batch of restored images that the prior has filled in.

    Attributes:
        filled_in: `(B, 1, H, W)` in [0, 1], of the details around each pixel: 0 where the photo
            tells all of them, 1 where it tells nothing.
        by_size: `(B, K)` the same for each size of details, from fine to coarse, of the image
            as a whole.
        share: `(B,)` the same for all of the image's details.
        left_over: `(B, K)` root mean square of what is left unexplained of the photo at each size,
            over its noise: 1 where it is explained to its noise; NaN where the photo has no such
            size, or its misfit is not known.
    """

    filled_in: Tensor
    by_size: Tensor
    share: Tensor
    left_over: Tensor

    def each(self, function: Callable[[Tensor], Tensor]) -> Provenance:
        """What a function makes of it, tensor by tensor."""
        return Provenance(*map(function, self._values))

    def numbers(self) -> dict[str, Any]:
        """The shares of a batch of one, as a record has them; none that JSON cannot hold."""
        if not bool(self.by_size.isfinite().all()):
            return {}
        by_size = [round(share, 4) for share in self.by_size[0].tolist()]
        left_over = [
            round(ratio, 3) for ratio in self.left_over[0].tolist() if math.isfinite(ratio)
        ]
        return {
            "filled_in": round(float(self.share), 4),
            "filled_in_by_size": by_size,
            "residual_by_size": left_over,
        }

    def of_share(self, share: Tensor) -> Provenance:
        """That of images of which a share is kept, `(B, 1, H, W)` in [0, 1]."""
        filled_in = share * self.filled_in
        kept = filled_in.mean((1, 2, 3)) / self.filled_in.mean((1, 2, 3)).clamp_min(1e-6)
        return replace(
            self,
            filled_in=filled_in,
            by_size=kept[:, None] * self.by_size,
            share=kept * self.share,
        )

    def within(self, nothing: Tensor, top: int, left: int) -> Provenance:
        """That of images of which these are a part, and the others are as the photos have them.

        Args:
            nothing: `(B, 1, H, W)` zeros of the size of the whole.
            top: first row of the part.
            left: first column of it.
        """
        rows, columns = self.filled_in.shape[-2:]
        whole = nothing.clone()
        whole[..., top : top + rows, left : left + columns] = self.filled_in
        area = rows * columns / nothing[0].numel()
        return replace(self, filled_in=whole, by_size=area * self.by_size, share=area * self.share)

    @staticmethod
    def join(parts: Sequence[Provenance]) -> Provenance:
        """That of one batch made of several."""
        return Provenance(*map(torch.cat, zip(*(part._values for part in parts), strict=True)))

    @property
    def _values(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return self.filled_in, self.by_size, self.share, self.left_over


@dataclass
class Restoration:
    """A batch of restored images and what explains them.

    Attributes:
        x0: restored images, `(B, 3, H, W)` in [-1, 1].
        phi: parameters of the degradation.
        residual: `(B,)` misfit: mean square of y - D_phi(x_0) over the values of y that say
            something about x_0; equal to sigma_y^2 where y is explained to its noise.
        sigma_y: `(B,)` standard deviation of the noise, in the units of [-1, 1].
        nfe: number of network evaluations spent on each image.
        stopped_by: reason why each image was finished.
        losses: misfit of each image at every step, by stage.
        reblurred: D_phi(x_0), the prediction of y.
        model_error: `(B,)` standard deviation of what the degradation was taken not to express, in
            the units of [-1, 1]; None for methods that assume nothing of the kind.
        std: `(B, 1, H, W)` standard deviation of several restorations in the units of x0; None
            where there is one.
        kernels: for each image, how sure its kernel is; empty where no kernels were compared.
        lights: for each image, the lights brighter than white that were found in its photo, or
            None; empty where none were looked for.
        provenance: what of it the prior has filled in; None where that is not known.
        intervals: how far its pixels can be off; None for single restorations.
    """

    x0: Tensor
    phi: Phi
    residual: Tensor
    sigma_y: Tensor
    nfe: list[int]
    stopped_by: list[StoppedBy]
    losses: Losses = field(default_factory=dict)
    reblurred: Tensor | None = None
    std: Tensor | None = None
    model_error: Tensor | None = None
    kernels: list[KernelEvidence] = field(default_factory=list)
    lights: list[LightsFound | None] = field(default_factory=list)
    provenance: Provenance | None = None
    intervals: Intervals | None = None

    @property
    def remarks(self) -> list[str]:
        """Sentences on what was found in its photos, and on what is not known of it."""
        said = [remark for found in self.lights if found is not None for remark in found.remarks]
        unknown = self.intervals.reasons if self.intervals is not None else ()
        said += [f"{NO_INTERVALS}{reason}" for reason in unknown if reason]
        return list(dict.fromkeys(said))

    @property
    def found(self) -> dict[str, Any]:
        """What was found in the photo of a batch of one, by the names that a record has for it."""
        kernel, lights = (next((o for o in own if o), None) for own in (self.kernels, self.lights))
        return {
            "kernel": {} if kernel is None else asdict(kernel),
            "lights": {} if lights is None else asdict(lights),
        }

    def without_intervals(self, reason: str) -> Restoration:
        """The same, where it has intervals with the reason why they are not known any more."""
        if self.intervals is None:
            return self
        return replace(self, intervals=Intervals.unknown(reason, len(self.nfe)))

    def select(self, images: Sequence[int]) -> Restoration:
        """The restoration of some images of the batch."""
        rows = list(images)
        return replace(
            self.each(lambda value: rows_of(value, rows)),
            nfe=[self.nfe[b] for b in rows],
            stopped_by=[self.stopped_by[b] for b in rows],
            losses={stage: [losses[b] for b in rows] for stage, losses in self.losses.items()},
            kernels=[self.kernels[b] for b in rows] if self.kernels else [],
            lights=[self.lights[b] for b in rows] if self.lights else [],
            intervals=None if self.intervals is None else self.intervals.select(rows),
        )

    @staticmethod
    def join(parts: Sequence[Restoration]) -> Restoration:
        """The restoration of one batch made of several.

        Args:
            parts: results of the same method on images of one size.
        """
        first = parts[0]
        reblurred = [part.reblurred for part in parts if part.reblurred is not None]
        several = any(part.std is not None for part in parts)
        std = [torch.zeros_like(part.x0[:, :1]) if part.std is None else part.std for part in parts]
        errors = [part.model_error for part in parts if part.model_error is not None]
        told = [part.provenance for part in parts if part.provenance is not None]
        wide = [part.intervals for part in parts if part.intervals is not None]
        return Restoration(
            x0=torch.cat([part.x0 for part in parts]),
            phi=Phi.join(part.phi for part in parts),
            residual=torch.cat([part.residual for part in parts]),
            sigma_y=torch.cat([part.sigma_y for part in parts]),
            nfe=[n for part in parts for n in part.nfe],
            stopped_by=[reason for part in parts for reason in part.stopped_by],
            losses={
                stage: [losses for part in parts for losses in part.losses[stage]]
                for stage in first.losses
            },
            reblurred=torch.cat(reblurred) if reblurred else None,
            std=torch.cat(std) if several else None,
            model_error=torch.cat(errors) if errors else None,
            kernels=[evidence for part in parts for evidence in part.kernels],
            lights=[own for part in parts for own in part.lights or [None] * len(part.nfe)],
            provenance=Provenance.join(told) if len(told) == len(parts) else None,
            intervals=Intervals.join(wide) if len(wide) == len(parts) else None,
        )

    def each(self, function: Callable[[Tensor], Tensor]) -> Restoration:
        """What a function makes of it, tensor by tensor, such as a copy on another device."""

        def known(value: Tensor | None) -> Tensor | None:
            return None if value is None else function(value)

        return replace(
            self,
            x0=function(self.x0),
            phi=self.phi.each(function),
            residual=function(self.residual),
            sigma_y=function(self.sigma_y),
            reblurred=known(self.reblurred),
            std=known(self.std),
            model_error=known(self.model_error),
            provenance=None if self.provenance is None else self.provenance.each(function),
            intervals=None if self.intervals is None else self.intervals.each(function),
        )

    def to(self, device: torch.device | str) -> Restoration:
        """The same restoration with all tensors on a device."""
        return self.each(lambda value: value.to(device))

    def cpu(self) -> Restoration:
        """The same restoration with all tensors on the CPU."""
        return on_cpu([self])[0]
