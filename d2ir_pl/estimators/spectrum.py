"""The width of a blur, read off the power spectrum of the blurred photo.

Natural images have a power spectrum close to a power law of the spatial frequency f. A Gaussian
blur with covariance S multiplies it by exp(-4 pi^2 f^T S f), and white noise adds a constant:

    P(f) = c |f|^-a exp(-4 pi^2 f^T S f) + n.

The periodogram I of an image scatters around P like an exponential variable, so c and the width of
an isotropic blur follow by maximum likelihood (Whittle), maximising  sum_f -log P(f) - I(f) / P(f).

Not every scene has the same power in all directions: horizons and walls give more along the axes.
A blur that is wider in one direction is told from that by how it grows with f. So where the blur is
anisotropic, the law is multiplied by exp(sum_j u_j b_j(f)) with b = cos 2t, sin 2t, the same times
log(|f| / f_1), cos 4t, sin 4t, for f = |f| (cos t, sin t), and u_j ~ N(mu_j, s_j^2) as photographs
have them. S and u are then the most probable ones.

The law of natural images: Field, Relations between the statistics of natural images and the
response properties of cortical cells, 1987. Whittle, Estimation and information in stationary time
series, 1953.
"""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor

from d2ir_pl.estimators.noise_level import grey_variance
from d2ir_pl.estimators.widths import MAX_WIDTH, MIN_WIDTH

# Falling exponent of the power of photographs, and the lowest frequency (cycles a pixel) that
# still follows the law: together they read widths without bias on photographs of the training
# set (docs/experiments.md).
EXPONENT = 2.4
MIN_FREQUENCY = 0.08
# mu_j and s_j of cos 2t, sin 2t, both times log(|f| / f_1), cos 4t, sin 4t, and f_1: about the mean
# of each pair over 400 crops of training photographs (docs/experiments.md).
DIRECTION_MEAN = (0.0, 0.0, 0.0, 0.0, 0.2, 0.0)
DIRECTION_SCATTER = (0.5, 0.5, 0.35, 0.35, 0.3, 0.3)
DIRECTION_FREQUENCY = 0.15
# Cells of the frequency plane are 1 / CELLS cycles a pixel wide, and the logarithm of a photo's
# power in one strays from the law by CELL_SCATTER: without it, large photos would be believed more
# than they know.
CELLS = 64
CELL_SCATTER = 1.0
# Side in pixels of the largest block whose periodogram is taken whole.
MAX_BLOCK = 512


def periodogram(y: Tensor) -> tuple[Tensor, Tensor]:
    """Power of the grey image at each frequency, tapered so that borders do not leak.

    Large images are cut into blocks whose periodograms are averaged (Welch's method), which
    bounds the number of frequencies.

    Args:
        y: `(B, C, H, W)`.

    Returns:
        Power `(B, F)`, scaled so that white noise of variance v has power v, and the frequencies
        `(F, 2)` along x and y in cycles a pixel. Half the plane: the other half mirrors it.
    """
    grey = y.double().mean(1)
    h, w = min(grey.shape[1], MAX_BLOCK), min(grey.shape[2], MAX_BLOCK)
    blocks = grey.unfold(1, h, h).unfold(2, w, w).flatten(1, 2)
    taper = torch.outer(_hann(h), _hann(w)).to(grey.device)
    mean = (blocks * taper).sum((2, 3), keepdim=True) / taper.sum()
    power = torch.fft.rfft2((blocks - mean) * taper).abs().square().mean(1) / taper.square().sum()
    fy, fx = torch.meshgrid(
        torch.fft.fftfreq(h, dtype=torch.float64),
        torch.fft.rfftfreq(w, dtype=torch.float64),
        indexing="ij",
    )
    return power.flatten(1), torch.stack([fx, fy], -1).flatten(0, 1).to(grey.device)


