"""The parameters of a degradation, for a batch of images."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

from d2ir_pl.operators.linear import rows_of


class Phi(dict[str, Tensor]):
    """The parameters phi of a degradation by name, such as `Phi(log_width=...)`.

    The first dimension of every tensor is the image in the batch. A degradation without parameters
    has one of no values, `Phi(none=...)` with a tensor `(B, 0)`, so that phi always tells how many
    images there are, and on which device.
    """

    @property
    def count(self) -> int:
        """Number of images in the batch."""
        return len(next(iter(self.values())))

    @property
    def device(self) -> torch.device:
        """The device that the parameters are on."""
        return next(iter(self.values())).device

    def select(self, rows: Tensor | Sequence[int] | slice) -> Phi:
        """The parameters of some images of the batch."""
        if isinstance(rows, Tensor | slice):
            return self.each(lambda value: value[rows])
        if list(rows) == list(range(self.count)):
            return self
        return self.each(lambda value: rows_of(value, rows))

    def repeat(self, times: int) -> Phi:
        """The parameters of every image several times in a row."""
        return self.each(lambda value: value.repeat_interleave(times, 0))

    @staticmethod
    def join(parts: Iterable[Phi]) -> Phi:
        """The parameters of one batch made of several, all with the same names."""
        parts = list(parts)
        return Phi({name: torch.cat([part[name] for part in parts]) for name in parts[0]})

    def where(self, chosen: Tensor, other: Phi) -> Phi:
        """These parameters of the chosen images `(B,)`, and others of all other images."""

        def picked(name: str) -> Tensor:
            mask = chosen.view(-1, *(1,) * (self[name].ndim - 1))
            return torch.where(mask, self[name], other[name])

        return Phi({name: picked(name) for name in self})

    def replace(self, **values: Tensor) -> Phi:
        """The same with other values of some parameters, such as `phi.replace(angle=angle)`."""
        return Phi({**self, **values})

    def to(self, target: torch.device | torch.dtype | str) -> Phi:
        """The same on another device, or in another dtype."""
        return self.each(lambda value: value.to(target))

    def broadcast(self, count: int, like: Tensor) -> Phi:
        """A copy for a batch of `count` images, to which those of a single image are repeated.

        Args:
            count: number of images in the batch.
            like: a tensor whose device the parameters take, and whose dtype, unless they are whole
                numbers.

        Raises:
            ValueError: if these are the parameters of another number of images.
        """
        if self.count not in (1, count):
            raise ValueError(
                f"the parameters of {self.count} images are known, but the batch has {count}: "
                f"give those of one image, or select them"
            )

        def copied(value: Tensor) -> Tensor:
            value = value.to(like.device, like.dtype if value.is_floating_point() else value.dtype)
            return value.expand(count, *value.shape[1:]).clone()

        return self.each(copied)

    def distance(self, other: Phi, names: Sequence[str]) -> Tensor:
        """`(B,)` RMS difference of the named parameters, over all their values."""
        moved = [(self[name] - other[name]).view(self.count, -1) for name in names]
        return torch.cat(moved, 1).square().mean(1).sqrt()

    def detach(self) -> Phi:
        """The same without gradients."""
        return self.each(lambda value: value.detach())

    def leaves(self, names: Iterable[str]) -> Phi:
        """Copies of the named parameters that an optimiser may move: leaves that need gradients."""
        return Phi({name: self[name].detach().clone().requires_grad_() for name in names})

    def each(self, function: Callable[[Tensor], Tensor]) -> Phi:
        """The parameters that a function makes of these, one by one."""
        return Phi({name: function(value) for name, value in self.items()})
