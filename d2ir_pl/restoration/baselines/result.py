"""What all baselines have in common at the end of a restoration."""

from __future__ import annotations

from torch import Tensor

from d2ir_pl.degradations import Degradation, Phi
from d2ir_pl.restoration.result import Restoration, explained


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
        x: `(B, 3, H, W)` restored ones, of the degradation's `frame.image_size`.
        phi: parameters that explain y by x.
        degradation: their family.
        sigma_y: `(B,)` noise.
        nfe: network evaluations of each image.
        stopped_by: what ended the method.
        losses: stage -> for each image, the residual at each step.
    """
    count = len(y)
    return explained(y, x, phi, degradation, sigma_y, [nfe] * count, [stopped_by] * count, losses)
