"""The interface of degradations, and what linear degradations have beyond it."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import partial
from typing import Any, ClassVar, Self, TypeGuard

import torch
from torch import Generator, Tensor, nn

from d2ir_pl.degradations.arguments import KeepsArguments
from d2ir_pl.degradations.frame import Frame
from d2ir_pl.degradations.phi import Phi
from d2ir_pl.estimators.noise_curve import sigma_of_mixture
from d2ir_pl.image_io import Photo
from d2ir_pl.operators.constants import kept
from d2ir_pl.operators.linear import Jacobian, LinearOperator, Size, size_of
from d2ir_pl.operators.svd import SVD


class Degradation(KeepsArguments, nn.Module, ABC):
    """A family of maps D_phi from a clean image x to a degraded one, y = D_phi(x) + n.

    n is white noise of standard deviation sigma_y. It is that of a camera's sensor, added after
    everything that D_phi does but compression (see `observe`). All images are `(B, 3, H, W)` in
    [-1, 1]. phi is always passed in and never stored, and nothing couples the images of a batch.

    Three sizes may differ: that of y, that of the image the user gets, and that of x, which may
    cover more. `frame` says how they belong together.
    """

    told_phi: Phi | None = None
    """The parameters that `told` was given, and not the constructor."""

    known: Phi | None = None
    """The parameters that `told` was given; None where they are unknown."""

    estimated: bool = True
    """Whether something in phi is unknown and has to be estimated."""

    keeps_grey: bool = True
    """Whether the restoration of a grey photo is grey; False where colour is to be restored."""

    uniform: bool = False
    """Whether phi degrades every part of a photo as it degrades the whole."""

    phi_settings: ClassVar[tuple[str, ...]] = ()
    """The settings on which the meaning of phi depends, such as the side of a free kernel."""

    file_settings: ClassVar[tuple[str, ...]] = ()
    """Settings that name files or folders, by whose contents a result is known to be made."""

    frame: Frame = Frame()
    """How the sizes of y, of the user's image and of x fit together."""

    reasons: tuple[str, ...] = ()
    """Sentences on what `for_images` has decided by what the files hold."""

    holes: Tensor | None = None
    """`(B, 1, H, W)`, 1 where the restorations of these images fill a hole, which may have been
    transparent; None where there is none, or it is not known."""

    @abstractmethod
    def init(self, y: Tensor, sigma_y: Tensor) -> Phi:
        """The parameters that the data show, from which an estimation starts.

        Args:
            y: `(B, 3, H, W)` in [-1, 1].
            sigma_y: `(B,)` standard deviation of the noise in the units of y.
        """

    @abstractmethod
    def draw(self, generators: Sequence[Generator], like: Tensor) -> Phi:
        """Random parameters, to degrade clean images with.

        Args:
            generators: one per image.
            like: a tensor whose device and dtype the parameters take.
        """

    @abstractmethod
    def forward(self, x: Tensor, phi: Phi) -> Tensor:
        """The degraded image without noise. Differentiable in x and in phi."""

    @abstractmethod
    def describe(self, phi: Phi) -> list[dict[str, Any]]:
        """The parameters of each image as numbers that people read and JSON can hold."""

    def picture(self, phi: Phi) -> Tensor | None:  # noqa: ARG002
        """Pictures of phi such as kernels, `(B, h, w)` in [0, 1]; None if phi cannot be shown."""
        return None

    def free(self, phi: Phi) -> list[str]:
        """The names of the parameters that are estimated."""
        return list(phi) if self.estimated else []

    def told(self, phi: Phi) -> Self:
        """The same family with phi known: `init` and `draw` return it, and nothing is estimated.

        Args:
            phi: parameters of the images of a batch, or of one image that hold for any number.
        """
        family = copy.copy(self)
        family._tell(phi)
        vars(family)["told_phi"] = phi
        return family

    def for_images(
        self,
        photos: Sequence[Photo],  # noqa: ARG002
        keys: Sequence[str],  # noqa: ARG002
        degraded: bool = True,  # noqa: ARG002
    ) -> Degradation:
        """The same degradation, with what lies in or beside the files of these images.

        Args:
            photos: what the files hold, one per image of the batch.
            keys: their paths relative to the input folder.
            degraded: whether the files hold y, and not clean images that will be degraded.
        """
        return self

    def estimate_sigma(self, y: Tensor) -> Tensor:
        """Estimate the standard deviation of the noise in each image of y, `(B,)`.

        Pixels of y that are NaN are not observed.
        """
        return sigma_of_mixture(y)

    def residual(self, y: Tensor, prediction: Tensor, phi: Phi) -> Tensor:  # noqa: ARG002
        """What a prediction D_phi(x) leaves unexplained in y; 0 where y says nothing about x."""
        return y - prediction

    def share(self, phi: Phi) -> Tensor:
        """The share of the values of y that say something about x, `(B,)`."""
        return _ones(torch.empty(0, device=phi.device), phi.count)

    def linearize(self, y: Tensor, x: Tensor, phi: Phi) -> tuple[LinearOperator, Tensor]:
        """The derivative of D_phi at x as a linear map A, and the residual of y there."""
        operator = Jacobian(lambda image: self.forward(image, phi), x)
        return operator, self.residual(y, operator.value, phi)

    def lift(self, y: Tensor, phi: Phi) -> Tensor:  # noqa: ARG002
        """A first guess of x from y, of the size that `frame` asks for."""
        return self.frame.embed(y)

    def anchor(self, phi: Phi, start: Phi) -> Tensor:  # noqa: ARG002
        """The squared distance of phi from the parameters that `init` read off the data, `(B,)`.

        Measured in units of the scatter that those estimates have on photographs, so that 1/2 of
        it is the negative logarithm of a Gaussian prior.
        """
        return torch.zeros(phi.count, device=phi.device)

    def change(self, phi: Phi, before: Phi) -> Tensor:
        """The relative change of phi since `before`, `(B,)`.

        It is the distance between the two pictures (brought to sum 1) over the size of the newer
        one, both in the mean square; without pictures, the RMS change of the free parameters.
        """
        now, then = self.picture(phi), self.picture(before)
        if now is None or then is None:
            return phi.distance(before, self.free(phi))
        now, then = (p.flatten(1) / p.flatten(1).sum(1, keepdim=True) for p in (now, then))
        distance: Tensor = (now - then).norm(dim=1) / now.norm(dim=1)
        return distance

    def canonicalize(self, phi: Phi) -> Phi:
        """The one phi that stands for all those that no photo can tell apart."""
        return phi

    def _tell(self, phi: Phi) -> None:
        """Take phi as known from now on, for constructors that are given the parameters."""
        self.known, self.estimated = phi, False
        # Set on the instance, so that no family has to ask in its `init` whether phi is known.
        vars(self).update(
            init=partial(_known_init, phi), draw=partial(_known_draw, phi), free=_known_free
        )


