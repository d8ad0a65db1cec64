"""What is asked of a degradation whose one free parameter is a kernel."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from d2ir_pl.degradations.base import Degradation
from d2ir_pl.degradations.phi import Phi
from d2ir_pl.operators.linear import Transposed


class KernelFit(Protocol):
    """A degradation of images x that are known, as a function of the logits of one kernel."""

    def at(self, y: Tensor, phi: Phi) -> tuple[Transposed, Tensor]:
        """The transpose of the derivative of D_phi(x) by the kernel, and y - D_phi(x).

        The transpose takes what has the size of y to `(B, n)`, for n entries.
        """

    def slope(self, phi: Phi, by_kernel: Tensor, anchor: float) -> Tensor:
        """Derivatives `(B, n)` by the logits, of what has those `by_kernel` and of an anchor.

        Args:
            phi: parameters.
            by_kernel: `(B, n)` derivatives by the entries of the kernel.
            anchor: weight of `Degradation.anchor`, which is added.
        """


def kernel_fit_of(family: Degradation, x: Tensor, start: Phi) -> KernelFit | None:
    """D_phi(x) by the logits of a free kernel, if that is all that is free; None otherwise.

    A family that knows it has a method `kernel_fit(x, start)`.

    Args:
        family: family of degradations.
        x: `(B, 3, H, W)` images.
        start: parameters of the `anchor`.
    """
    of_family = getattr(family, "kernel_fit", None)
    fit: KernelFit | None = None if of_family is None else of_family(x, start)
    return fit
