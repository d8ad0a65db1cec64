"""Messages about values out of range: the value, the range and the remedy in one sentence."""

import math
from typing import Any

import pytest

from d2ir_pl.errors import InputError, UserError, naming, require


@pytest.mark.parametrize(
    ("value", "bounds", "message"),
    [
        (0, {"low": 1}, "steps 0 must be at least 1"),
        (0.0, {"above": 0}, "steps 0.0 must be above 0"),
        (1.5, {"low": 0, "below": 1}, "steps 1.5 must be at least 0 and below 1"),
        (9, {"low": 1, "high": 8}, "steps 9 must be at least 1 and at most 8"),
        (math.nan, {"low": 1}, "steps nan must be at least 1"),
        (-1, {"low": 0, "remedy": "such as 0.03"}, "steps -1 must be at least 0, such as 0.03"),
        ("two", {"low": 1}, "steps 'two' must be a number at least 1"),
        (None, {"low": 1}, "steps None must be a number at least 1"),
    ],
)
def test_what_lies_outside_its_range_is_said(
    value: Any, bounds: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011
        require("steps", value, **bounds)
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("value", "bounds"),
    [(1, {"low": 1}), (8, {"high": 8}), (1e-9, {"above": 0}), (0.999, {"below": 1}), (-5, {})],
)
def test_what_lies_in_its_range_passes(value: float, bounds: dict[str, Any]) -> None:
    require("steps", value, **bounds)


def test_a_name_goes_before_the_message_and_the_kind_of_error_stays() -> None:
    with pytest.raises(InputError, match=r"^estimation: no such file$"), naming("estimation"):
        raise InputError("no such file")
    with pytest.raises(ValueError, match=r"^latent: too long$") as error, naming("latent"):
        raise ValueError("too long")
    assert not isinstance(error.value, UserError)
