"""Options that stand before a config which sets them to something else, and would be lost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from d2ir_pl.commands.configs import config_tree, tree_of
from d2ir_pl.commands.own import BASES
from d2ir_pl.errors import UsageError


def require_configs_first(arguments: Sequence[str]) -> None:
    """Check that no config takes back what an option before it has set.

    The parser lets the later one win, and would not say so.

    Args:
        arguments: as the parser gets them: a config is a path, or a text of YAML that the program
            has made of an option.

    Raises:
        UsageError: if one does.
    """
    given: dict[str, Any] = {}
    words = list(arguments)
    while words:
        name, equals, value = words.pop(0).partition("=")
        if not name.startswith("--") or not (equals or words):
            continue
        option, value = name.removeprefix("--"), value if equals else words.pop(0)
        if option != "config":
            given[option] = dict(_leaves(tree_of(value), option)).get(option, value)
        elif value.startswith("{"):
            given |= _leaves(config_tree(value), "")
        else:
            settings = dict(_leaves(config_tree(value), ""))
            for early, set_to in given.items():
                _require_kept(early, set_to, value, settings)


def _require_kept(option: str, value: Any, config: str, settings: Mapping[str, Any]) -> None:
    """Check that a config leaves an option as it is.

    Args:
        option: an option before the config.
        value: what it is set to; a class by its bare name.
        config: the path of the config.
        settings: what the config sets, by the names of options.

    Raises:
        UsageError: if it does not.
    """
    stands = f"--{option} {value!s:.60} stands before --config {config}"
    if option in settings and settings[option] != value:
        raise UsageError(
            f"{stands}, which sets it to {settings[option]!s:.100}: give --config first, or leave "
            "one of the two out"
        )
    parts = option.split(".")
    for above in (".".join(parts[:i]) for i in range(len(parts) - 1, 0, -1)):
        if option not in settings and above in settings:
            raise UsageError(
                f"{stands}, which chooses {settings[above]!s:.100} as --{above} with settings of "
                "its own: give --config first"
            )


def _leaves(tree: Any, option: str) -> Iterator[tuple[str, Any]]:
    """The options that a tree sets, with their values; classes by their bare names."""
    if isinstance(tree, Mapping) and isinstance(tree.get("class_path"), str):
        yield option, tree["class_path"].rpartition(".")[2]
        tree = tree.get("init_args") or {}
    elif isinstance(tree, str) and option in BASES:
        yield option, tree.rpartition(".")[2]
        return
    if not isinstance(tree, Mapping):
        yield option, tree
        return
    for key, value in tree.items():
        yield from _leaves(value, f"{option}.{key}".removeprefix("."))
