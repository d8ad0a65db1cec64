"""Objects of this package from plain settings, by the types of their constructors' arguments.

Settings are what YAML holds. A class is written as a dictionary with its `class_path`, such as
`d2ir_pl.degradations.GaussianBlur`, and its arguments as `init_args`; a dataclass is written as a
dictionary of its fields. Unlike a parser of the command line, this one knows no classes but those
of this package, and no other spelling of them.
"""

from __future__ import annotations

import dataclasses
import difflib
import importlib
import inspect
import types
from collections.abc import Iterable
from typing import Any, Literal, TypeGuard, TypeVar, Union, get_args, get_origin, get_type_hints

from d2ir_pl.errors import UsageError, naming

FACES = ("d2ir_pl.degradations", "d2ir_pl.restoration", "d2ir_pl.restoration.baselines")
"""The modules whose classes settings may name."""

Settings = dict[str, Any]
"""Plain settings by name: numbers, texts, None, lists, and dictionaries of these."""

T = TypeVar("T")


def construct(cls: type[T], settings: Settings, name: str = "") -> T:
    """Make an object of a class, with its constructor's defaults for what is not set.

    Args:
        cls: a class whose constructor has an annotation for every argument.
        settings: its arguments.
        name: what messages call the object, such as `method`; empty for the outermost one.

    Raises:
        UsageError: if a setting is unknown, missing, or of another type.
        ValueError: if the constructor raises it; the name then stands before its message.
    """
    return _built(cls, completed(cls, settings, name), name)


def completed(cls: type, settings: Settings, name: str = "") -> Settings:
    """Add the defaults to the settings of a class, and to those of the classes inside it.

    Args:
        cls: a class whose constructor has an annotation for every argument.
        settings: its arguments.
        name: what messages call the object; empty for the outermost one.

    Raises:
        UsageError: if a setting is unknown, missing, or of another type.
    """
    parameters, hints = _parameters(cls), _hints(cls)
    for key in settings:
        if key not in parameters:
            remedy = _remedy(str(key), parameters)
            raise UsageError(f"{_join(name, key)} is not a setting of {cls.__name__}: {remedy}")
    found = {}
    for key, parameter in parameters.items():
        if key in settings:
            found[key] = _completed(hints[key], settings[key], _join(name, key))
        elif parameter.default is not inspect.Parameter.empty:
            found[key] = _plain(parameter.default)
        else:
            raise UsageError(f"{_join(name, key)} is missing: {cls.__name__} needs it")
    return found


def concise(cls: type, settings: Settings) -> Settings:
    """Leave out of the settings of a class, and of those inside it, what are the defaults.

    Args:
        cls: a class whose constructor has an annotation for every argument.
        settings: its arguments, complete or not.

    Raises:
        UsageError: if a setting is unknown, missing, or of another type.
    """
    whole, hints = completed(cls, settings), _hints(cls)
    defaults = {key: _plain(p.default) for key, p in _parameters(cls).items()}
    return {k: _concise(hints[k], v, k) for k, v in whole.items() if v != defaults[k]}


def _concise(hint: Any, value: Any, name: str) -> Any:
    """Leave out of a setting that is complete what are the defaults."""
    branch = _branch(hint, value, name)
    if isinstance(value, list):
        return [_concise(kind, item, name) for kind, item in _with_kinds(branch, value)]
    if not isinstance(value, dict):
        return value
    if isinstance(branch, type) and dataclasses.is_dataclass(branch):
        return concise(branch, value)
    arguments = concise(_named_class(branch, value, name), value["init_args"])
    return {"class_path": value["class_path"], **({"init_args": arguments} if arguments else {})}


def _completed(hint: Any, value: Any, name: str) -> Any:
    """Check a setting against the type of its argument, and add the defaults inside it."""
    branch = _branch(hint, value, name)
    if isinstance(value, list | tuple):
        return [
            _completed(kind, item, f"{name}[{i}]")
            for i, (kind, item) in enumerate(_with_kinds(branch, value))
        ]
    if not isinstance(value, dict):
        return float(value) if branch is float else value
    if isinstance(branch, type) and dataclasses.is_dataclass(branch):
        return completed(branch, value, name)
    cls = _named_class(branch, value, name)
    arguments = completed(cls, value.get("init_args", {}), name)
    return {"class_path": value["class_path"], "init_args": arguments}


def _built(cls: type[T], settings: Settings, name: str) -> T:
    """Make an object from settings that are complete."""
    hints = _hints(cls)
    arguments = {k: _argument(hints[k], v, _join(name, k)) for k, v in settings.items()}
    if not name:
        return cls(**arguments)
    with naming(name):
        return cls(**arguments)


