"""Bringing tensors from a device to the CPU together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, Self, TypeVar

import torch
from torch import Tensor


class Tensors(Protocol):
    """Something that holds tensors, such as the parameters of a degradation."""

    def each(self, function: Callable[[Tensor], Tensor]) -> Self:
        """What a function makes of it, tensor by tensor, in an order that is always the same."""


T = TypeVar("T", bound=Tensors)


def on_cpu(things: Sequence[T]) -> list[T]:
    """The same with all their tensors on the CPU, see `fetched`."""
    tensors: list[Tensor] = []

    def noted(tensor: Tensor) -> Tensor:
        tensors.append(tensor)
        return tensor

    for thing in things:
        thing.each(noted)
    here = iter(fetched(tensors))
    return [thing.each(lambda _: next(here)) for thing in things]


def fetched(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Tensors on the CPU, where their device is waited for once for all of one dtype.

    Those that are there already are returned as they are. Each of the others has memory of its own,
    so that whoever keeps one keeps no others.

    Args:
        tensors: any tensors; those that are not on the CPU are all on one device.
    """
    found = {id(tensor): tensor for tensor in tensors}
    far = [key for key, tensor in found.items() if tensor.device.type != "cpu"]
    for dtype in {found[key].dtype for key in far}:
        keys = [key for key in far if found[key].dtype == dtype]
        found.update(zip(keys, _copies([found[key].detach() for key in keys]), strict=True))
    return [found[id(tensor)] for tensor in tensors]


def _copies(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Copies on the CPU of tensors of one dtype."""
    try:
        row = torch.cat([tensor.flatten() for tensor in tensors])
    except torch.OutOfMemoryError:  # the device does not hold them twice
        return [tensor.cpu() for tensor in tensors]
    parts = row.cpu().split([tensor.numel() for tensor in tensors])
    return [part.clone().view(t.shape) for part, t in zip(parts, tensors, strict=True)]
