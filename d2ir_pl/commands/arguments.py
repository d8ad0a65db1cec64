"""What a user types, as the parser reads it: paths are paths, and several inputs are one option.

The parser takes values for YAML, in which `null`, `~` and `#x` are nothing, `- x` is a list and
`{b: 1}` a mapping. A path may have any of these names.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from d2ir_pl.errors import InputError, UsageError
from d2ir_pl.shipped.files import config_file

INPUTS = "data.inputs"
"""The option that what stands alone on the command line belongs to."""

_WITHOUT_VALUE = {"--help", "--print_config"}


@dataclass
class _Arguments:
    """Arguments that have been read so far.

    Attributes:
        options: those for the parser.
        inputs: values of `INPUTS`, as typed behind the option.
        alone: words that belong to no option.
    """

    options: list[str] = field(default_factory=list)
    inputs: list[str] | None = None
    alone: list[str] = field(default_factory=list)


def arranged(arguments: Sequence[str], paths: Collection[str]) -> list[str]:
    """The arguments of a command for the parser.

    Names of shipped configs become their paths, and values of `paths` are kept from being read as
    YAML. Words that belong to no option are inputs, as are all words behind `--data.inputs`, so
    that patterns need no quotes.

    Args:
        arguments: what the user typed after the name of the command.
        paths: options whose values are paths, such as `output`.

    Raises:
        InputError: if a config is neither a file nor a shipped one.
        UsageError: if inputs are named in both ways, or have a name that cannot be passed on.
    """
    found = _Arguments()
    words = list(arguments)
    while words:
        word = words.pop(0)
        name, equals, value = word.partition("=")
        if word == "--":
            found.alone += words
            break
        if not word.startswith("--"):
            typo = word.startswith("-") and not os.path.lexists(word)
            (found.options if typo else found.alone).append(word)
        elif equals or not words or words[0].startswith("--") or name in _WITHOUT_VALUE:
            _add(found, name, value if equals else None, paths)
        else:
            _add(found, name, words.pop(0), paths)
            if name == f"--{INPUTS}":
                found.inputs = found.inputs or []
                while words and not words[0].startswith("-"):
                    found.inputs.append(words.pop(0))
    return [*found.options, *_inputs(found)]


def _add(found: _Arguments, name: str, value: str | None, paths: Collection[str]) -> None:
    """Add an option and its value, if it has one."""
    option = name.removeprefix("--")
    if value is None:
        found.options.append(name)
    elif option == INPUTS:
        found.inputs = [value]
    elif option == "config":
        found.options.append(f"{name}={config_path(value)}")
    elif option not in paths:
        # A value that begins with a hyphen is one only behind an equals sign.
        found.options += [f"{name}={value}"] if value.startswith("-") else [name, value]
    elif _is_plain(value) or option.count(".") < 2:
        found.options.append(f"{name}={plain_path(value)}")
    else:
        found.options.append(f"--config={_below_a_class(option, value)}")


def _inputs(found: _Arguments) -> list[str]:
    """The option of the inputs, wherever they were named."""
    if found.inputs is not None and found.alone:
        raise UsageError(
            f"{found.alone[0]} stands apart from --{INPUTS}: name all inputs behind it, or none"
        )
    inputs = found.alone or found.inputs or []
    if not inputs:
        return []
    for name in found.alone:
        if not os.path.lexists(name) and (shipped := _shipped(name)):
            raise UsageError(f"{name} is no input but a config: give it as --config {shipped}")
    if len(inputs) == 1:
        return [f"--{INPUTS}={plain_path(inputs[0])}"]
    for name in inputs:
        if not _is_text(name):
            raise UsageError(
                f"--{INPUTS} {os.fsencode(name)!r} is not in UTF-8: name its folder instead"
            )
    return [f"--{INPUTS}={json.dumps(inputs)}"]


def plain_path(path: str) -> str:
    """The same path, `./` before it where YAML would read something else than a text.

    Args:
        path: a path as it is typed, such as `null`, which becomes `./null`.
    """
    return path if _is_plain(path) or os.path.isabs(path) else f"./{path}"


def _is_plain(path: str) -> bool:
    """Whether YAML reads a text, or the box of pixels `[top, left, height, width]`."""
    try:
        value = yaml.safe_load(path) if path.strip() else path
    except (yaml.YAMLError, ValueError):  # a date may be none
        return _is_text(path)
    if isinstance(value, list):
        return all(isinstance(number, int) for number in value)
    # The parser and PyYAML do not agree on whether 1e3 is a number.
    return isinstance(value, str) and re.match(r"[-+.\d]*e[-+\d]+$", value, re.I) is None


def _below_a_class(option: str, path: str) -> str:
    """A config with the option of a class, the only way that takes a text as it is."""
    if not _is_text(path):
        raise UsageError(f"--{option} {os.fsencode(path)!r} is not in UTF-8: rename it")
    *parts, name = option.split(".")
    tree: Mapping[str, object] = {"init_args": {name: plain_path(path)}}
    for part in reversed(parts):
        tree = {part: tree}
    return json.dumps(tree)


def _is_text(path: str) -> bool:
    """Whether a path can be written as UTF-8."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def config_path(name: str) -> str:
    """The path of a config: the file of that name, or the shipped one.

    Raises:
        InputError: if there is neither.
    """
    path = Path(name)
    if path.is_file():
        return name if path.is_absolute() else os.path.join(".", name)
    if path.is_dir() and not _shipped(name):
        raise InputError(f"config {name} is a folder: give a YAML file, or the name of a config")
    return str(config_file(name))


def _shipped(name: str) -> str | None:
    """The name of the shipped config of this name, if there is one."""
    try:
        return config_file(name).stem
    except InputError:
        return None


@contextmanager
def arranged_environment(prefix: str, paths: Collection[str]) -> Iterator[None]:
    """The same for environment variables, such as `D2IR_OUTPUT`, while options are parsed.

    Args:
        prefix: with which the variables begin, such as `D2IR`.
        paths: options whose values are paths.

    Raises:
        InputError: if a config is neither a file nor a shipped one.
    """
    before = dict(os.environ)
    for option in (*paths, INPUTS, "config"):
        variable = f"{prefix}_{option.replace('.', '__').upper()}"
        if variable in before:
            value = before[variable]
            os.environ[variable] = config_path(value) if option == "config" else plain_path(value)
    try:
        yield
    finally:
        os.environ.update(before)
