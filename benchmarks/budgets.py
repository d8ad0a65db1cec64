"""Methods with fewer steps than their own, so that a comparison ends in an evening."""

from __future__ import annotations

import copy

from d2ir_pl.restoration import RestorationMethod
from d2ir_pl.restoration.baselines import BIRD, DAPS, FastDiffusionEM, GibbsDDRM


def cut(method: RestorationMethod, evaluations: int | None) -> RestorationMethod:
    """A method with fewer steps, so that it takes no more network evaluations than that.

    D2IR is left as it is: it takes 8 or 20, and more only where its second stage runs, or where a
    kernel is refined. So is every method that takes no more anyway.
    """
    if evaluations is None:
        return method
    name, of_a_step = _steps(method)
    steps = getattr(method, name, None)
    if steps is None or steps * of_a_step <= evaluations:
        return method
    fewer = copy.copy(method)
    setattr(fewer, name, max(1, int(evaluations / of_a_step)))
    return fewer


def kept_as(name: str, method: RestorationMethod | None, evaluations: int | None) -> str:
    """The name that results of a method are kept under: what was cut is part of it."""
    if method is None or cut(method, evaluations) is method:
        return name
    return f"{name}_{evaluations}"


def _steps(method: RestorationMethod) -> tuple[str, float]:
    """The setting that says how many steps a method takes, and the evaluations of a step."""
    if isinstance(method, DAPS):
        return "annealing_steps", method.ode_steps
    if isinstance(method, BIRD):
        return "iterations", method.ddim_steps
    if isinstance(method, GibbsDDRM):
        return "steps", 1 + method.kernel_start * method.rounds
    if isinstance(method, FastDiffusionEM):
        return "steps", method.samples
    return "steps", 1
