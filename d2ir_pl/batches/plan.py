"""How the photos of a batch are restored."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from d2ir_pl.degradations import Degradation
from d2ir_pl.degradations.saved import SavedPhi
from d2ir_pl.diagnosis.methods import suiting
from d2ir_pl.diagnosis.observed import observed_pixels
from d2ir_pl.diagnosis.proposal import propose
from d2ir_pl.errors import naming
from d2ir_pl.image_io import Photo
from d2ir_pl.inputs.samples import Sample
from d2ir_pl.restoration import RestorationMethod
from d2ir_pl.restoration.construction import construct
from d2ir_pl.restoration.description import described

Start = Callable[[Sample], SavedPhi]
"""Finds the phi that a photo was found to have in an earlier restoration."""


@dataclass(frozen=True)
class Plan:
    """How the photos of a batch are restored.

    Attributes:
        degradation: family that explains them.
        method: way to restore them.
        reasons: sentences on why they are restored so, where the program has chosen that itself.
        asides: sentences on it that are told after all others.
        start: finds the phi of a photo where that is known from an earlier restoration, and raises
            a ValueError where there is none for it.
    """

    degradation: Degradation
    method: RestorationMethod
    reasons: tuple[str, ...] = ()
    asides: tuple[str, ...] = ()
    start: Start | None = None

    @classmethod
    def chosen(
        cls, photo: Photo, y: Tensor, sigma_y: float | None, method: RestorationMethod | None = None
    ) -> Plan:
        """What suits a photo, by what it shows of blur, darkness, JPEG and noise.

        Args:
            photo: contents of its file.
            y: `(3, H, W)` its pixels in [-1, 1], on the device where it will be restored.
            sigma_y: standard deviation of its noise in [0, 1]; estimated if None.
            method: way to restore it; what suits its degradation if None.
        """
        observed = observed_pixels(photo, y).mask
        proposal = propose(y, photo.tables, sigma_y, observed, photo.codec, photo.step)
        return cls(
            proposal.degradation.to(y.device),
            proposal.method if method is None else method,
            proposal.reasons,
        )

    @classmethod
    def continued(
        cls, saved: SavedPhi, start: Start, method: RestorationMethod | None = None
    ) -> Plan:
        """What suits the degradation that was found before.

        Args:
            saved: what was found.
            start: what found it.
            method: way to restore the photo; what suits its degradation if None.

        Raises:
            ValueError: if the degradation is none of this package, or its settings are wrong.
        """
        with naming(saved.source):
            degradation = construct(_Family, {"degradation": saved.family}).degradation
        method = suiting(degradation) if method is None else method
        reason = f"taken for: {saved.kind}, as in {saved.source}"
        return cls(degradation, method, (reason,), start=start)


def alike(plans: Mapping[int, Plan]) -> list[dict[int, Plan]]:
    """Plans by their positions, those together that differ in their reasons alone."""
    groups: dict[Any, dict[int, Plan]] = {}
    for b, plan in plans.items():
        settings = json.dumps(described([plan.degradation, plan.method]), sort_keys=True)
        groups.setdefault(settings if plan.start is None else b, {})[b] = plan
    return list(groups.values())


@dataclass(frozen=True)
class _Family:
    """What is made of the settings in a record."""

    degradation: Degradation