def cell_means(
    power: Tensor, frequency: Tensor, size: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Means over cells of the frequency plane that are 1 / size cycles a pixel wide.

    Args:
        power: `(B, F)` at each frequency.
        frequency: `(F, 2)` in cycles a pixel, half the plane.
        size: cells a cycle.

    Returns:
        Of the C cells that hold a frequency: power `(B, C)`, mean of |f|^-a `(C,)`, number of
        frequencies `(C,)`, and place `(C, 2)` along x and y in units of 1 / size.
    """
    every = (frequency * size).round().long()
    place, index = cast(tuple[Tensor, Tensor], torch.unique(every, return_inverse=True, dim=0))
    count = torch.bincount(index, minlength=len(place)).to(power)
    law = frequency.norm(dim=1) ** -EXPONENT
    power, law = (
        values.new_zeros(*values.shape[:-1], len(place)).index_add_(-1, index, values) / count
        for values in (power, law)
    )
    return power, law, count, place


def gaussian_covariance(y: Tensor, sigma_y: Tensor, isotropic: bool = True) -> Tensor:
    """Covariance of the Gaussian blur that best explains each image's power spectrum.

    Args:
        y: `(B, C, H, W)` blurred, noisy images.
        sigma_y: `(B,)` standard deviation of the noise of one channel, in the units of y.
        isotropic: the same width in every direction.

    Returns:
        `(B, 2, 2)` covariances in pixels^2, order (x, y), whose widths (square roots of the
        eigenvalues) lie between MIN_WIDTH and MAX_WIDTH. Images too small to have frequencies
        above MIN_FREQUENCY, or without contrast, are taken as sharp.
    """
    if y.device.type == "mps":  # which has no double precision
        return gaussian_covariance(y.cpu(), sigma_y.cpu(), isotropic).to(y.device)
    if not isotropic and len(y) > 1:  # in a batch, products of matrices may round differently
        images = [slice(b, b + 1) for b in range(len(y))]
        return torch.cat([gaussian_covariance(y[b], sigma_y[b], isotropic) for b in images])
    power, frequency = periodogram(y)
    keep = frequency.norm(dim=1) > MIN_FREQUENCY
    power, frequency = power[:, keep], frequency[keep]
    noise = grey_variance(y, sigma_y)[:, None]
    sharp = torch.eye(2, dtype=torch.float64, device=y.device) * MIN_WIDTH**2
    flat = power.sum(1) <= 1e-12 * power.shape[1]
    if power.shape[1] < 8:
        flat = torch.ones_like(flat)
    covariance = sharp.expand(len(y), 2, 2).clone()
    if bool(flat.all()):
        return covariance.to(y.dtype)
    rows = (~flat).nonzero()[:, 0]
    # Power below the noise carries no sign of the blur; a floor keeps the likelihood finite.
    floor = noise[rows].clamp_min(1e-4 * power[rows].median(1, keepdim=True).values + 1e-14)
    theta = _grid_search(power[rows], frequency, floor)
    if not isotropic:
        theta = _most_probable(power[rows], frequency, floor, theta)
    s_xx, s_xy, s_yy = theta[:, 1], theta[:, 2], theta[:, 3]
    found = torch.stack([s_xx, s_xy, s_xy, s_yy], -1).view(-1, 2, 2)
    values, vectors = torch.linalg.eigh(found)
    values = values.clamp(MIN_WIDTH**2, MAX_WIDTH**2)
    covariance[rows] = vectors @ torch.diag_embed(values) @ vectors.mT
    return covariance.to(y.dtype)


def _hann(n: int) -> Tensor:
    return torch.hann_window(n + 2, periodic=False, dtype=torch.float64)[1:-1]


def _basis(frequency: Tensor) -> Tensor:
    """`(10, F)`: derivative of log(P - n) with respect to (log c, S_xx, S_xy, S_yy, u_1 .. u_6)."""
    fx, fy = frequency.unbind(1)
    k = -4 * math.pi**2
    blur = [torch.ones_like(fx), k * fx**2, 2 * k * fx * fy, k * fy**2]
    angle = torch.atan2(fy, fx)
    rise = (frequency.norm(dim=1) / DIRECTION_FREQUENCY).log()
    twice, four = (torch.stack([(m * angle).cos(), (m * angle).sin()]) for m in (2, 4))
    return torch.cat([torch.stack(blur), twice, rise * twice, four])


def _grid_search(power: Tensor, frequency: Tensor, noise: Tensor) -> Tensor:
    """Most likely isotropic blur: `(B, 4)` of log c and the covariance, over a grid of widths.

    An isotropic model is constant on rings of equal |f|, so the mean power of each ring and the
    number of its frequencies say all that the likelihood needs.
    """
    ring = (frequency.norm(dim=1) * 512).round().long()
    count = torch.zeros(int(ring.max()) + 1, dtype=power.dtype, device=power.device)
    count.index_add_(0, ring, torch.ones_like(frequency[:, 0]))
    ring_power = power.new_zeros(len(power), len(count)).index_add_(1, ring, power)
    used = count > 0
    count, ring_power = count[used], ring_power[:, used] / count[used]
    radius = (torch.arange(len(used), device=power.device)[used] / 512).to(power.dtype)

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


def _most_probable(power: Tensor, frequency: Tensor, noise: Tensor, theta: Tensor) -> Tensor:
    """Anisotropic blur and directions of the scene, by damped Fisher scoring, from isotropic theta.

    Minimises sum_cells w (log P + I / P) + sum_j (u_j - mu_j)^2 / (2 s_j^2), the weight w the
    inverse variance of log I in a cell: of chance, 1 / count, and of the scene, `CELL_SCATTER`^2.
    """
    power, law, count, place = cell_means(power, frequency, CELLS)
    basis = _basis(place.to(power) / CELLS)
    weight = 1 / (CELL_SCATTER**2 + 1 / count)
    mean = theta.new_zeros(len(basis))
    precision = torch.zeros_like(mean)
    mean[4:] = theta.new_tensor(DIRECTION_MEAN)
    precision[4:] = theta.new_tensor(DIRECTION_SCATTER) ** -2

    def cost_of(theta: Tensor) -> tuple[Tensor, Tensor]:
        signal = torch.exp((theta @ basis).clamp(max=60)) * law
        model = signal + noise
        prior = ((theta - mean) ** 2 * precision).sum(1) / 2
        return (weight * (model.log() + power / model)).sum(1) + prior, signal

    theta = torch.cat([theta, mean[4:].expand(len(theta), -1)], 1)
    damping = torch.full_like(theta[:, 0], 1e-2)
    cost, signal = cost_of(theta)
    for _ in range(40):
        model = signal + noise
        jacobian = (signal / model)[:, None] * basis
        misfit = (weight * (1 - power / model))[:, None]
        gradient = (jacobian * misfit).sum(2) + (theta - mean) * precision
        fisher = (jacobian * weight) @ jacobian.mT + torch.diag(precision)
        diagonal = fisher.diagonal(dim1=1, dim2=2)
        # Pure noise says nothing of some parameters: the floor keeps the matrix regular.
        floor = 1e-9 * diagonal.amax(1, keepdim=True) + 1e-30
        fisher = fisher + torch.diag_embed(damping[:, None] * diagonal + floor)
        proposal = theta - torch.linalg.solve(fisher, gradient[..., None])[..., 0]
        new_cost, new_signal = cost_of(proposal)
        better = new_cost < cost
        theta = torch.where(better[:, None], proposal, theta)
        signal = torch.where(better[:, None], new_signal, signal)
        cost = torch.where(better, new_cost, cost)
        damping = torch.where(better, damping / 4, damping * 8).clamp(1e-8, 1e6)
    return theta
