"""Degradations and methods as plain values, and made again of them without running foreign code.

A checkpoint that a stranger wrote must not run code of the stranger's choice. So objects are not
pickled: a class is described by its path and the arguments of its constructor, as in YAML files,
and nothing is made but degradations, methods and their settings whose classes are part of this
package, or have been imported by the program that loads the checkpoint.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import sys
from collections.abc import Iterator
from pathlib import PurePath
from typing import Any

import torch
from torch import Tensor

from d2ir_pl.compat import is_lazy_class
from d2ir_pl.degradations import Degradation, Phi
from d2ir_pl.degradations.arguments import KeepsArguments, arguments_of
from d2ir_pl.errors import InputError, naming
from d2ir_pl.restoration.base import RestorationMethod
from d2ir_pl.restoration.construction import FACES

_TENSOR = "torch.tensor"
_DTYPES = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in (torch.float32, torch.float64, torch.int64, torch.int32, torch.uint8, torch.bool)
}


def described(value: Any) -> Any:
    """Describe a value by numbers, texts, None, lists, tuples and dictionaries alone.

    Degradations, methods and dataclasses become dictionaries of `class_path` and `init_args`, and
    of `told`, the phi that `Degradation.told` was given; tensors become lists. What cannot be
    described becomes a dictionary of `other`, a text.

    Args:
        value: any object.
    """
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, PurePath):
        return str(value)
    if type(value) in (list, tuple):
        return type(value)(described(item) for item in value)
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {key: described(item) for key, item in value.items()}
    if isinstance(value, Tensor) and (dtype := _name(value.dtype)) in _DTYPES:
        return {"class_path": _TENSOR, "init_args": {"data": value.tolist(), "dtype": dtype}}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = [field.name for field in dataclasses.fields(value) if field.init]
        settings = {name: described(getattr(value, name)) for name in fields}
        return {"class_path": _path(type(value)), "init_args": settings}
    if isinstance(value, KeepsArguments) and (arguments := named_arguments(value)) is not None:
        found: dict[str, Any] = {"class_path": _path(own_class(value)), "init_args": arguments}
        if isinstance(value, Degradation) and value.told_phi is not None:
            found["told"] = described(value.told_phi)
        return found
    return {"other": repr(value)[:200]}


def named_arguments(value: KeepsArguments) -> dict[str, Any] | None:
    """The arguments that an object was made with, described and by their names.

    Returns:
        None if they cannot all be named.
    """
    args, kwargs = arguments_of(value)
    signature = inspect.signature(own_class(value).__init__)  # type: ignore[misc]
    try:
        bound = signature.bind(value, *args, **kwargs).arguments
    except TypeError:
        return None
    found: dict[str, Any] = {}
    for name, argument in list(bound.items())[1:]:
        kind = signature.parameters[name].kind
        if kind is inspect.Parameter.VAR_POSITIONAL:
            return None
        found |= argument if kind is inspect.Parameter.VAR_KEYWORD else {name: argument}
    return {name: described(argument) for name, argument in found.items()}


def made(value: Any) -> Any:
    """Make what `described` has described.

    Args:
        value: plain values; dictionaries with a `class_path` become objects.

    Raises:
        InputError: if a class is not one that may be made, or is not imported, or an argument could
            not be described.
        ValueError: if a constructor refuses its arguments.
    """
    if isinstance(value, list | tuple):
        return type(value)(made(item) for item in value)
    if not isinstance(value, dict):
        return value
    if value.keys() == {"other"}:
        raise InputError(f"{value['other']} cannot be made again from a checkpoint")
    if "class_path" not in value:
        return {key: made(item) for key, item in value.items()}
    path, settings = str(value["class_path"]), value.get("init_args", {})
    if path == _TENSOR:
        return torch.tensor(settings["data"], dtype=_DTYPES[settings["dtype"]])
    cls = _allowed(path)
    with naming(path.rpartition(".")[2]):
        arguments = {name: made(item) for name, item in settings.items()}
        unknown = arguments.keys() - inspect.signature(cls.__init__).parameters.keys()
        if unknown:
            raise InputError(f"{sorted(unknown)[0]} is not an argument of the installed version")
        found = cls(**arguments)
    if "told" in value and isinstance(found, Degradation):
        found = found.told(Phi(made(value["told"])))
    return found


def _path(cls: type) -> str:
    """The path of a class, the one that YAML files use where there is one."""
    for face in FACES:
        if getattr(sys.modules.get(face), cls.__name__, None) is cls:
            return f"{face}.{cls.__name__}"
    return f"{cls.__module__}.{cls.__qualname__}"


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def own_class(value: object) -> type:
    """The class of an object, that of which jsonargparse has derived one included."""
    cls = type(value)
    return cls.__mro__[1] if is_lazy_class(cls) else cls


def _allowed(path: str) -> Any:
    """The class at a path, if it is one that may be made.

    Raises:
        InputError: if it is none, or its module has not been imported.
    """
    for face in FACES:
        importlib.import_module(face)
    for base in (Degradation, RestorationMethod):
        for cls in _subclasses(base):
            if _path(cls) == path and not inspect.isabstract(cls):
                return cls
    module, _, name = path.rpartition(".")
    found = getattr(sys.modules.get(module), name, None) if module.startswith("d2ir_pl.") else None
    if isinstance(found, type) and dataclasses.is_dataclass(found) and _path(found) == path:
        return found
    raise InputError(
        f"the class {path} of the checkpoint is not known: if you trust it, import the module that "
        "defines it first"
    )


def _subclasses(cls: type) -> Iterator[type]:
    children: list[type] = cls.__subclasses__()
    for child in children:
        yield child
        yield from _subclasses(child)
