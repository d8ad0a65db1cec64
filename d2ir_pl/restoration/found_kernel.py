"""The kernel that a photo turned out to be blurred by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from d2ir_pl.estimators.light_trails import LightTrails
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
        trails: the trails of lights that have shown it; None where edges or the spectrum have.
    """

    kernel: Tensor
    error: float | None
    evidence: KernelEvidence
    nfe: int
    rival: Rival | None = None
    trails: LightTrails | None = None


def evaluations(kernels: Sequence[FoundKernel] | None, count: int) -> list[int]:
    """How many network evaluations it took to find the kernels of so many photos, one by one."""
    return [0] * count if kernels is None else [found.nfe for found in kernels]
