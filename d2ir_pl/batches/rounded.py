"""Photos that were compressed, whose rounding is undone with their blur, darkness or fading."""

from __future__ import annotations

from dataclasses import replace

from d2ir_pl.batches.observation import Observation
from d2ir_pl.batches.plan import Plan
from d2ir_pl.diagnosis.codecs import with_rounding
from d2ir_pl.restoration import D2IR

ROUNDED = "JPEG: what the compression has rounded off is undone as well"
"""What is said of a photo whose file or pixels show it, where no compression was named."""


def as_rounded(
    observation: Observation, plan: Plan, sigma_y: float | None
) -> tuple[Observation, Plan]:
    """How a photo that was compressed by JPEG is restored: with that behind its other damage.

    A told noise is all that there is besides, and a method that follows a gradient through
    the network, or is there to compare with, takes the degradation as it is.

    Args:
        observation: the photo.
        plan: how it is to be restored.
        sigma_y: standard deviation of its noise in [0, 1], where that is told.

    Returns:
        The photo under what explains it, and the plan: both themselves for other photos and
        degradations.
    """
    method, same = plan.method, (observation, plan)
    if sigma_y is not None or observation.true_phi is not None or observation.y.ndim != 4:
        return same
    if not isinstance(method, D2IR) or method.estimation.consistency != "proximal":
        return same
    sample = observation.photo.sample
    family = with_rounding(plan.degradation, sample.y, sample.photo)
    if family is plan.degradation:
        return same
    plan = replace(plan, degradation=family, asides=(*plan.asides, ROUNDED))
    return observation.under(family), plan
