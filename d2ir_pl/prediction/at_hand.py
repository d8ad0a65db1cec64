"""The tensors of a restored photo that its account is made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from d2ir_pl.batches.attempts import Attempted
from d2ir_pl.batches.observation import Observation
from d2ir_pl.batches.plan import Plan
from d2ir_pl.degradations import Phi
from d2ir_pl.restoration import Restoration


@dataclass(frozen=True, eq=False)
class AtHand:
    """A restored photo and what it is compared with, all on one device.

    Attributes:
        restoration: batch of this photo alone.
        y: `(1, 3, h, w)` degraded image, or `(1, S, 3, h, w)`.
        shown: `(1, 3, H, W)` y, or a first guess from it, at the size of the restored image.
        reference: `(1, 3, H, W)` clean image, if it is known.
        observed: `(1, 1, h, w)`, 0 where a pixel of y is no part of the photo; None where all are.
        true_phi: parameters with which the program itself degraded the clean image.
    """

    restoration: Restoration
    y: Tensor
    shown: Tensor
    reference: Tensor | None
    observed: Tensor | None
    true_phi: Phi | None

    @classmethod
    @torch.no_grad()
    def of(cls, observation: Observation, restored: Attempted, plan: Plan) -> AtHand:
        """What is at hand of a photo where it was restored.

        Args:
            observation: the degraded image.
            restored: how it was restored.
            plan: how it was meant to be.
        """
        restoration, shown = restored.restoration, observation.y
        if shown.shape != restoration.x0.shape:
            family = plan.degradation
            shown = family.frame.crop(family.lift(shown, restoration.phi))
        reference, observed = observation.reference, observation.observed
        return cls(restoration, observation.y, shown, reference, observed, observation.true_phi)

    def each(self, function: Callable[[Tensor], Tensor]) -> AtHand:
        """What a function makes of it, tensor by tensor."""
        return AtHand(
            self.restoration.each(function),
            function(self.y),
            function(self.shown),
            None if self.reference is None else function(self.reference),
            None if self.observed is None else function(self.observed),
            None if self.true_phi is None else self.true_phi.each(function),
        )
