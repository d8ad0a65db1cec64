"""What all baselines have in common at the start and at the end of a restoration."""

from __future__ import annotations

import torch
from torch import Tensor

from d2ir_pl.degradations import Degradation, Phi
from d2ir_pl.restoration.base import MIN_SIGMA, Restoration, unexplained


def assumed_sigma(y: Tensor, degradation: Degradation, sigma_y: Tensor | None) -> Tensor:
    """`(B,)` noise of y in its units: the given one or the one read off y, and never zero."""
    sigma_y = degradation.estimate_sigma(y) if sigma_y is None else sigma_y.to(y)
    return sigma_y.clamp_min(MIN_SIGMA)


@torch.no_grad()
def restoration(
    y: Tensor,
    x: Tensor,
    phi: Phi,
    degradation: Degradation,
    sigma_y: Tensor,
    *,
    nfe: int,
    stopped_by: str,
    losses: dict[str, list[list[float]]],
) -> Restoration:
    """The result of a method that treats all images of a batch alike.

    Args:
        y: `(B, 3, h, w)` degraded images.
        x: `(B, 3, H, W)` restored ones, of the degradation's `image_size`.
        phi: parameters that explain y by x.
        degradation: their family.
        sigma_y: `(B,)` noise.
        nfe: network evaluations of each image.
        stopped_by: what ended the method.
        losses: stage -> for each image, the residual at each step.
    """
    reblurred = degradation(x, phi)
    return Restoration(
        x0=degradation.crop(x, (y.shape[-2], y.shape[-1])).clamp(-1, 1),
        phi=phi,
        residual=unexplained(degradation, degradation.residual(y, reblurred, phi), phi),
        sigma_y=sigma_y,
        nfe=[nfe] * len(y),
        stopped_by=[stopped_by] * len(y),
        losses=losses,
        reblurred=reblurred,
    )