class LinearDegradation(Degradation):
    """A degradation that is linear in x, but for an offset: D_phi(x) = A x + b."""

    linear: bool = True
    """Whether it is so; some are with most of their settings, and see `is_linear`."""

    @abstractmethod
    def operator(self, phi: Phi, image_size: Size) -> LinearOperator:
        """The linear map A at phi for images x of one size, prepared once and applied often."""

    def offset(self, phi: Phi) -> Tensor | float:  # noqa: ARG002
        """The part of D_phi(x) that does not depend on x, b, of the size of y."""
        return 0.0

    def svd(self, phi: Phi, image_size: Size) -> SVD:  # noqa: ARG002
        """The singular value decomposition of A at phi, where A has a cheap one.

        Args:
            phi: parameters.
            image_size: (H, W) of x.

        Raises:
            ValueError: if none is known, with the remedy.
        """
        raise no_svd(self)

    def forward(self, x: Tensor, phi: Phi) -> Tensor:
        return self._with_offset(self.operator(phi, size_of(x)).forward(x), phi)

    def adjoint(self, r: Tensor, phi: Phi) -> Tensor:
        """The transpose of A applied to r, which has the size of y."""
        return self.operator(phi, self.frame.image_size(size_of(r))).adjoint(r)

    def linearize(self, y: Tensor, x: Tensor, phi: Phi) -> tuple[LinearOperator, Tensor]:
        operator = self.operator(phi, size_of(x))
        return operator, self.residual(y, self._with_offset(operator.forward(x), phi), phi)

    def _with_offset(self, value: Tensor, phi: Phi) -> Tensor:
        """A x + b, of A x."""
        offset = self.offset(phi)
        return value if isinstance(offset, float) and offset == 0 else value + offset


@kept
def _ones(count: int) -> Tensor:
    return torch.ones(count)


def is_linear(degradation: Degradation) -> TypeGuard[LinearDegradation]:
    """Whether a degradation is linear in x, as it is set."""
    return isinstance(degradation, LinearDegradation) and degradation.linear


def no_svd(degradation: Degradation) -> ValueError:
    """The error of a degradation that has no cheap singular value decomposition."""
    return ValueError(
        f"the singular values of {type(degradation).__name__} are not known: use a mask, loss of "
        f"colour, downsampling or a blur, or another method"
    )


def _known_init(phi: Phi, y: Tensor, sigma_y: Tensor) -> Phi:  # noqa: ARG001
    """`Degradation.init` where phi is known."""
    return phi.broadcast(len(y), y)


def _known_draw(phi: Phi, generators: Sequence[Generator], like: Tensor) -> Phi:
    """`Degradation.draw` where phi is known."""
    return phi.broadcast(len(generators), like)


def _known_free(phi: Phi) -> list[str]:  # noqa: ARG001
    """`Degradation.free` where phi is known."""
    return []
