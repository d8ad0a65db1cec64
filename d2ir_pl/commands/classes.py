"""Options whose value is a class, and the classes that can be chosen there."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

from d2ir_pl.compat import is_lazy_class
from d2ir_pl.degradations import Degradation
from d2ir_pl.errors import UsageError
from d2ir_pl.restoration import RestorationMethod

CLASSES: dict[str, type] = {"model.degradation": Degradation, "model.method": RestorationMethod}
"""Options that choose a class, and the base class of those that they may choose."""


def known_classes(option: str) -> list[str]:
    """Names of the package's classes that an option of `CLASSES` may choose, in their order."""
    chosen = chosen_classes(CLASSES[option])
    return sorted({c.__name__ for c in chosen if c.__module__.partition(".")[0] == "d2ir_pl"})


def chosen_classes(base: type[Any]) -> set[type[Any]]:
    """Classes derived from another one that can be chosen in its place."""
    found: set[type[Any]] = set()
    for cls in base.__subclasses__():
        private = cls.__name__.startswith("_") or is_lazy_class(cls)
        if not private and not inspect.isabstract(cls):
            found.add(cls)
        found |= chosen_classes(cls)
    return found


def require_classes_first(arguments: list[str]) -> None:
    """Check that no option of a class stands before the option that chooses the class.

    The class starts from its own defaults, so that options before it would be lost.

    Raises:
        UsageError: if one does.
    """
    for key in CLASSES:
        chosen = [i for i, a in enumerate(arguments) if a.partition("=")[0] == f"--{key}"]
        for i, argument in enumerate(arguments):
            option = argument.partition("=")[0]
            if chosen and i < chosen[-1] and option.startswith(f"--{key}."):
                raise UsageError(
                    f"{option} stands before --{key}, which chooses the class that it belongs to: "
                    f"give --{key} first"
                )


def early_option(arguments: Sequence[str], reason: str) -> str:
    """A sentence about an option of a class that a config names which stands behind the option.

    Args:
        arguments: options in their order.
        reason: why they are refused. It begins with the option.

    Returns:
        The sentence, or nothing where that is not what is wrong.
    """
    option = reason.partition(" ")[0]
    names = [argument.partition("=")[0] for argument in arguments]
    of_class = any(option.startswith(f"{key}.") for key in (f"--{c}" for c in CLASSES))
    if not of_class or option not in names or "--config" not in names[names.index(option) :]:
        return ""
    return f"{reason.partition(':')[0]} until --config names another class: give --config first"
