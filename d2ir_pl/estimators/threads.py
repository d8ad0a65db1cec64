"""How many threads an estimate is computed by: one for each of its parts.

Estimates work on parts of a few hundred pixels, whose steps take a fraction of a millisecond. Where
the threads of a library share such a step, it ends when the last of them is through, and that is
many times later where other programs use the processor as well. So each part is computed by one
thread, and parts that do not depend on each other by several. The order of additions, and so the
result, is then the same on every computer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Lock, local
from typing import TypeVar

import torch

T = TypeVar("T")
U = TypeVar("U")

_lock = Lock()
_inside = 0
_outside = 1


class _Depth(local):
    """How often a thread is inside."""

    value = 0


_depth = _Depth()


@contextmanager
def one_thread() -> Iterator[None]:
    """Let PyTorch compute by one thread inside, and by as many as before after it.

    PyTorch keeps the number for every thread that computes, and one for those that have not yet.
    So each that leaves gets the number back that there was before the first one came.
    """
    global _inside, _outside
    with _lock:
        if not _inside:
            _outside = torch.get_num_threads()
        _inside += 1
        _depth.value += 1
        torch.set_num_threads(1)
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            _depth.value -= 1
            if not _depth.value:
                torch.set_num_threads(_outside)


def each(function: Callable[[T], U], items: Sequence[T]) -> list[U]:
    """Call a function for each of some items, as many at a time as PyTorch has threads.

    Args:
        function: one whose calls do not depend on each other, by one thread each.
        items: what it is called with; those that take longest come first, best.
    """

    @one_thread()
    def alone(item: T) -> U:
        return function(item)

    with one_thread():
        count = min(_outside, len(items))
        if count < 2:
            return [function(item) for item in items]
        with ThreadPoolExecutor(count) as pool:
            return list(pool.map(alone, items))
