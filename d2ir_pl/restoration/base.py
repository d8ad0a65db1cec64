"""The call that every restoration method answers, and what it returns."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import ClassVar, Self

import torch
from torch import Generator, Tensor

from d2ir_pl.degradations import Degradation, Phi
from d2ir_pl.degradations.base import select
from d2ir_pl.priors.denoiser import Prior

GENTLER = 0.1
"""What step sizes are multiplied by for an image on which a method has diverged."""

MIN_SIGMA = 2 * 0.002
"""Least noise that is assumed, in [-1, 1]: about half a grey level, the rounding of 8 bits."""


@dataclass(frozen=True)
class Step:
    """One optimisation or sampling step, as reported to an observer.

    Attributes:
        stage: `estimation` or `latent`.
        index: number of the step in its stage, from 0.
        total: how many steps the stage has at most.
        images: positions in the batch that the step concerns.
        loss: per-pixel mean of the squared residual, one per image, in the units of [-1, 1].
        sigma_y: `(n,)` noise of the images, with a method's `model_error` if it has one; loss =
            sigma_y^2 means explained to the noise.
        x0: the images as they are now, `(n, 3, H, W)`, computed when called.
        phi: the parameters as they are now.
        latent_norm: RMS of x_T, one per image; 1 for white noise. None outside stage 2.
        sample: which of several restorations of the same images this is, from 0.
        num_samples: how many there will be.
    """

    stage: str
    index: int
    total: int
    images: list[int]
    loss: Tensor
    sigma_y: Tensor
    x0: Callable[[], Tensor]
    phi: Phi
    latent_norm: Tensor | None = None
    sample: int = 0
    num_samples: int = 1

    @property
    def residual_over_sigma(self) -> Tensor:
        """`(n,)` RMS of the residual in units of the noise; 1 means explained to it."""
        return (self.loss / self.sigma_y**2).sqrt()


Observer = Callable[[Step], None]


def silent(step: Step) -> None:
    """An observer that ignores what it sees."""


@dataclass
class Restoration:
    """A batch of restored images and what explains them.

    Attributes:
        x0: restored images, `(B, 3, H, W)` in [-1, 1].
        phi: parameters of the degradation.
        residual: `(B,)` per-pixel mean of (y - D_phi(x_0))^2; equal to sigma_y^2 where the
            degraded image is explained to the noise.
        sigma_y: `(B,)` standard deviation of the noise, in the units of [-1, 1].
        nfe: network evaluations spent on each image.
        stopped_by: why each image was finished.
        losses: stage -> for each image, the residual at each step.
        reblurred: D_phi(x_0), what the restoration predicts for y.
        std: `(B, 1, H, W)` standard deviation of several restorations in the units of x0; None
            where there is one.
    """

    x0: Tensor
    phi: Phi
    residual: Tensor
    sigma_y: Tensor
    nfe: list[int]
    stopped_by: list[str]
    losses: dict[str, list[list[float]]] = field(default_factory=dict)
    reblurred: Tensor | None = None
    std: Tensor | None = None

    def select(self, images: Sequence[int]) -> Restoration:
        """Some images of the batch."""
        rows = list(images)
        return replace(
            self,
            x0=self.x0[rows],
            phi=select(self.phi, rows),
            residual=self.residual[rows],
            sigma_y=self.sigma_y[rows],
            nfe=[self.nfe[b] for b in rows],
            stopped_by=[self.stopped_by[b] for b in rows],
            losses={stage: [losses[b] for b in rows] for stage, losses in self.losses.items()},
            reblurred=None if self.reblurred is None else self.reblurred[rows],
            std=None if self.std is None else self.std[rows],
        )

    @staticmethod
    def join(parts: Sequence[Restoration]) -> Restoration:
        """One batch of several, all results of the same method on images of one size."""
        first = parts[0]
        reblurred = [part.reblurred for part in parts if part.reblurred is not None]
        std = [part.std for part in parts if part.std is not None]
        return Restoration(
            x0=torch.cat([part.x0 for part in parts]),
            phi={name: torch.cat([part.phi[name] for part in parts]) for name in first.phi},
            residual=torch.cat([part.residual for part in parts]),
            sigma_y=torch.cat([part.sigma_y for part in parts]),
            nfe=[n for part in parts for n in part.nfe],
            stopped_by=[reason for part in parts for reason in part.stopped_by],
            losses={
                stage: [losses for part in parts for losses in part.losses[stage]]
                for stage in first.losses
            },
            reblurred=torch.cat(reblurred) if reblurred else None,
            std=torch.cat(std) if std else None,
        )

    def cpu(self) -> Restoration:
        """The same with all tensors on the CPU."""
        return replace(
            self,
            x0=self.x0.cpu(),
            phi={name: value.cpu() for name, value in self.phi.items()},
            residual=self.residual.cpu(),
            sigma_y=self.sigma_y.cpu(),
            reblurred=None if self.reblurred is None else self.reblurred.cpu(),
            std=None if self.std is None else self.std.cpu(),
        )


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


@contextmanager
def naming(setting: str) -> Iterator[None]:
    """Begin the message of a ValueError inside with the setting that is to blame."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{setting}: {error}") from None


def mean_square(residual: Tensor) -> Tensor:
    """`(B,)` mean over everything but the batch."""
    return residual.square().flatten(1).mean(1)


def unexplained(degradation: Degradation, residual: Tensor, phi: Phi) -> Tensor:
    """`(B,)` mean square of a residual over the values of y that say something about x.

    It equals sigma_y^2 where y is explained to the noise.
    """
    return mean_square(residual) / degradation.share(phi)


@torch.no_grad()
def explained(
    y: Tensor,
    x: Tensor,
    phi: Phi,
    degradation: Degradation,
    sigma_y: Tensor,
    nfe: list[int],
    stopped_by: list[str],
    losses: dict[str, list[list[float]]],
) -> Restoration:
    """The result of a method, with what it leaves unexplained.

    Args:
        y: `(B, 3, h, w)` degraded images.
        x: `(B, 3, H, W)` restored ones, of the degradation's `image_size`.
        phi: parameters that explain y by x.
        degradation: their family.
        sigma_y: `(B,)` noise.
        nfe, stopped_by, losses: see `Restoration`.
    """
    reblurred = degradation(x, phi)
    return Restoration(
        x0=degradation.crop(x, (y.shape[-2], y.shape[-1])).clamp(-1, 1),
        phi=phi,
        residual=unexplained(degradation, degradation.residual(y, reblurred, phi), phi),
        sigma_y=sigma_y,
        nfe=nfe,
        stopped_by=stopped_by,
        losses=losses,
        reblurred=reblurred,
    )


def per_image(values: Tensor) -> Tensor:
    """`(B,)` as `(B, 1, 1, 1)`, to scale images with."""
    return values[:, None, None, None]


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
