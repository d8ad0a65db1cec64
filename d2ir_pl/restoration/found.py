"""What is found of photos once, before they are restored, as often as that may be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from d2ir_pl.operators.linear import rows_of
from d2ir_pl.restoration.result import KernelEvidence, LightsFound


@dataclass(frozen=True, eq=False)
class Rival:
    """A kernel that is about as likely as the one that was found.

    Attributes:
        kernel: `(k, k)` of a correlation, centred.
        error: what it leaves unexplained, of the mean of the channels, in [0, 1]; None where that
            is not known.
        weight: that of its image beside the other one's, in [0, 1].
    """

    kernel: Tensor
    error: float | None
    weight: float


@dataclass(frozen=True, eq=False)
class FoundKernel:
    """The kernel that a photo is restored with.

    Attributes:
        kernel: `(k, k)` of a correlation, centred.
        error: what it leaves unexplained, of the mean of the channels, in [0, 1]; None where that
            is not known.
        evidence: how sure it is.
        nfe: number of network evaluations that it took to find it.
        rival: the other kernel whose image counts as well; None where this one is likelier.
    """

    kernel: Tensor
    error: float | None
    evidence: KernelEvidence
    nfe: int
    rival: Rival | None = None


@dataclass(frozen=True, eq=False)
class Found:
    """What is found of the photos of a batch.

    Attributes:
        kernels: what each was blurred by; None where no kernels are looked for.
        points: `(B, 3, H, W)` light of small lamps in the user's images, in whites, which is added
            to them; None where no photo has lamps, whose pixels count as missing.
        areas: `(B, 3, H, W)` light of other lamps, than which the images are no darker.
        lights: the lamps of each photo, or None; empty where no photo has any.
        observed: which pixels were observed before; see `Problem`.
        beside: `(B, 1, h, w)`, 0 in pixels of y that their light reaches, and 1 elsewhere.
    """

    kernels: Sequence[FoundKernel] | None = None
    points: Tensor | None = None
    areas: Tensor | None = None
    lights: tuple[LightsFound | None, ...] = ()
    observed: Tensor | None = None
    beside: Tensor | None = None

    def select(self, rows: Sequence[int]) -> Found:
        """That of some photos of the batch."""
        tensors = {
            name: None if value is None else rows_of(value, rows)
            for name in ("points", "areas", "observed", "beside")
            for value in (getattr(self, name),)
        }
        kernels = None if self.kernels is None else [self.kernels[b] for b in rows]
        lights = tuple(self.lights[b] for b in rows if self.lights)
        return Found(kernels, lights=lights, **tensors)

    def lit(self, count: int) -> list[bool]:
        """Which of so many photos have lamps that hide some of it."""
        return [own is not None and own.hidden > 0 for own in self.lights] or [False] * count

    def shown(self, x0: Tensor) -> Tensor:
        """Restored images in [-1, 1], with their lamps."""
        if self.points is None or self.areas is None:
            return x0
        least = 2 * self.areas.to(x0) - 1
        return torch.maximum(x0 + 2 * self.points.to(x0), least).clamp_max(1.0)

    def evaluations(self, count: int) -> list[int]:
        """How many network evaluations it took for each of so many photos."""
        return [0] * count if self.kernels is None else [kernel.nfe for kernel in self.kernels]
