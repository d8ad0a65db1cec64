"""Classes that options name by their import paths: of this package, of Lightning, of the user."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import json
import re
import sys
import sysconfig
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pytorch_lightning as pl
import yaml
from pytorch_lightning.loggers import Logger
from pytorch_lightning.profilers import Profiler

from d2ir_pl.commands.classes import CLASSES
from d2ir_pl.commands.configs import config_tree, tree_of
from d2ir_pl.errors import UsageError

BASES: dict[str, type] = {
    **CLASSES,
    "data": pl.LightningDataModule,
    "trainer.callbacks": pl.Callback,
    "trainer.logger": Logger,
    "trainer.profiler": Profiler,
}
"""Options that name classes, and what these derive from."""

Module = TypeVar("Module", bound=pl.LightningModule)

_IMPORT_PATH = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)+")


def named_classes(arguments: Sequence[str]) -> list[tuple[str, str]]:
    """The options of `BASES` that name classes, with these, in the arguments and their configs.

    Args:
        arguments: as the parser gets them: a config is a path, or a text of YAML.
    """
    found: list[tuple[str, str]] = []
    for i, argument in enumerate(arguments):
        name, equals, value = argument.partition("=")
        option = name.removeprefix("--").removesuffix("+")
        if not equals:
            value = arguments[i + 1] if i + 1 < len(arguments) else ""
        if option == "config":
            found += _in_tree(config_tree(value))
        elif option in BASES:
            found += [(option, path) for path in _classes(tree_of(value))]
    return found


def require_known(option: str, path: str) -> None:
    """Check that an import path leads into this package, into Lightning, or to code of the user's.

    That is what lies in the working directory, or on the path for imports without being installed.
    The standard library and installed packages are not imported because a config names them.

    Args:
        option: what names the class.
        path: its import path; a name without dots is left to the parser.

    Raises:
        UsageError: with one sentence, if it leads elsewhere.
    """
    top = path.partition(".")[0]
    if not _IMPORT_PATH.fullmatch(path) or top in _KNOWN:
        return
    try:
        found = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        found = None
    places = [] if found is None else [*(found.submodule_search_locations or ()), found.origin]
    installed = [sysconfig.get_path(name) for name in ("purelib", "platlib")]
    if top in sys.stdlib_module_names or any(
        place is not None and Path(place).is_relative_to(folder)
        for place in places
        for folder in installed
    ):
        raise UsageError(
            f"--{option} {path} is not imported, as it is neither of d2ir_pl or pytorch_lightning "
            "nor a file of your own: import the class in a file in the working directory, such as "
            f"mine.py, and name mine.{path.rpartition('.')[2]}"
        )


_KNOWN = {"d2ir_pl", "pytorch_lightning", "lightning"}
"""Packages whose classes may be named; that the last does not mix is said where it is used."""


def without_module(arguments: Sequence[str]) -> tuple[list[str], str | None]:
    """The arguments without the class of the module, and its import path if they name one.

    The arguments of a module of one's own are then options below `--model`, as those of the
    program's are, so that the shipped configs are configs of it too.

    Args:
        arguments: as the parser gets them. In configs the class may be a `class_path`, with its
            arguments in `init_args`.
    """
    left: list[str] = []
    path = None
    words = list(arguments)
    while words:
        word = words.pop(0)
        name, equals, value = word.partition("=")
        if name == "--model":
            value = value if equals else "".join(words[:1])
            if re.fullmatch(r"[\w.]+", value) and not Path(value).is_file():
                path = value
                words = words if equals else words[1:]
                continue
        elif name == "--config" and equals:
            tree = config_tree(value)
            model = tree.get("model") if isinstance(tree, Mapping) else None
            model = {"class_path": model} if isinstance(model, str) else model
            if isinstance(model, Mapping) and isinstance(model.get("class_path"), str):
                path = model["class_path"]
                plain = {**tree, "model": model.get("init_args") or {}}
                word = f"--config={json.dumps(plain, default=str)}"
        left.append(word)
    return left, path


def with_module(text: str, path: str) -> str:
    """The text of a config with the class of the module, whose arguments it has.

    Args:
        text: YAML, with comments at its beginning alone.
        path: import path of the class.
    """
    tree = yaml.safe_load(text)
    tree["model"] = {"class_path": path, "init_args": tree.get("model") or {}}
    comments = [line for line in text.splitlines() if line.startswith("#")]
    settings = yaml.safe_dump(tree, sort_keys=False, allow_unicode=True)
    return "\n".join([*comments, settings])


def module_of(path: str, base: type[Module]) -> type[Module]:
    """The class of a module of one's own.

    Args:
        path: its import path.
        base: what it has to derive from.

    Raises:
        UsageError: with one sentence, if there is no such class.
    """
    if not _IMPORT_PATH.fullmatch(path):
        raise UsageError(f"--model {path} is unknown: give the import path of a class of your own")
    require_usable("model", path, base)
    cls = _imported("model", path)
    if not isinstance(cls, type):
        raise UsageError(f"--model {path} is no class: derive one from {base.__name__}")
    found: type[Module] = cls
    return found


def require_usable(option: str, path: str, base: type | None = None) -> None:
    """Check that an import path leads to a class which its option takes.

    The package `lightning` is known by its name, and not imported.

    Args:
        option: one of `BASES`, or another one.
        path: what was given; a name without dots is left to the parser.
        base: what the class has to derive from; that of `BASES` if None.

    Raises:
        UsageError: with one sentence, if it does not.
    """
    if not _IMPORT_PATH.fullmatch(path):
        return
    base = BASES[option] if base is None else base
    if path.startswith("lightning."):
        known = path.replace("lightning.pytorch", "pytorch_lightning", 1)
        raise UsageError(f"--{option} {path}: {_NOT_MIXED}: name {known}")
    require_known(option, path)
    cls = _imported(option, path)
    if isinstance(cls, type) and not issubclass(cls, base):
        theirs = any(c.__module__.split(".")[0] == "lightning" for c in cls.__mro__)
        why = f": {_NOT_MIXED}" if theirs else f" is no {base.__name__}"
        remedy = f"derive it from that of {base.__module__.split('.')[0]}"
        raise UsageError(f"--{option} {path}{why}: {remedy}")


_NOT_MIXED = "classes of the package lightning do not mix with pytorch_lightning, which runs here"


def _imported(option: str, path: str) -> Any:
    module, _, name = path.rpartition(".")
    try:
        return getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as error:
        where = "in the working directory or installed"
        raise UsageError(
            f"--{option} {path} cannot be imported: there is no module {error.name} {where}"
        ) from None
    except AttributeError:
        near = difflib.get_close_matches(name, dir(sys.modules[module]), 1, 0.8)
        hint = f": did you mean {near[0]}?" if near else ""
        raise UsageError(f"--{option} {path} is unknown: {module} has no {name}{hint}") from None
    except Exception as error:  # a module of the user's own may raise anything
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise UsageError(f"--{option} {path} cannot be imported: {reason:.200}") from error


def _in_tree(tree: Any) -> list[tuple[str, str]]:
    """The classes that a config names."""
    found: list[tuple[str, str]] = []
    for option in BASES:
        value = tree
        for part in option.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        found += [(option, path) for path in _classes(value)]
    return found


def _classes(value: Any) -> Iterator[str]:
    """The classes of a value of an option: a name, a tree with `class_path`, or a list of these.

    Those of a chain are the classes of its `parts` as well.
    """
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping) and isinstance(value.get("class_path"), str):
        yield value["class_path"]
        inner = value.get("init_args")
        yield from _classes(inner.get("parts") if isinstance(inner, Mapping) else None)
    elif isinstance(value, list):
        for part in value:
            yield from _classes(part)
