"""What the arguments of `RestorationModule` may be."""

from __future__ import annotations

from d2ir_pl.degradations import Degradation
from d2ir_pl.errors import UsageError, require
from d2ir_pl.restoration import RestorationMethod


def check_arguments(
    degradation: object, method: object, seed: int, sigma_y: float | None, num_samples: int
) -> None:
    """Check arguments of `RestorationModule`, which describes them.

    Raises:
        UsageError: if the degradation or the method is none.
        ValueError: if a number is out of its range, or `auto` has no place.
    """
    _check_kind("degradation", degradation, Degradation, "GaussianBlur()")
    _check_kind("method", method, RestorationMethod, "D2IR()")
    if method == "auto" and degradation != "auto":
        raise ValueError(
            "method auto chooses what suits a chosen degradation: set the degradation to auto "
            "too, or name a method"
        )
    require("seed", seed, 0, remedy="as the same seed gives the same noise in every run")
    require("num_samples", num_samples, 1)
    if sigma_y is not None:
        require("sigma_y", sigma_y, 0, below=1, remedy="which is grey levels / 255")


def _check_kind(name: str, value: object, kind: type, example: str) -> None:
    """Refuse a name or a class where an object is meant.

    Raises:
        UsageError: if the value is none of `kind`, `auto` and None.
    """
    if value is None or value == "auto" or isinstance(value, kind):
        return
    given = f"the class {value.__name__}" if isinstance(value, type) else repr(value)
    raise UsageError(
        f"{name} must be auto or an object such as {example}, not {given:.80}: configs are loaded "
        "by their names with d2ir_pl.restoration.configs.load"
    )
