"""The width of a blur, read off the power spectrum of the blurred photo.

Natural images have a power spectrum close to a power law of the spatial frequency f. A Gaussian
blur with covariance S multiplies it by exp(-4 pi^2 f^T S f), and white noise adds a constant:

    P(f) = c |f|^-a exp(-4 pi^2 f^T S f) + n.

The periodogram I of an image scatters around P like an exponential variable, so c and the width of
an isotropic blur follow by maximum likelihood (Whittle), maximising  sum_f -log P(f) - I(f) / P(f).

A blur that is wider in one direction is told from the directions of the scene by how it grows with
f. So where the blur is anisotropic, the law is multiplied by exp(sum_j u_j b_j(f)) as in
`scene_directions.py`. S and u are then the most probable ones.

The law of natural images: Field, Relations between the statistics of natural images and the
response properties of cortical cells, 1987. Whittle, Estimation and information in stationary time
series, 1953.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from d2ir_pl.estimators.noise_level import grey_variance
from d2ir_pl.estimators.periodogram import (
    EXPONENT,
    cells,
    fine_frequencies,
    fine_power,
    means,
    ring_means,
)
from d2ir_pl.estimators.remembered import remembered
from d2ir_pl.estimators.scene_directions import DIRECTION_MEAN, DIRECTION_SCATTER, directions
from d2ir_pl.estimators.widths import MAX_WIDTH, MIN_WIDTH
from d2ir_pl.operators.constants import kept
from d2ir_pl.operators.covariances import bounded
from d2ir_pl.operators.linear import Size
from d2ir_pl.operators.order import median

# Cells of the frequency plane are 1 / CELLS cycles a pixel wide, and the logarithm of a photo's
# power in one strays from the law by CELL_SCATTER: without it, large photos would be believed more
# than they know.
CELLS = 64
CELL_SCATTER = 1.0


def gaussian_covariance(
    y: Tensor, sigma_y: Tensor, isotropic: bool = True, rounded: bool = False
) -> Tensor:
    """Covariance of the Gaussian blur that best explains each image's power spectrum.

    Args:
        y: `(B, C, H, W)` blurred, noisy images.
        sigma_y: `(B,)` standard deviation of the noise of one channel, in the units of y.
        isotropic: the same width in every direction.
        rounded: whether a compression has rounded detail below sigma_y to zero. Power below that
            of the noise then says no more than that there is little.

    Returns:
        `(B, 2, 2)` covariances in pixels^2, order (x, y), whose widths (square roots of the
        eigenvalues) lie between MIN_WIDTH and MAX_WIDTH. Images too small to have frequencies
        above MIN_FREQUENCY, or without contrast, are taken as sharp.
    """
    photos, sigmas = y.detach().cpu().split(1), sigma_y.detach().cpu().split(1)
    found = [_of_one(*one, isotropic, rounded) for one in zip(photos, sigmas, strict=True)]
    return torch.cat(found).to(y)


@remembered
def _of_one(y: Tensor, sigma_y: Tensor, isotropic: bool, rounded: bool) -> Tensor:
    """`gaussian_covariance` of a batch of one."""
    power, block = fine_power(y)
    noise = grey_variance(y, sigma_y)[:, None]
    if not float(power.sum()) > 1e-12 * power.shape[1] >= 8e-12:
        return torch.eye(2, dtype=y.dtype)[None] * MIN_WIDTH**2
    # Power below the noise carries no sign of the blur; a floor keeps the likelihood finite.
    floor = noise.clamp_min(1e-4 * median(power, 1)[:, None] + 1e-14)
    least = floor if rounded else torch.zeros_like(floor)
    theta = _grid_search(power, block, floor, least)
    if not isotropic:
        theta = _most_probable(power, block, floor, least, theta)
    s_xx, s_xy, s_yy = theta[:, 1], theta[:, 2], theta[:, 3]
    found = torch.stack([s_xx, s_xy, s_xy, s_yy], -1).view(-1, 2, 2)
    return bounded(found, MIN_WIDTH, MAX_WIDTH).to(y.dtype)


@kept
def _cell_of(h: int, w: int) -> Tensor:
    """The cell of each frequency above MIN_FREQUENCY, `(F,)`."""
    return cells(fine_frequencies((h, w)), CELLS)[0]


@kept
def _cells(h: int, w: int) -> Tensor:
    """`(12, C)`: the law and the number of frequencies of each cell, and the `_basis` there."""
    _, law, count, place = cells(fine_frequencies((h, w)), CELLS)
    return torch.cat([torch.stack([law, count]), _basis(place.to(law) / CELLS)])


@kept
def _scene() -> Tensor:
    """`(2, 10)`: mean and precision of all parameters that `_most_probable` finds."""
    mean, scatter = torch.tensor([DIRECTION_MEAN, DIRECTION_SCATTER], dtype=torch.float64)
    free = torch.zeros(4, dtype=torch.float64)
    return torch.stack([torch.cat([free, mean]), torch.cat([free, scatter**-2])])


def _basis(frequency: Tensor) -> Tensor:
    """`(10, F)`: derivative of log(P - n) with respect to (log c, S_xx, S_xy, S_yy, u_1 .. u_6)."""
    fx, fy = frequency.unbind(1)
    k = -4 * math.pi**2
    blur = [torch.ones_like(fx), k * fx**2, 2 * k * fx * fy, k * fy**2]
    return torch.cat([torch.stack(blur), directions(frequency)])


def _grid_search(power: Tensor, block: Size, noise: Tensor, least: Tensor) -> Tensor:
    """Most likely isotropic blur: `(B, 4)` of log c and the covariance, over a grid of widths.

    An isotropic model is constant on rings of equal |f|, so the mean power of each ring and the
    number of its frequencies say all that the likelihood needs. Means below `least` count as that.
    """
    ring_power, count, radius = ring_means(power, block)
    ring_power = ring_power.maximum(least)
    widths = torch.linspace(MIN_WIDTH, MAX_WIDTH, 229, dtype=power.dtype, device=power.device)
    # (widths, 1, rings) against (1, B, 1)
    shape = radius**-EXPONENT * torch.exp(-4 * math.pi**2 * (widths[:, None, None] * radius) ** 2)
    scale = _scale(ring_power, count, shape, noise)
    model = scale * shape + noise
    cost = (count * (model.log() + ring_power / model)).sum(2)
    best = cost.argmin(0)
    log_c = scale[best, torch.arange(len(power), device=power.device), 0].log()
    variance = widths[best] ** 2
    return torch.stack([log_c, variance, torch.zeros_like(variance), variance], 1)


def _scale(power: Tensor, count: Tensor, shape: Tensor, noise: Tensor) -> Tensor:
    """Maximum-likelihood c >= 0 of P = c shape + noise, by iteratively reweighted least squares."""
    strong = shape > 1e-3 * shape.amax(2, keepdim=True)
    c = torch.where(strong, (power - noise).clamp_min(0) / shape.clamp_min(1e-200), 0)
    c = (c.sum(2, keepdim=True) / strong.sum(2, keepdim=True)).clamp_min(1e-12)
    for _ in range(12):
        model = c * shape + noise
        weight = count * shape / model**2
        c = (weight * (power - noise)).sum(2, keepdim=True)
        c = (c / (weight * shape).sum(2, keepdim=True)).clamp_min(1e-12)
    return c


def _most_probable(
    power: Tensor, block: Size, noise: Tensor, least: Tensor, theta: Tensor
) -> Tensor:
    """Anisotropic blur and directions of the scene, by damped Fisher scoring, from isotropic theta.

    Minimises sum_cells w (log P + I / P) + sum_j (u_j - mu_j)^2 / (2 s_j^2), the weight w the
    inverse variance of log I in a cell: of chance, 1 / count, and of the scene, `CELL_SCATTER`^2.
    I is the mean power of a cell, or `least` where that is more.
    """
    table = _cells(power, *block)
    law, count, basis = table[0], table[1], table[2:]
    power = means(power, _cell_of(power, *block), count).maximum(least)
    weight = 1 / (CELL_SCATTER**2 + 1 / count)
    mean, precision = _scene(theta)

    prior = torch.diag(precision)

    def cost_of(theta: Tensor) -> tuple[Tensor, Tensor]:
        signal = torch.exp((theta @ basis).clamp(max=60)) * law
        model = signal + noise
        stray = ((theta - mean) ** 2 * precision).sum(1) / 2
        return (weight * (model.log() + power / model)).sum(1) + stray, signal

    theta = torch.cat([theta, mean[4:].expand(len(theta), -1)], 1)
    damping = torch.full_like(theta[:, 0], 1e-2)
    cost, signal = cost_of(theta)
    for _ in range(40):
        model = signal + noise
        jacobian = (signal / model)[:, None] * basis
        misfit = (weight * (1 - power / model))[:, None]
        gradient = (jacobian * misfit).sum(2) + (theta - mean) * precision
        fisher = (jacobian * weight) @ jacobian.mT + prior
        diagonal = fisher.diagonal(dim1=1, dim2=2)
        # Pure noise says nothing of some parameters: the floor keeps the matrix regular.
        floor = 1e-9 * diagonal.amax(1, keepdim=True) + 1e-30
        fisher = fisher + torch.diag_embed(damping[:, None] * diagonal + floor)
        # `solve` would wait to see whether the matrix is regular.
        proposal = theta - torch.linalg.solve_ex(fisher, gradient[..., None])[0][..., 0]
        new_cost, new_signal = cost_of(proposal)
        better = new_cost < cost
        theta = torch.where(better[:, None], proposal, theta)
        signal = torch.where(better[:, None], new_signal, signal)
        cost = torch.where(better, new_cost, cost)
        damping = torch.where(better, damping / 4, damping * 8).clamp(1e-8, 1e6)
    return theta
