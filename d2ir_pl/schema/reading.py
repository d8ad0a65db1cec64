"""Files of others: of bounded sizes, and what they hold counted before anything looks at it."""

from __future__ import annotations

import json
import os
import stat
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

MAX_PIXELS = 200_000_000
"""Pixels of a photo at most: those of phones and medium-format cameras have 200 megapixels."""

MOST_BYTES = 2**28
"""Bytes of a JSON file at most: a record may hold a map as large as its photo."""

MOST_YAML = 2**21
"""Bytes of a YAML file at most: settings are small, and their parser is slow."""

MOST_VALUES, DEEPEST = 2**18, 64
"""Values that settings have at most once all aliases are written out, and levels of nesting."""

LONGEST_NUMBER = 400
"""Characters of a number in YAML at most: reading a longer one takes the square of its length."""


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
    """Read a YAML file, as `parsed_yaml` does its text."""
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
        """Reads no long numbers, no mappings that are made of others, and no name twice."""

    def number(loader: Any, node: Any) -> Any:
        if len(node.value) > LONGEST_NUMBER:
            raise ValueError("holds a number that is too long")
        return usual.yaml_constructors[node.tag](loader, node)

    def unmerged(loader: Any, node: Any) -> Any:
        # Merged mappings grow before anything can count them.
        if any(key.tag == "tag:yaml.org,2002:merge" for key, _ in node.value):
            raise ValueError("merges mappings with <<")
        names = Counter(key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode))
        # The second value would take the place of the first one without a word.
        if twice := [name for name, times in names.items() if times > 1]:
            raise ValueError(f"sets {twice[0]:.80} twice, of which only one can hold")
        return usual.construct_yaml_map(loader, node)

    for kind in ("int", "float"):
        Loader.add_constructor(f"tag:yaml.org,2002:{kind}", number)
    Loader.add_constructor("tag:yaml.org,2002:map", unmerged)
    if len(text) > MOST_YAML:
        raise ValueError(f"has {len(text)} characters, over the limit of {MOST_YAML}")
    try:
        _require_shallow(yaml.parse(text, usual))
        values = yaml.load(text, Loader)
    except UnicodeEncodeError:
        raise ValueError("is not text in UTF-8") from None
    except (yaml.YAMLError, RecursionError) as error:
        # The parser in C has a limit of its own.
        deep = isinstance(error, RecursionError) or "nesting depth" in str(error)
        reason = "is nested too deeply" if deep else f"is not YAML{_place(error)}"
        raise ValueError(reason) from None
    count(values)
    return values


def _require_shallow(events: Iterable[Any]) -> None:
    """Check how deeply YAML is nested and how much it holds, before objects are made of it."""
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
