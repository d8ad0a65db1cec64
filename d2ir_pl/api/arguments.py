"""The arguments of `restore` by their types: what is given in Python no parser has looked at."""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from numbers import Integral
from typing import Any

import torch

from d2ir_pl.errors import UsageError

_KINDS: dict[str, tuple[tuple[type, ...], str]] = {
    "seed": ((Integral,), "a whole number"),
    "batch_size": ((Integral,), "a whole number"),
    "num_samples": ((Integral, type(None)), "a whole number"),
    "label": ((Integral, type(None)), "the number of a class"),
    "start": ((str, os.PathLike, type(None)), "the path of the .json of a photo"),
    "device": (
        (str, Integral, torch.device, type(None)),
        "a name such as 'cpu' or the number of a GPU",
    ),
    "second_opinion": ((bool, type(None)), "True, False or None"),
    "region": ((str, list, type(None)), "a path, or a list [top, left, height, width]"),
}
"""Types of arguments, and what they are in words."""


def check_types(arguments: Mapping[str, Any]) -> None:
    """Check the types of arguments, as far as nothing else does.

    Args:
        arguments: values of all arguments of `restore` by their names.

    Raises:
        UsageError: if one is of a wrong type.
    """
    if not callable(arguments["observer"]):
        raise UsageError("observer must be a function that is told of every step")
    for name, (types, words) in _KINDS.items():
        value = arguments[name]
        # True is a number for Python, and hardly ever for who writes it.
        fits = isinstance(value, types) and (bool in types or not isinstance(value, bool))
        if name == "region" and isinstance(value, list):
            fits = all(isinstance(number, Integral) for number in value)
        if not fits:
            raise UsageError(f"{name} {value!r:.60} must be {words}")


def where_it_is(name: str) -> str:
    """How a class of the package is made that was given by its name; empty if there is none."""
    for module in ("d2ir_pl.restoration", "d2ir_pl.restoration.baselines", "d2ir_pl.degradations"):
        if isinstance(getattr(importlib.import_module(module), name, None), type):
            return f"from {module} import {name}, and give {name}()"
    return ""
