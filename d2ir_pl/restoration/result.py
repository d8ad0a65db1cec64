"""What a restoration returns, and what it leaves unexplained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from d2ir_pl.degradations import Degradation, Phi


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
            phi=self.phi.select(rows),
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
            phi=Phi.join(part.phi for part in parts),
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
            phi=self.phi.to("cpu"),
            residual=self.residual.cpu(),
            sigma_y=self.sigma_y.cpu(),
            reblurred=None if self.reblurred is None else self.reblurred.cpu(),
            std=None if self.std is None else self.std.cpu(),
        )


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
        x: `(B, 3, H, W)` restored ones, of the degradation's `frame.image_size`.
        phi: parameters that explain y by x.
        degradation: their family.
        sigma_y: `(B,)` noise.
        nfe, stopped_by, losses: see `Restoration`.
    """
    reblurred = degradation(x, phi)
    return Restoration(
        x0=degradation.frame.crop(x).clamp(-1, 1),
        phi=phi,
        residual=unexplained(degradation, degradation.residual(y, reblurred, phi), phi),
        sigma_y=sigma_y,
        nfe=nfe,
        stopped_by=stopped_by,
        losses=losses,
        reblurred=reblurred,
    )
