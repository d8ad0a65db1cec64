"""What every degradation offers, and what the linear ones offer beyond that."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Generator, Tensor, nn

Phi = dict[str, Tensor]
"""Parameters of a degradation by name; the first dimension of each is the image in the batch."""

Size = tuple[int, int]
"""Height and width in pixels."""


def select(phi: Phi, rows: Tensor | Sequence[int]) -> Phi:
    """The parameters of some images of the batch."""
    return {name: value[rows] for name, value in phi.items()}


class Degradation(nn.Module, ABC):
    """A family of maps D_phi from a clean image x to a degraded one, y = D_phi(x) + n.

    n is white noise of standard deviation sigma_y that is added last, after everything that D_phi
    does. All images are `(B, 3, H, W)` in [-1, 1]. phi is always passed in and never stored, and
    nothing couples the images of a batch.

    x may cover more than y: a blur of unknown surroundings is explained by a larger image. `lift`
    and `crop` change between the two, `image_size` tells the larger size.
    """

    estimated: bool = True
    """Whether phi is unknown; False where the user has given it."""

    @abstractmethod
    def init(self, y: Tensor, sigma_y: Tensor) -> Phi:
        """Parameters read off the data, or the known ones.

        Args:
            y: `(B, 3, H, W)` in [-1, 1].
            sigma_y: `(B,)` standard deviation of the noise in the units of y.
        """

    @abstractmethod
    def draw(self, generators: Sequence[Generator], like: Tensor) -> Phi:
        """Random parameters (the known ones where there are some), to degrade clean images with.

        Args:
            generators: one per image.
            like: a tensor whose device and dtype the parameters take.
        """

    @abstractmethod
    def forward(self, x: Tensor, phi: Phi) -> Tensor:
        """The degraded image without noise. Differentiable in x and in phi."""

    @abstractmethod
    def describe(self, phi: Phi) -> list[dict[str, Any]]:
        """For each image, its parameters as numbers for humans, ready for JSON."""

    def picture(self, phi: Phi) -> Tensor | None:
        """`(B, h, w)` in [0, 1]: something to look at, such as a kernel; None if there is none."""
        return None

    def image_size(self, observed: Size) -> Size:
        """Size of the x that explains a y of the given size."""
        return observed

    def lift(self, y: Tensor) -> Tensor:
        """A first guess of x: y brought to `image_size`."""
        return y

    def crop(self, x: Tensor, observed: Size) -> Tensor:
        """The part of x that the user asked for."""
        return x

    def anchor(self, phi: Phi, start: Phi) -> Tensor:
        """`(B,)` squared distance of phi from the parameters that `init` read off the data.

        Measured in units of the scatter that those estimates have on photographs, so that 1/2 of
        it is the negative logarithm of a Gaussian prior.
        """
        return torch.zeros(len(next(iter(phi.values()))), device=next(iter(phi.values())).device)

    def canonicalize(self, phi: Phi) -> Phi:
        """The representative of phi among the parameters that data cannot tell apart."""
        return phi


class LinearOperator(Protocol):
    """D_phi of a linear degradation with phi set: a matrix A that one can apply but not see."""

    def forward(self, x: Tensor) -> Tensor:
        """A x."""

    def adjoint(self, r: Tensor) -> Tensor:
        """A^T r."""

    def precondition(self, g: Tensor, rho: Tensor) -> Tensor:
        """A cheap, symmetric positive approximation of (A^T A + rho)^-1 g, rho `(B, 1, 1, 1)`."""


class LinearDegradation(Degradation):
    """A degradation that is linear in x."""

    @abstractmethod
    def operator(self, phi: Phi, image_size: Size) -> LinearOperator:
        """The operator at phi, for images x of the given size; prepared once, applied often."""

    def forward(self, x: Tensor, phi: Phi) -> Tensor:
        return self.operator(phi, (x.shape[-2], x.shape[-1])).forward(x)

    def adjoint(self, r: Tensor, phi: Phi) -> Tensor:
        """A^T r, for r of the size of y."""
        return self.operator(phi, self.image_size((r.shape[-2], r.shape[-1]))).adjoint(r)
