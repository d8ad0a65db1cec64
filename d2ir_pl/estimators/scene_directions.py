"""What the power spectrum of a scene has by direction, beside what a blur did to it.

Not every scene has the same power in all directions: horizons and walls give more along the axes.
So the logarithm of the power law c |f|^-a strays by sum_j u_j b_j(f) with b = cos 2t, sin 2t, the
same times log(|f| / f_1), cos 4t, sin 4t, for f = |f| (cos t, sin t), and u_j ~ N(mu_j, s_j^2) as
photographs have them.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

# mu_j and s_j of cos 2t, sin 2t, both times log(|f| / f_1), cos 4t, sin 4t, and f_1: about the mean
# of each pair over 400 crops of training photographs (docs/experiments.md).
DIRECTION_MEAN = (0.0, 0.0, 0.0, 0.0, 0.2, 0.0)
DIRECTION_SCATTER = (0.5, 0.5, 0.35, 0.35, 0.3, 0.3)
DIRECTION_FREQUENCY = 0.15
# Iterations that fit the scale and the directions; more change nothing.
ITERATIONS = 4
# Largest change of the logarithm of the power in one of them.
STEP = 1.0


def directions(frequency: Tensor) -> Tensor:
    """The functions b_j, `(6, F)`, at frequencies `(F, 2)` along x and y in cycles a pixel."""
    angle = torch.atan2(frequency[:, 1], frequency[:, 0])
    rise = (frequency.norm(dim=1) / DIRECTION_FREQUENCY).log()
    twice, four = (torch.stack([(m * angle).cos(), (m * angle).sin()]) for m in (2, 4))
    return torch.cat([twice, rise * twice, four])


def misfit_of_scenes(
    power: Tensor, weight: Tensor, frequency: Tensor, shapes: Tensor, noise: Tensor
) -> Tensor:
    """How badly laws explain a power spectrum, each at its best scale c and directions u.

    The least sum_f w (log P - log(c s e^(sum_j u_j b_j) + n))^2 + sum_j ((u_j - mu_j) / s_j)^2, by
    Gauss and Newton's method.

    Args:
        power: `(F,)` power P of a photo.
        weight: `(F,)` weights w, the inverse variances of its logarithm.
        frequency: `(F, 2)` in cycles a pixel.
        shapes: `(N, F)` laws s without their scale.
        noise: power n of the noise, a scalar.

    Returns:
        `(N,)` misfits.
    """
    basis = torch.cat([torch.ones_like(weight)[None], directions(frequency)])
    products = (basis[:, None] * basis).flatten(0, 1).T
    mean = power.new_tensor([0.0, *DIRECTION_MEAN])
    precision = power.new_tensor([0.0, *(s**-2 for s in DIRECTION_SCATTER)])
    log_power = power.clamp_min(1e-30).log()
    u = mean.repeat(len(shapes), 1)
    u[:, 0] = ((power - noise).sum() / shapes.sum(1)).clamp_min(1e-12).log()
    best = torch.full_like(u[:, 0], math.inf)
    for _ in range(ITERATIONS):
        signal = shapes * (u @ basis).exp()
        model = signal + noise
        error = log_power - model.log()
        best = best.minimum(error**2 @ weight + (u - mean) ** 2 @ precision)
        slope = weight * signal / model
        normal = ((slope * signal / model) @ products).view(len(u), len(mean), len(mean))
        normal = normal + torch.diag(precision + 1e-9)
        gradient = (slope * error) @ basis.T - (u - mean) * precision
        step = torch.linalg.solve(normal, gradient)
        # A large step would leave the range in which it is a good one.
        u = u + step * (STEP / step.abs().amax(1, keepdim=True).clamp_min(STEP))
    return best
