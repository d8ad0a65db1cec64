"""Objects that know how they were made."""

from __future__ import annotations

from typing import Any, Self


class KeepsArguments:
    """Keeps what its constructor is called with, so that a checkpoint can say how to make it."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        made = super().__new__(cls)
        # Not an attribute that is set: modules take those only after their own constructor.
        vars(made)["_arguments"] = args, kwargs
        return made


def arguments_of(made: KeepsArguments) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The positional and the named arguments of the constructor of an object."""
    found: tuple[tuple[Any, ...], dict[str, Any]] = vars(made).get("_arguments", ((), {}))
    return found
