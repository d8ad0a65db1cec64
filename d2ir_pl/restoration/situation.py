"""What is restored and how, by which a calibration knows how far restorations are off."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from d2ir_pl.degradations import Compose, Degradation
from d2ir_pl.restoration.base import RestorationMethod
from d2ir_pl.restoration.d2ir import D2IR
from d2ir_pl.restoration.description import described, named_arguments, own_class

_IMMATERIAL = ("kernel_size", "border", "source", "invert", "missing")
"""Settings of a degradation that hardly decide how far restorations are off."""
VARIANT = "; "
"""What stands between a situation and the settings that a method has there a second time."""


def situation(degradation: Degradation, method: RestorationMethod) -> str:
    """What is restored and how, in short: a calibration's widths are found by it.

    It is such as `GaussianBlur by D2IR, 8 steps at temperature 0.3`, or begins with
    `Downsampling(factor=2, kernel=gaussian)`: what is given to a degradation and is not its default
    is named, but for what only says how clean images are degraded, for kernel sides, for borders,
    and for where a mask comes from. A number that would be estimated if it were not given, such as
    a width that was read off the photo before, is `GaussianBlur(width=given)`.
    """
    parts = degradation.parts if isinstance(degradation, Compose) else [degradation]
    how = own_class(method).__name__
    if isinstance(method, D2IR):
        walk = method.estimation
        how += f", {walk.steps} steps at temperature {walk.temperature:g}"
    return f"{' + '.join(map(_name, parts))} by {how}"


def _name(part: Degradation) -> str:
    cls = own_class(part)
    defaults = inspect.signature(cls.__init__).parameters  # type: ignore[misc]
    given = [
        f"{name}={_short(value, defaults[name].default)}"
        for name, value in (named_arguments(part) or {}).items()
        if not (name.startswith("draw_") or name in _IMMATERIAL or value == defaults[name].default)
    ]
    given += ["told"] if part.told_phi is not None else []
    return f"{cls.__name__}({', '.join(given)})" if given else cls.__name__


def _short(value: object, default: object) -> str:
    """A setting as a situation names it."""
    estimated = default is None and isinstance(value, float)
    return str(value) if isinstance(value, bool | int | float | str) and not estimated else "given"


def settings(method: RestorationMethod) -> dict[str, Any]:
    """All settings of a method as plain values, such as `estimation.start` and `model_error`."""
    return {**_defaults(method), **_flat(named_arguments(method) or {})}


def _defaults(method: RestorationMethod) -> dict[str, Any]:
    parameters = inspect.signature(own_class(method).__init__).parameters  # type: ignore[misc]
    known = {n: p.default for n, p in parameters.items() if p.default is not p.empty}
    return _flat({name: described(value) for name, value in known.items()})


def _flat(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Described arguments, those of a stage one by one."""
    found: dict[str, Any] = {}
    for name, value in arguments.items():
        if isinstance(value, dict) and "init_args" in value:
            found |= {f"{name}.{inner}": own for inner, own in value["init_args"].items()}
        else:
            found[name] = value
    return found


def variant(own: str, method: RestorationMethod, known: dict[str, dict[str, Any]]) -> str:
    """A name of a situation that no other settings have, such as `...; estimation.start 100`.

    Args:
        own: the situation, see `situation`.
        method: the method; its settings are added to the known ones where they are not there.
        known: settings by the names of situations.
    """
    how = settings(method)
    if (first := known.setdefault(own, how)) == how:
        return own
    name = own + VARIANT + ", ".join(f"{n} {v}" for n, v in how.items() if v != first.get(n))
    known[name] = how
    return name


def changed(method: RestorationMethod, measured: Mapping[str, Any]) -> str:
    """What a method does otherwise than one that was measured, empty where nothing.

    A setting that has come into the program since then had its default. Those that nothing is made
    of do not count, such as the learning rate of no steps.

    Args:
        method: the method.
        measured: settings of the one that was measured, of the same class; empty if not known.
    """
    if not measured:
        return ""
    own, before = settings(method), {**_defaults(method), **measured}
    other = [name for name in own if own[name] != before.get(name) and not _idle(name, own)]
    was, now = (", ".join(f"{name} {each.get(name)}" for name in other) for each in (before, own))
    return f"they were measured with {was}, not with {now}" if other else ""


def _idle(name: str, own: Mapping[str, Any]) -> bool:
    """Whether nothing is made of a setting under the others."""
    stage, _, inner = name.partition(".")
    if inner and own.get("stages") in ("estimation", "latent") and stage != own["stages"]:
        return True
    if inner == "guidance_scale":
        return bool(own["estimation.consistency"] == "proximal")
    return inner in ("phi_lr", "phi_start", "phi_anchor") and own["estimation.phi_steps"] == 0
