"""Covariances `(B, 2, 2)` of blurs in pixels^2, order (x, y), in closed form.

A decomposition on a GPU would wait for it.
"""

from __future__ import annotations

import torch
from torch import Tensor


def principal_axes(covariance: Tensor) -> tuple[Tensor, Tensor]:
    """The variances along the minor and the major axis, `(B, 2)`, and the angle of the major one.

    The angle `(B,)` is that from the x axis toward the y axis, in radians in (-pi/2, pi/2].
    """
    s_xx, s_xy, s_yy = covariance[:, 0, 0], covariance[:, 0, 1], covariance[:, 1, 1]
    mean, half = (s_xx + s_yy) / 2, (s_xx - s_yy) / 2
    radius = torch.hypot(half, s_xy)
    return torch.stack([mean - radius, mean + radius], 1), torch.atan2(s_xy, half) / 2


def of_axes(variances: Tensor, angle: Tensor) -> Tensor:
    """The covariance with variances along its minor and major axis, see `principal_axes`."""
    minor, major = variances.unbind(1)
    mean, radius = (minor + major) / 2, (major - minor) / 2
    across, along = radius * (2 * angle).cos(), radius * (2 * angle).sin()
    return torch.stack([mean + across, along, along, mean - across], 1).view(-1, 2, 2)


def bounded(covariance: Tensor, least: float, largest: float) -> Tensor:
    """Covariances with widths, the roots of their variances, between two bounds in pixels."""
    variances, angle = principal_axes(covariance)
    return of_axes(variances.clamp(least**2, largest**2), angle)