def _argument(hint: Any, value: Any, name: str) -> Any:
    """Make what a constructor takes of a setting that is complete."""
    branch = _branch(hint, value, name)
    if isinstance(value, list):
        items = (
            _argument(kind, item, f"{name}[{i}]")
            for i, (kind, item) in enumerate(_with_kinds(branch, value))
        )
        return tuple(items) if get_origin(branch) is tuple else list(items)
    if not isinstance(value, dict):
        return value
    if isinstance(branch, type) and dataclasses.is_dataclass(branch):
        return _built(branch, value, name)
    return _built(_named_class(branch, value, name), value["init_args"], name)


def _branch(hint: Any, value: Any, name: str) -> Any:
    """The type of a value, out of those that an argument may have.

    Raises:
        UsageError: if it has none of them.
    """
    branches = _branches(hint)
    for branch in branches:
        if _fits(branch, value):
            return branch
    raise UsageError(f"{name} {value!r} must be {' or '.join(map(_in_words, branches))}")


def _branches(hint: Any) -> tuple[Any, ...]:
    if get_origin(hint) in (Union, types.UnionType):
        return tuple(branch for part in get_args(hint) for branch in _branches(part))
    return (hint,)


def _fits(branch: Any, value: Any) -> bool:
    """Whether a value has a type, whatever is inside it."""
    origin = get_origin(branch)
    if origin is Literal:
        return value in get_args(branch)
    if origin is list:
        return isinstance(value, list | tuple)
    if origin is tuple:
        return isinstance(value, list | tuple) and len(value) == len(get_args(branch))
    if branch is float:
        return type(value) in (int, float)
    if branch in (int, bool, str, type(None)):
        return type(value) is branch
    return isinstance(value, dict)


def _in_words(branch: Any) -> str:
    origin, inside = get_origin(branch), get_args(branch)
    if origin is Literal:
        return " or ".join(map(repr, inside))
    if origin is list:
        return "a list"
    if origin is tuple:
        return f"a list of {len(inside)}"
    words = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}
    words[type(None)] = "null"
    return words.get(branch) or f"a dictionary for {branch.__name__}"


def _with_kinds(branch: Any, items: list[Any] | tuple[Any, ...]) -> Iterable[tuple[Any, Any]]:
    """The items of a list or tuple, each with its type."""
    kinds = get_args(branch)
    return zip(kinds if get_origin(branch) is tuple else kinds * len(items), items, strict=True)


def _named_class(base: type[T], setting: Settings, name: str) -> type[T]:
    """The class that a setting names.

    Raises:
        UsageError: if that is no `base` of this package.
    """
    if wrong := sorted(setting.keys() - {"class_path", "init_args"}):
        raise UsageError(f"{_join(name, wrong[0])} must stand under init_args")
    if not isinstance(arguments := setting.get("init_args", {}), dict):
        raise UsageError(f"{name}.init_args {arguments!r} must be a dictionary")
    path = setting.get("class_path")
    module, _, cls = str(path).rpartition(".")
    if module in FACES:
        face = importlib.import_module(module)
        found = getattr(face, cls) if cls in face.__all__ else None
        if _is_concrete(found, base):
            return found
    raise UsageError(f"{name}.class_path {path!r} is unknown: {_remedy(str(path), _choices(base))}")


def _choices(base: type) -> list[str]:
    """The paths of the classes of this package that are a `base`."""
    faces = {face: importlib.import_module(face) for face in FACES}
    return [
        f"{face}.{cls}"
        for face, module in faces.items()
        for cls in module.__all__
        if _is_concrete(getattr(module, cls), base)
    ]


def _is_concrete(found: Any, base: type[T]) -> TypeGuard[type[T]]:
    return isinstance(found, type) and issubclass(found, base) and not inspect.isabstract(found)


def _parameters(cls: type) -> dict[str, inspect.Parameter]:
    """The arguments of a constructor; none where it takes any, as that of a module does."""
    return {
        name: parameter
        for name, parameter in inspect.signature(cls).parameters.items()
        if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    }


def _hints(cls: type) -> dict[str, Any]:
    return get_type_hints(inspect.getattr_static(cls, "__init__"))


def _plain(default: Any) -> Any:
    """A default as settings write it."""
    if dataclasses.is_dataclass(default) and not isinstance(default, type):
        return {f.name: _plain(getattr(default, f.name)) for f in dataclasses.fields(default)}
    return list(default) if isinstance(default, tuple) else default


def _remedy(typed: str, known: Iterable[str]) -> str:
    """The name that may have been meant, of a class by its last part, or all that there are."""
    names = {name.rpartition(".")[2]: name for name in known}
    near = difflib.get_close_matches(typed.rpartition(".")[2], names, 1, 0.7)
    if near:
        return f"did you mean {names[near[0]]}?"
    return f"use one of {', '.join(names.values())}" if names else "it has none"


def _join(name: str, key: object) -> str:
    return f"{name}.{key}" if name else str(key)
