"""What is found of photos once, before they are restored, as often as that may be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from d2ir_pl.operators.linear import rows_of
from d2ir_pl.restoration.result import KernelEvidence


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
        lamps: `(B, 3, H, W)` light of lamps in the user's images, in whites, whose pixels count as
            missing; None where there are none.
        beside: `(B, 1, h, w)`, 0 in pixels of y that their light reaches, and 1 elsewhere.
    """

    kernels: Sequence[FoundKernel] | None = None
    lamps: Tensor | None = None
    beside: Tensor | None = None

    def select(self, rows: Sequence[int]) -> Found:
        """That of some photos of the batch."""
        kernels = None if self.kernels is None else [self.kernels[b] for b in rows]
        lamps, beside = (None if v is None else rows_of(v, rows) for v in (self.lamps, self.beside))
        return Found(kernels, lamps, beside)

    def shown(self, x0: Tensor) -> Tensor:
        """Restored images in [-1, 1], with their lamps."""
        return x0 if self.lamps is None else torch.clamp_max(x0 + 2 * self.lamps.to(x0), 1.0)

    def evaluations(self, count: int) -> list[int]:
        """How many network evaluations it took for each of so many photos."""
        return [0] * count if self.kernels is None else [kernel.nfe for kernel in self.kernels]
