"""Plain values made into objects of a dataclass, every field checked against its annotation."""

from __future__ import annotations

import dataclasses
import functools
import math
import types
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from d2ir_pl.schema.reading import DEEPEST

LARGEST = 1e100
"""Magnitude of the largest number, far from where its square would overflow."""

T = TypeVar("T")


@dataclass(frozen=True)
class Within:
    """The range of a number, for `Annotated`.

    Attributes:
        low: least value.
        high: greatest value.
        finite: whether NaN and infinity are refused.
    """

    low: float = -LARGEST
    high: float = LARGEST
    finite: bool = True


def checked(cls: type[T], values: object) -> T:
    """Make an object of a dataclass from what a file holds.

    Args:
        cls: a dataclass, whose fields are annotated by `int`, `float`, `bool`, `str`, `None`,
            `Any`, `Literal`, lists, tuples, dictionaries and unions of these, `Annotated` with a
            `Within` where a number has a range of its own, or by other such dataclasses.
        values: dictionary of the fields that are not left at their defaults.

    Raises:
        ValueError: if a field is unknown or missing, or a value is of a wrong type or out of its
            range; the message is a phrase that follows the file's name.
    """
    return _object(cls, values, "")


def _object(cls: type[T], values: object, where: str) -> T:
    """Make an object of a dataclass, which stands at a place of the file."""
    if not isinstance(values, Mapping):
        raise ValueError(f"{f'has {where}' if where else 'holds'} {_shown(values)}, no dictionary")
    hints = _hints(cls)  # type: ignore[arg-type]
    fields = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    found = {}
    for key, value in values.items():
        if key not in fields:
            raise ValueError(f"has the unknown key {_join(where, str(key)):.100}")
        found[key] = _value(hints[key], value, _join(where, key))
    for key, field in fields.items():
        required = field.default is field.default_factory is dataclasses.MISSING
        if required and key not in found:
            raise ValueError(f"has no {_join(where, key)}")
    return cls(**found)


@functools.cache
def _hints(cls: type) -> dict[str, Any]:
    return get_type_hints(cls, include_extras=True)


def _value(hint: Any, value: Any, where: str) -> Any:
    """A value of a field, as its annotation has it."""
    kind, bounds = hint, Within()
    if get_origin(hint) is Annotated:
        kind, *more = get_args(hint)
        bounds = next((m for m in more if isinstance(m, Within)), bounds)
    if get_origin(kind) in (Union, types.UnionType):
        return _of_several(get_args(kind), value, where)
    if kind is Any:
        return _plain(value, where)
    if get_origin(kind) is Literal:
        if any(type(value) is type(known) and value == known for known in get_args(kind)):
            return value
        known = ", ".join(map(repr, get_args(kind)))
        raise ValueError(f"has {where} {_shown(value)}, which must be one of {known}")
    if kind in (int, float):
        return _number(kind, value, bounds, where)
    if get_origin(kind) in (list, tuple) and isinstance(value, list | tuple):
        inner = get_args(kind)[0]
        items = [_value(inner, item, f"{where}[{i}]") for i, item in enumerate(value)]
        return items if get_origin(kind) is list else tuple(items)
    if get_origin(kind) is dict and isinstance(value, Mapping):
        of_key, of_value = get_args(kind)
        return {
            _value(of_key, key, f"a key of {where}"): _value(of_value, item, _join(where, str(key)))
            for key, item in value.items()
        }
    if dataclasses.is_dataclass(kind):
        return _object(kind, value, where)  # type: ignore[arg-type]
    if (kind is type(None) and value is None) or (isinstance(kind, type) and type(value) is kind):
        return value
    raise ValueError(f"has {where} {_shown(value)}, which must be {_in_words(kind)}")


def _of_several(kinds: tuple[Any, ...], value: Any, where: str) -> Any:
    """A value of the first type that it fits; the error says why it does not fit the first."""
    reasons = []
    for kind in kinds:
        try:
            return _value(kind, value, where)
        except ValueError as error:
            reasons.append(str(error))
    raise ValueError(reasons[0])


def _number(kind: type, value: Any, bounds: Within, where: str) -> int | float:
    whole = isinstance(value, int) and not isinstance(value, bool)
    if not (whole or (kind is float and isinstance(value, float))):
        raise ValueError(f"has {where} {_shown(value)}, which must be {_in_words(kind)}")
    if isinstance(value, float) and not math.isfinite(value):
        if bounds.finite:
            raise ValueError(f"has {where} {value}, which must be finite")
        return value
    if not bounds.low <= value <= bounds.high:
        raise ValueError(
            f"has {where} {_shown(value)}, which must lie in {bounds.low:g} to {bounds.high:g}"
        )
    return kind(value)  # type: ignore[no-any-return]


def _plain(value: Any, where: str, depth: int = 0) -> Any:
    """A value of any kind, whose numbers are not too large and which is not too deep."""
    if depth > DEEPEST:
        raise ValueError(f"has {where} nested too deeply")
    if type(value) is float and -LARGEST <= value <= LARGEST:  # what most of a record is
        return value
    if isinstance(value, Mapping):
        return {str(key): _plain(item, where, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, where, depth + 1) for item in value]
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int | float):
        return _number(type(value), value, Within(finite=False), where)
    raise ValueError(f"has {where} {_shown(value)}, which is no plain value")


def _in_words(kind: Any) -> str:
    words = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}
    words |= {list: "a list", tuple: "a list", dict: "a dictionary", type(None): "null"}
    return words.get(get_origin(kind) or kind, str(kind))


def _shown(value: Any) -> str:
    """A value as part of a message, short even where it is huge."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > LARGEST:
        return "a huge number"
    if isinstance(value, Mapping | list | tuple):
        return f"a {'dictionary' if isinstance(value, Mapping) else 'list'} of {len(value)}"
    return f"{value!r:.60}"


def _join(where: str, key: str) -> str:
    return f"{where}.{key}" if where else key
