"""Estimates that are asked for again of the same photo."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from functools import wraps
from threading import Lock
from typing import Any, ParamSpec, TypeVar

from torch import Tensor

P = ParamSpec("P")
T = TypeVar("T")

# Results that are kept: a batch of photos, each with a few of a function.
MOST = 64


def remembered(function: Callable[P, T]) -> Callable[P, T]:
    """Keep the latest results of a function by the contents of its arguments.

    A restoration reads the same off a photo in several places: to choose a degradation, to know the
    noise, and to start from.

    Args:
        function: a function of tensors and hashable values, without side effects, whose results
            nothing changes in place.
    """
    results: OrderedDict[Any, T] = OrderedDict()
    lock = Lock()

    @wraps(function)
    def recalled(*args: P.args, **kwargs: P.kwargs) -> T:
        key = tuple(map(_key, args)), tuple((name, _key(kwargs[name])) for name in sorted(kwargs))
        with lock:
            if key in results:
                results.move_to_end(key)
                return results[key]
        result = function(*args, **kwargs)
        with lock:
            results[key] = result
            while len(results) > MOST:
                results.popitem(last=False)
        return result

    return recalled


def _key(value: Any) -> Any:
    if not isinstance(value, Tensor):
        return value
    pixels = value.detach().cpu().contiguous()
    digest = hashlib.blake2b(pixels.view(-1).numpy().data, digest_size=16).digest()
    return digest, value.shape, value.dtype, value.device
