"""Linear maps on images, applied without forming their matrices."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from d2ir_pl.operators.conditioning import Conditioning

Size = tuple[int, int]
"""Height and width in pixels."""

Map = Callable[[Tensor], Tensor]


def size_of(x: Tensor) -> Size:
    """Height and width of images `(..., H, W)`."""
    return x.shape[-2], x.shape[-1]


def rows_of(values: Tensor, rows: Sequence[int]) -> Tensor:
    """Some rows of a tensor; those in a row are a view, whose device need not be waited for."""
    if len(rows) and list(rows) == list(range(rows[0], rows[0] + len(rows))):
        return values[rows[0] : rows[0] + len(rows)]
    return values[list(rows)]


def back_in_order(rows: Sequence[int]) -> list[int]:
    """Where each row of a batch is once the rows have been put into another order.

    Args:
        rows: the rows in that order.
    """
    return sorted(range(len(rows)), key=rows.__getitem__)


def joined(parts: Sequence[Tensor], axis: int = 0) -> Tensor:
    """Tensors joined along an axis; a single one is returned as it is, and not copied."""
    return torch.cat(list(parts), axis) if len(parts) > 1 else parts[0]


class Transposed(Protocol):
    """The transpose of a matrix, by which what has the size of a photo is mapped."""

    def adjoint(self, r: Tensor) -> Tensor:
        """Apply the transpose to r."""


class LinearOperator(Protocol):
    """A matrix A that can be applied but is never formed: a linear degradation with phi set.

    One whose `precondition` is exact may say by `enough`, a number, after how many iterations of
    conjugate gradients nothing is left to gain; one whose `precondition` is far from exact, by
    `slowness`, how many times as many it takes as others. One of which bounds are known may tell
    them by `conditioning`. One that needs no iterations has a method `dual(r, rho)`, which returns
    (A A^T + rho)^-1 r exactly; one of which a map is known that is closer to (A A^T + rho)^-1 than
    `precondition` is to its own, `dual_precondition(rho)`, which returns it. One that does the same
    to each colour, and takes images of a single one, may say so by `colours_alike`.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Apply A to x."""

    def adjoint(self, r: Tensor) -> Tensor:
        """Apply the transpose of A to r."""

    def precondition(self, g: Tensor, rho: Tensor) -> Tensor:
        """A cheap, symmetric positive approximation of (A^T A + rho)^-1 g, rho `(B, 1, 1, 1)`."""


def slowness(operator: LinearOperator) -> int:
    """How many times as many iterations of conjugate gradients an operator takes as others."""
    found: int = getattr(operator, "slowness", 1)
    return found


def colours_alike(operator: object) -> bool:
    """Whether an operator is known to do the same to each colour, also where there is only one."""
    found: bool = getattr(operator, "colours_alike", False)
    return found


def conditioning(operator: object) -> Conditioning | None:
    """What is known of how fast conjugate gradients converge for an operator."""
    found: Conditioning | None = getattr(operator, "conditioning", None)
    return found


class Jacobian:
    """The derivative of a map at a point, by automatic differentiation.

    Args:
        f: from `(B, 3, H, W)` to `(B, 3, h, w)`, image by image.
        x: the point.
    """

    def __init__(self, f: Callable[[Tensor], Tensor], x: Tensor) -> None:
        self._f, self._x = f, x
        with torch.enable_grad():
            value, self._vjp = torch.func.vjp(f, x)[:2]
        self.value: Tensor = value.detach()
        # How much the map amplifies a flat image, which stands for A^T A where that is hard to see.
        flat = self.forward(torch.ones_like(x)).square().flatten(1).sum(1)
        self._gain = (flat / x[0].numel())[:, None, None, None]

    def forward(self, x: Tensor) -> Tensor:
        tangent: Tensor = torch.func.jvp(self._f, (self._x,), (x,))[1]
        return tangent.detach()

    def adjoint(self, r: Tensor) -> Tensor:
        gradient: Tensor = self._vjp(r)[0]
        return gradient.detach()

    def precondition(self, g: Tensor, rho: Tensor) -> Tensor:
        return g / (self._gain + rho)


def per_image(values: Tensor) -> Tensor:
    """Reshape `(B,)` to `(B, 1, 1, 1)`, to scale images with."""
    return values[:, None, None, None]
