"""What files of others hold, read within bounds: plain values of declared types and ranges.

A record, the settings of a run or the description of a network may come from anyone. So a file is
read up to a size, only if it is a regular one; its values are counted before anything walks through
them; and what is made of them is a dataclass, every field of which is checked against its
annotation.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import os
import stat
import types
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

MAX_PIXELS = 200_000_000
"""Pixels of a photo at most: those of phones and medium-format cameras have 200 megapixels."""

MOST_BYTES = 2**28
"""Bytes of a JSON file at most: a record may hold a map as large as its photo."""

MOST_YAML = 2**21
"""Bytes of a YAML file at most: settings are small, and their parser is slow."""

MOST_VALUES, DEEPEST = 2**18, 64
"""Values that settings have at most once all aliases are written out, and levels of nesting."""

LARGEST = 1e100
"""Magnitude of the largest number, far from where its square would overflow."""

LONGEST_NUMBER = 400
"""Characters of a number in YAML at most: reading a longer one takes the square of its length."""

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


def read_text(path: Path, most: int = MOST_BYTES) -> str:
    """Read a text file, if it is a regular one and not too large.

    Raises:
        ValueError: if it cannot be read so; the message is a phrase that follows its name.
    """
    try:
        # A named pipe would block for ever without this flag.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise ValueError("is no regular file")
            if status.st_size > most:
                raise ValueError(f"has {status.st_size} bytes, over the limit of {most}")
            return file.read(most + 1).decode("utf-8")
    except OSError as error:
        raise ValueError(f"cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise ValueError("is not text in UTF-8") from None


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        ValueError: if it cannot be read; the message is a phrase that follows its name.
    """
    text = read_text(path)
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError("is not JSON") from None


def read_yaml(path: Path) -> Any:
    """Read a YAML file, see `parsed_yaml`.

    Raises:
        ValueError: if it cannot be read; the message is a phrase that follows its name.
    """
    return parsed_yaml(read_text(path, MOST_YAML))


def parsed_yaml(text: str) -> Any:
    """The plain values that YAML holds, no more than `MOST_VALUES` with aliases written out.

    Raises:
        ValueError: if it is no YAML, or holds more; the message is a phrase that follows its name.
    """
    import yaml

    # The parser in C is fifty times as fast, and a long text is no way to keep the program busy.
    usual = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

    class Loader(usual):  # type: ignore[misc, valid-type]
        """Reads no long numbers, and no mappings that are made of others."""

    def number(loader: Any, node: Any) -> Any:
        if len(node.value) > LONGEST_NUMBER:
            raise ValueError("holds a number that is too long")
        return usual.yaml_constructors[node.tag](loader, node)

    def unmerged(loader: Any, node: Any) -> Any:
        # Merged mappings grow before anything can count them.
        if any(key.tag == "tag:yaml.org,2002:merge" for key, _ in node.value):
            raise ValueError("merges mappings with <<")
        return usual.construct_yaml_map(loader, node)

    for kind in ("int", "float"):
        Loader.add_constructor(f"tag:yaml.org,2002:{kind}", number)
    Loader.add_constructor("tag:yaml.org,2002:map", unmerged)
    if len(text) > MOST_YAML:
        raise ValueError(f"has {len(text)} characters, over the limit of {MOST_YAML}")
    try:
        _require_shallow(yaml.parse(text, usual))
        values = yaml.load(text, Loader)
    except yaml.YAMLError as error:
        if "nesting depth" in str(error):  # of which the parser in C has a limit of its own
            raise ValueError("is nested too deeply") from None
        raise ValueError(f"is not YAML{_place(error)}") from None
    except UnicodeEncodeError:
        raise ValueError("is not text in UTF-8") from None
    except RecursionError:
        raise ValueError("is nested too deeply") from None
    count(values)
    return values


def _require_shallow(events: Iterable[Any]) -> None:
    """Check how deeply YAML is nested and how much it holds, before objects are made of it.

    What reads it calls itself for each level, and looks at all levels for each word.
    """
    from yaml.events import CollectionEndEvent, CollectionStartEvent

    depth = 0
    for number, event in enumerate(events):
        depth += isinstance(event, CollectionStartEvent) - isinstance(event, CollectionEndEvent)
        if depth > DEEPEST:
            raise ValueError("is nested too deeply")
        if number > 2 * MOST_VALUES:  # a collection begins and ends
            raise ValueError("holds too many values")


def _place(error: Exception) -> str:
    """Where a text is not YAML, and why, as far as that is known."""
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    if mark is None:
        return ""
    return f" in line {mark.line + 1}" + (f" ({problem})" if problem else "")


def count(values: Any, depth: int = 0, so_far: int = 0) -> int:
    """Count plain values and those inside them, each as often as it is reached.

    Raises:
        ValueError: if there are more than `MOST_VALUES`, or they are nested more deeply than
            `DEEPEST`; the message is a phrase that follows the file's name.
    """
    so_far += 1
    if depth > DEEPEST:
        raise ValueError("is nested too deeply")
    if so_far > MOST_VALUES:
        raise ValueError("holds too many values")
    if isinstance(values, Mapping):
        values = [*values, *values.values()]
    if isinstance(values, list | tuple | set):
        for value in values:
            so_far = count(value, depth + 1, so_far)
    return so_far


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
