"""The call that every restoration method answers, and what it returns."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Self

import torch
from torch import Generator, Tensor

from d2ir_pl.degradations import Degradation
from d2ir_pl.diffusion.prior import Prior
from d2ir_pl.estimators.noise_level import MIN_SIGMA
from d2ir_pl.restoration.result import Restoration
from d2ir_pl.restoration.step import Observer, silent

GENTLER = 0.1
"""What step sizes are multiplied by for an image on which a method has diverged."""


class RestorationMethod(ABC):
    """A way to restore images: settings are constructor arguments, state lives in a call.

    Attributes:
        step_sizes: names of the settings that `gentler` makes smaller.
        through_network: whether it takes gradients through the prior's network, for which a prior
            needs several times the memory.
    """

    step_sizes: ClassVar[tuple[str, ...]] = ()
    through_network: bool = False

    def restore(
        self,
        y: Tensor,
        degradation: Degradation,
        prior: Prior,
        generators: Sequence[Generator],
        sigma_y: Tensor | None = None,
        observer: Observer = silent,
    ) -> Restoration:
        """Restore a batch. Everything about one image is independent of its neighbours.

        Args:
            y: `(B, 3, H, W)` float32 in [-1, 1], or `(B, S, 3, H, W)` for S photos of a scene.
            degradation: the family of degradations, with phi known or not.
            prior: the diffusion prior.
            generators: one CPU generator per image; the only source of randomness.
            sigma_y: `(B,)` noise in the units of y; estimated from y if None.
            observer: told of every step.
        """
        require_batch(y, generators)
        self.check(degradation, prior)
        with torch.autocast(y.device.type, enabled=False):
            y = y.float()
            sigma_y = degradation.estimate_sigma(y) if sigma_y is None else sigma_y.to(y)
            sigma_y = sigma_y.clamp_min(MIN_SIGMA)
            prior.prepare(self.through_network)
            return self._restore(y, degradation, prior, generators, sigma_y, observer)

    @abstractmethod
    def _restore(
        self,
        y: Tensor,
        degradation: Degradation,
        prior: Prior,
        generators: Sequence[Generator],
        sigma_y: Tensor,
        observer: Observer,
    ) -> Restoration:
        """`restore` once its arguments are checked: y in float32, sigma_y known and positive."""

    def check(self, degradation: Degradation, prior: Prior) -> None:
        """Raise ValueError with the remedy if the method does not fit the degradation or prior."""
        return None

    def gentler(self) -> Self | None:
        """The same with a tenth of its step sizes, for an image on which it has diverged.

        None if it has no step sizes.
        """
        if not self.step_sizes:
            return None
        method = copy.copy(self)
        for name in self.step_sizes:
            setattr(method, name, GENTLER * getattr(self, name))
        return method


def require_batch(y: Tensor, generators: Sequence[Generator]) -> None:
    """The one place that checks the tensors a method is given."""
    if y.ndim not in (4, 5) or y.shape[-3] != 3 or not y.is_floating_point():
        raise ValueError(
            f"y must be a float tensor (B, 3, H, W), or (B, S, 3, H, W) for S photos of a scene, "
            f"not {y.dtype} {tuple(y.shape)}"
        )
    if len(generators) != len(y):
        raise ValueError(f"{len(y)} images need as many generators, not {len(generators)}")
    if not bool(torch.isfinite(y).all()):
        raise ValueError("y has NaN or infinite values: repair the input")
