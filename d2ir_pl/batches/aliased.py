"""Small photos that were made without anti-aliasing, and are restored as what they are."""

from __future__ import annotations

from dataclasses import replace

from d2ir_pl.batches.observation import Observation
from d2ir_pl.batches.plan import Plan
from d2ir_pl.degradations import Downsampling
from d2ir_pl.diagnosis.aliased import sampled
from d2ir_pl.restoration import D2IR
from d2ir_pl.restoration.configs import load


def as_sampled(observation: Observation, plan: Plan, may_change: bool) -> Plan:
    """How a photo that was made smaller is restored: with or without anti-aliasing.

    Args:
        observation: the photo.
        plan: how it is to be restored.
        may_change: whether another kernel may take the place of the plan's.

    Returns:
        The plan itself where the photo does not look aliased. Otherwise one that says so, with the
        kernel and the method for it where they may change.
    """
    family = plan.degradation
    known = plan.start is not None or observation.true_phi is not None
    if not isinstance(family, Downsampling) or known:
        return plan
    y = observation.photo.sample.y  # on the CPU, where it is looked at
    own, sentence = sampled(y, family, may_change and isinstance(plan.method, D2IR))
    if not sentence:
        return plan
    plan = replace(plan, reasons=(*plan.reasons, sentence))
    if own is family:
        return plan
    method = load("super_resolution_aliased").method
    return replace(plan, degradation=own.to(observation.y.device), method=method)
