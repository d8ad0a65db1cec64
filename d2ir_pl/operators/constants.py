"""Small tensors that operators need again and again, made or fetched once for each device."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, update_wrapper
from typing import Any, Concatenate, ParamSpec

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

P = ParamSpec("P")

# Numbers of tensors that were brought to the host.
_FETCHED: Any = WeakTensorKeyDictionary()


def kept(make: Callable[P, Tensor]) -> Callable[Concatenate[Tensor, P], Tensor]:
    """Keep what a function of numbers returns, on each device and in each dtype where it is wanted.

    What is made anew in every step has to be copied to a GPU in every step, which waits for it.

    Args:
        make: function of hashable values, which makes a tensor on the CPU.

    Returns:
        A function of one argument more, the first: a tensor whose device, and whose dtype where the
        constant is no whole number, the constant takes. Nothing may change the result in place.
    """

    @lru_cache(maxsize=128)
    def made(device: torch.device, dtype: torch.dtype, *args: Any) -> Tensor:
        # A tensor of inference mode could not be used where gradients pass later.
        with torch.inference_mode(False), torch.no_grad():
            value: Tensor = make(*args)  # type: ignore[call-arg]
            return value.to(device, dtype if value.is_floating_point() else value.dtype)

    def like(x: Tensor, /, *args: P.args, **kwargs: P.kwargs) -> Tensor:
        assert not kwargs, "constants are told apart by the positions of their arguments"
        return made(x.device, x.dtype, *args)

    return update_wrapper(like, make)


def on_host(values: Tensor) -> list[Any]:
    """The numbers of a small tensor, which is fetched from its device once while it exists.

    Args:
        values: a tensor that nothing changes in place, such as a parameter that is not estimated.
    """
    if values not in _FETCHED:
        _FETCHED[values] = values.tolist()
    found: list[Any] = _FETCHED[values]
    return found
