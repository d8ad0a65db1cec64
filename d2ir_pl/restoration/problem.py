"""A batch of degraded images to restore, and what every method asks of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import torch
from torch import Generator, Tensor

from d2ir_pl.degradations import Degradation, LinearOperator, Phi
from d2ir_pl.diffusion.randomness import normal_like, same_generator
from d2ir_pl.estimators.noise_level import MIN_SIGMA, is_grey
from d2ir_pl.estimators.observed_pixels import fill_unobserved, hide
from d2ir_pl.operators.linear import Map, Size, per_image, rows_of, size_of
from d2ir_pl.operators.noise_shape import NoiseShape
from d2ir_pl.operators.weighted import WeightedOperator, WhitenedOperator, coefficients_beside
from d2ir_pl.restoration.found import Found
from d2ir_pl.restoration.result import Losses, Restoration
from d2ir_pl.stages import StoppedBy


@dataclass(frozen=True, eq=False)
class Problem:
    """A batch of degraded images y = D_phi(x) + n, whose x is sought, and phi where it is unknown.

    An x is `(B, 3, H, W)`, and may reach beyond the image that the user gets; see `Frame`.

    Args:
        y: `(B, 3, h, w)` float in [-1, 1], or `(B, S, 3, h, w)` for S photos of a scene.
        sigma_y: `(B,)` standard deviation of n in the units of y, positive.
        degradation: family of degradations D, with phi known or not.
        generators: one CPU generator per image, the only source of randomness.
        observed: `(B, 1, h, w)`, 1 where a pixel of y is observed, and 0 where it is no part of the
            photo, such as a transparent one, and only continues it; None where all are.
        first: `(B, 3, H, W)` restorations that are known already, of the size of the result; None
            if there are none.
        estimated: whether sigma_y was read off y, so that n may be no white noise; noise of a told
            sigma_y is white.
        finite: whether y is known to have finite values alone.
        shape: what makes n differ from white noise of the level sigma_y; None for white noise.
        found: what is found of them before they are restored; None where nothing was looked for.

    Raises:
        ValueError: for tensors of another shape or type, and for values that are not finite.
    """

    y: Tensor
    sigma_y: Tensor
    degradation: Degradation
    generators: Sequence[Generator]
    observed: Tensor | None = None
    first: Tensor | None = None
    estimated: bool = False
    finite: bool = False
    shape: NoiseShape | None = None
    found: Found | None = None

    def __post_init__(self) -> None:
        y, count = self.y, len(self.y)
        if y.ndim not in (4, 5) or y.shape[-3] != 3 or not y.is_floating_point():
            raise ValueError(
                f"y must be a float tensor (B, 3, H, W), or (B, S, 3, H, W) for S photos of a "
                f"scene, not {y.dtype} {tuple(y.shape)}"
            )
        if len(self.generators) != count:
            raise ValueError(f"{count} images need as many generators, not {len(self.generators)}")
        if self.sigma_y.shape != (count,):
            raise ValueError(f"sigma_y must be ({count},), not {tuple(self.sigma_y.shape)}")
        if self.observed is not None and self.observed.shape != (count, 1, *y.shape[-2:]):
            raise ValueError(
                f"observed must be {(count, 1, *y.shape[-2:])}, not {tuple(self.observed.shape)}"
            )
        if not self.finite:  # which is not asked again: a device would be waited for
            if not bool(torch.isfinite(y).all()):
                raise ValueError("y has NaN or infinite values: repair the input")
            object.__setattr__(self, "finite", True)

    @classmethod
    def of(
        cls,
        y: Tensor,
        degradation: Degradation,
        generators: Sequence[Generator],
        sigma_y: Tensor | None = None,
        observed: Tensor | None = None,
        least: Tensor | None = None,
    ) -> Problem:
        """The problem of some images in float32, with noise of at least `MIN_SIGMA`.

        Args:
            y: `(B, 3, H, W)` degraded images in [-1, 1], or `(B, S, 3, H, W)` for S photos of each
                scene.
            degradation: family of degradations that explains them.
            generators: CPU generators, one per image; the only source of randomness.
            sigma_y: `(B,)` noise in the units of y; estimated from y if None.
            observed: `(B, 1, H, W)`, 1 where a pixel of y is observed, and 0 elsewhere, where the
                others are continued in place of it; None where all are observed.
            least: `(B,)` least noise that is assumed where it is estimated; `MIN_SIGMA` if None.

        Raises:
            ValueError: as `Problem` itself.
        """
        problem = cls(y, torch.ones(len(y)), degradation, generators, observed)
        if observed is not None and bool((observed == 1).all()):
            return cls.of(y, degradation, generators, sigma_y, None, least)
        y = y.float()
        with torch.autocast(y.device.type, enabled=False):
            seen = y if observed is None else hide(y, observed)
            found = degradation.estimate_sigma(seen) if sigma_y is None else sigma_y.to(y)
            if least is not None and sigma_y is None:
                found = torch.maximum(found, least.to(found))
            found = found.clamp_min(MIN_SIGMA)
            if observed is not None:
                y = fill_unobserved(y, observed, found)
        return replace(problem, y=y, sigma_y=found, estimated=sigma_y is None)

    def __len__(self) -> int:
        return len(self.y)

    @property
    def shown(self) -> Problem:
        """The problem of all that is shown, off which is read what holds for whole photos."""
        return self

    @property
    def observed_size(self) -> Size:
        """Height and width of y."""
        return size_of(self.y)

    @property
    def image_size(self) -> Size:
        """Height and width of an x."""
        return self.degradation.frame.image_size(self.observed_size)

    @cached_property
    def grey(self) -> Tensor:
        """`(B,)` whether y shows the same in all of its channels, and so does x."""
        keeps = self.degradation.keeps_grey
        return is_grey(self.y) if keeps else torch.zeros_like(self.sigma_y, dtype=torch.bool)

    def sigma_of(self, residual: Tensor) -> Tensor:
        """`(B,)` noise of a residual, as if all of its values were observed independently.

        The three channels of a grey photo are one observation, whose noise is no less for being
        told three times: sqrt(3) sigma_y in each of three independent channels would say as much.
        Coefficients tell of it once.
        """
        if residual.shape != self.y.shape:
            return self.sigma_y
        return torch.where(self.grey, math.sqrt(3) * self.sigma_y, self.sigma_y)

    def init(self) -> Phi:
        """The parameters that the degradation, which expects white noise, reads off y; or knows."""
        return self.degradation.init(*self.with_white_noise())

    def with_white_noise(self) -> tuple[Tensor, Tensor]:
        """The photos with what their noise lacks to white noise, and the level `(B,)` of both."""
        if self.shape is None:
            return self.y, self.sigma_y
        drawn = normal_like(self.y, [same_generator(g) for g in self.generators])
        missing, level = self.shape.complement(drawn)
        return self.y + per_image(self.sigma_y) * missing, level * self.sigma_y

    def assuming(self, sigma_y: Tensor) -> Self:
        """The problem with more noise, white and independent of its own.

        Args:
            sigma_y: `(B,)` standard deviation of both together, of at least `sigma_y`.
        """
        shape = self.shape
        if shape is not None:
            shape = shape.with_white(((sigma_y / self.sigma_y) ** 2 - 1).clamp_min(0))
        return replace(self, sigma_y=sigma_y, shape=shape)

    def lift(self, phi: Phi) -> Tensor:
        """A first guess of x, made of y."""
        return self.degradation.lift(self.y, phi)

    def guess(self, phi: Phi) -> Tensor:
        """The best guess of x before a method runs: a known restoration, or else made of y."""
        return self.lift(phi) if self.first is None else self.degradation.frame.embed(self.first)

    def noise(self) -> Tensor:
        """Standard normal noise of the shape of x, drawn from the generators of the images."""
        return self.normal(self.image_size)

    def normal(self, size: Sequence[int]) -> Tensor:
        """Standard normal noise `(B, 3, height, width)` from the generators of the images."""
        return normal_like(self.y.new_empty(len(self), 3, *size), self.generators)

    def linearize(self, x: Tensor, phi: Phi) -> tuple[LinearOperator, Tensor]:
        """The derivative of D_phi at x, and the residual y - D_phi(x), both whitened."""
        operator, residual = self.degradation.linearize(self.y, x, phi)
        weight = self._weight(residual)
        if weight is None:
            weight = coefficients_beside(operator, (self.found or Found()).beside)
        if weight is not None:
            operator, residual = WeightedOperator(operator, weight), weight * residual
        if (shape := self._shape(residual)) is not None:
            operator, residual = WhitenedOperator(operator, shape), shape.whiten(residual)
        return operator, residual

    def residual(self, x: Tensor, phi: Phi) -> Tensor:
        """The residual y - D_phi(x), whitened; it is zero where y says nothing about x."""
        return self.residual_of(self.degradation(x, phi), phi)

    def residual_of(self, prediction: Tensor, phi: Phi) -> Tensor:
        """The residual y - D_phi(x) of a prediction D_phi(x) that is known already."""
        return self.whitened(self.degradation.residual(self.y, prediction, phi))

    def whitened(self, residual: Tensor, transposed: bool = False) -> Tensor:
        """A residual, or a change of one, as observed and with white noise; or the transpose."""
        weight, shape = self._weight(residual), self._shape(residual)
        changes: list[Map] = [] if weight is None else [weight.mul]
        changes += [] if shape is None else [shape.whiten]
        for change in reversed(changes) if transposed else changes:
            residual = change(residual)
        return residual

    def misfit(self, x: Tensor, phi: Phi) -> Tensor:
        """`(B,)` mean square of the values of y - D_phi(x) that tell of x; about sigma_y^2."""
        return self.misfit_of(self.residual(x, phi), phi)

    def misfit_of(self, residual: Tensor, phi: Phi) -> Tensor:
        """The `misfit` of a residual y - D_phi(x) that is known already, and belongs to phi."""
        return mean_square(residual) / self.share_of(residual, phi)

    def share_of(self, residual: Tensor, phi: Phi) -> Tensor:
        """`(B,)` the share of the values of a residual that say something about x."""
        share, weight = self.degradation.share(phi), self._weight(residual)
        return share if weight is None else share * weight.mean((1, 2, 3))

    def _weight(self, residual: Tensor) -> Tensor | None:
        """Which values of a residual count, `observed`; None for coefficients, which mix pixels."""
        if self.observed is None or residual.shape[-2:] != self.observed.shape[-2:]:
            return None
        return self.observed

    def _shape(self, residual: Tensor) -> NoiseShape | None:
        """The `shape` of a residual; None for coefficients, whose errors are known."""
        return self.shape if residual.shape == self.y.shape else None

    def crop(self, x: Tensor) -> Tensor:
        """The part of x that the user asked for."""
        return self.degradation.frame.crop(x)

    def select(self, rows: Sequence[int]) -> Problem:
        """The problem of some images of the batch."""
        if [*rows] == [*range(len(self))]:
            return self
        return replace(
            self,
            y=rows_of(self.y, rows),
            sigma_y=rows_of(self.sigma_y, rows),
            generators=[self.generators[b] for b in rows],
            observed=None if self.observed is None else rows_of(self.observed, rows),
            first=None if self.first is None else rows_of(self.first, rows),
            shape=None if self.shape is None else self.shape.select(rows),
            found=None if self.found is None else self.found.select(rows),
        )

    @torch.no_grad()
    def result(
        self,
        x: Tensor,
        phi: Phi,
        *,
        nfe: int | list[int],
        stopped_by: StoppedBy | list[StoppedBy],
        losses: Losses,
    ) -> Restoration:
        """The restoration that a method returns, with the misfit that it leaves.

        Args:
            x: `(B, 3, H, W)` restored images.
            phi: parameters that explain y by x.
            nfe: number of network evaluations spent on each image, or on every image.
            stopped_by: reason why each image, or every image, is finished.
            losses: misfit of each image at every step, by stage; see `Steps.losses`.
        """
        reblurred = self.degradation(x, phi)
        return Restoration(
            x0=(self.found or Found()).shown(self.crop(x).clamp(-1, 1)),
            phi=phi,
            residual=self.misfit_of(self.residual_of(reblurred, phi), phi),
            sigma_y=self.sigma_y,
            nfe=nfe if isinstance(nfe, list) else [nfe] * len(self),
            stopped_by=stopped_by if isinstance(stopped_by, list) else [stopped_by] * len(self),
            losses=losses,
            reblurred=reblurred,
        )


def mean_square(residual: Tensor) -> Tensor:
    """`(B,)` mean over everything but the batch."""
    return residual.square().flatten(1).mean(1)
