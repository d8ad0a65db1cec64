"""Estimates that are asked for again of the same photo, also in another process."""

from __future__ import annotations

import dataclasses
import hashlib
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from threading import Lock
from typing import Any, NamedTuple, ParamSpec, TypeVar

import torch
from torch import Tensor

from d2ir_pl.estimators.threads import one_thread
from d2ir_pl.operators.freed_memory import give_back

P = ParamSpec("P")
T = TypeVar("T")

MOST = 64
"""Results that are kept of a function: those of a batch of photos, a few of each."""
MOST_VALUES = 2**22
"""Numbers that the tensors of a result hold at most if it is kept."""


class Reading(NamedTuple):
    """A result of a remembered function.

    Attributes:
        function: its name.
        key: digest of its arguments.
        result: what it returned.
    """

    function: str
    key: Hashable
    result: Any


class _Memory:
    """The latest results of a function by the keys of its arguments."""

    def __init__(self) -> None:
        self._results: OrderedDict[Hashable, Any] = OrderedDict()
        self._lock = Lock()

    def get(self, key: Hashable) -> Any:
        with self._lock:
            if key not in self._results:
                return _UNKNOWN
            self._results.move_to_end(key)
            return self._results[key]

    def put(self, key: Hashable, result: Any) -> None:
        with self._lock:
            self._results[key] = result
            while len(self._results) > MOST:
                self._results.popitem(last=False)


_UNKNOWN: Any = object()
_MEMORIES: dict[str, _Memory] = {}
_NOTED: ContextVar[list[Reading] | None] = ContextVar("noted", default=None)


def remembered(function: Callable[P, T]) -> Callable[P, T]:
    """Keep the latest results of a function by the contents of its arguments.

    A restoration reads the same off a photo in several places: to choose a degradation, to know the
    noise, and to start from. It is computed on the CPU, wherever the photo lies, so that it does
    not depend on the device, and that a process beside a busy one can do it (`noting`), and by one
    thread, so that it does not depend on their number either.

    Args:
        function: a function of tensors, hashable values, and tuples and dataclasses of these,
            without side effects, whose results nothing changes in place. It is called with tensors
            on the CPU. Fields of dataclasses that are not compared are not among its arguments.
    """
    name = f"{function.__module__}.{function.__qualname__}"
    memory = _MEMORIES[name] = _Memory()

    @wraps(function)
    def recalled(*args: P.args, **kwargs: P.kwargs) -> T:
        values, named = [*map(_at_hand, args)], {n: _at_hand(v) for n, v in kwargs.items()}
        key = tuple(map(_key, values)), tuple((n, _key(named[n])) for n in sorted(named))
        result: T = memory.get(key)
        if result is _UNKNOWN:
            with one_thread():
                result = function(*values, **named)
            for value in values:
                if isinstance(value, Tensor):
                    give_back(value)
            if _size(result) > MOST_VALUES:
                return result
            memory.put(key, result)
        noted = _NOTED.get()
        if noted is not None:
            noted.append(Reading(name, key, result))
        return result

    return recalled


@contextmanager
def noting() -> Iterator[list[Reading]]:
    """What remembered functions return inside, to be handed to the process that will ask."""
    readings: list[Reading] = []
    token = _NOTED.set(readings)
    try:
        yield readings
    finally:
        _NOTED.reset(token)


def remember(readings: Iterable[Reading]) -> None:
    """Take over what another process has noted."""
    for reading in readings:
        _MEMORIES[reading.function].put(reading.key, reading.result)


def _at_hand(value: Any) -> Any:
    return value.detach().cpu() if isinstance(value, Tensor) else value


def _key(value: Any) -> Hashable:
    if isinstance(value, Tensor):
        pixels = value.detach().cpu().contiguous()
        raw = pixels.view(-1).view(torch.uint8) if pixels.numel() else pixels.byte()
        digest = hashlib.blake2b(raw.numpy().data, digest_size=16).digest()
        return digest, value.shape, str(value.dtype)
    if isinstance(value, tuple):
        return tuple(map(_key, value))
    if dataclasses.is_dataclass(value):
        fields = (field.name for field in dataclasses.fields(value) if field.compare)
        return type(value).__name__, *(_key(getattr(value, name)) for name in fields)
    return value  # type: ignore[no-any-return]


def _size(result: Any) -> int:
    """Number of values in the tensors of a result."""
    if isinstance(result, Tensor):
        return result.numel()
    if dataclasses.is_dataclass(result):
        result = [getattr(result, field.name) for field in dataclasses.fields(result)]
    return sum(map(_size, result)) if isinstance(result, list | tuple) else 0
