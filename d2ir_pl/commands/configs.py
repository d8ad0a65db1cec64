"""Configs before the parser reads them: they are bounded, and what they name is looked at first."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from d2ir_pl.errors import UsageError
from d2ir_pl.schema import MOST_YAML, parsed_yaml, read_text

_NO_CONFIG = ("is not YAML", "is not text", "cannot be read")
"""What is said of files that are none, which may have the name of a value."""


def class_paths(arguments: Sequence[str], paths: Collection[str]) -> Iterator[tuple[str, str]]:
    """Every `class_path` in the arguments and their configs, with the option that it stands below.

    The parser imports them all, also those in a file that a value names.

    Args:
        arguments: as the parser gets them: a config is a path, or a text of YAML.
        paths: options whose values are paths, and no configs.

    Raises:
        UsageError: if a config is larger than settings can be, or holds too much.
    """
    for i, argument in enumerate(arguments):
        name, equals, value = argument.partition("=")
        if not equals:
            value = arguments[i + 1] if i + 1 < len(arguments) else ""
        option = name.removeprefix("--").removesuffix("+")
        if not name.startswith("--") or option in paths:
            continue
        if option == "config":
            yield from _all_paths(config_tree(value), "", paths)
        else:
            tree = tree_of(value) if "class_path" in value else value
            yield from _all_paths(tree, option, paths)


def _all_paths(
    tree: Any, option: str, paths: Collection[str], seen: tuple[str, ...] = ()
) -> Iterator[tuple[str, str]]:
    if isinstance(tree, Mapping):
        if isinstance(tree.get("class_path"), str):
            yield option, tree["class_path"]
        for key, value in tree.items():
            below = option if key == "init_args" else f"{option}.{key}".removeprefix(".")
            if below not in paths:
                yield from _all_paths(value, below, paths, seen)
    elif isinstance(tree, list):
        for value in tree:
            yield from _all_paths(value, option, paths, seen)
    elif isinstance(tree, str) and tree not in seen and _is_file(tree):
        yield from _all_paths(_of_file(tree, option), option, paths, (*seen, tree))


def config_tree(config: str) -> Any:
    """What a config holds.

    Args:
        config: its path, or a text of YAML.

    Raises:
        UsageError: if it holds more than settings can, or is no file of settings.
    """
    if not _is_file(config):
        return tree_of(config, "config")
    tree = _of_file(config, "config")
    if isinstance(tree, Mapping):
        return tree
    what = "is empty" if tree is None else "holds no settings"
    raise UsageError(
        f"--config {config} {what}: give a file of settings, as --print_config shows them"
    )


def tree_of(text: str, option: str = "") -> Any:
    """What YAML holds; nothing where it cannot be read, of which the parser tells.

    Args:
        text: YAML.
        option: name of the option that is blamed where it holds too much; where it is empty, that
            is nothing, too.

    Raises:
        UsageError: if it holds more than settings can.
    """
    try:
        return parsed_yaml(text)
    except ValueError as reason:
        if option and not str(reason).startswith(_NO_CONFIG):
            raise UsageError(f"--{option} {reason}: give settings that a person wrote") from None
        return None


def _of_file(path: str, option: str) -> Any:
    """What a file holds, nothing where it is none of settings."""
    try:
        return parsed_yaml(read_text(Path(path), MOST_YAML))
    except ValueError as reason:
        if option != "config" and str(reason).startswith(_NO_CONFIG):
            return None
        raise UsageError(
            f"--{option} {path} {reason}: give a file of settings, as --print_config shows them"
        ) from None


def _is_file(path: str) -> bool:
    """Whether a value is the path of anything but a folder."""
    try:
        return Path(path).exists() and not Path(path).is_dir()
    except (OSError, ValueError):  # too long, or with a zero byte
        return False
