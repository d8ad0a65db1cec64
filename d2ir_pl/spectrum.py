"""The width of a blur, read off the power spectrum of the blurred photo.

Natural images have a power spectrum close to a power law of the spatial frequency f. A Gaussian
blur with covariance S multiplies it by exp(-4 pi^2 f^T S f), and white noise adds a constant:

    P(f) = c |f|^-a exp(-4 pi^2 f^T S f) + n.

The periodogram I of an image scatters around P like an exponential variable, so c and S follow by
maximum likelihood (Whittle), maximising  sum_f -log P(f) - I(f) / P(f).

The law of natural images: Field, Relations between the statistics of natural images and the
response properties of cortical cells, 1987. Whittle, Estimation and information in stationary time
series, 1953.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from d2ir_pl.noise import grey_variance

# Falling exponent of the power of photographs, and the lowest frequency (cycles a pixel) that
# still follows the law: together they read widths without bias on photographs of the training
# set (docs/experiments.md).
EXPONENT = 2.4
MIN_FREQUENCY = 0.08
# Side in pixels of the largest block whose periodogram is taken whole.
MAX_BLOCK = 512
# Widths in pixels that a spectrum can tell from a sharp image, and from pure noise.
MIN_WIDTH, MAX_WIDTH = 0.3, 6.0


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
        theta = _fisher_scoring(power[rows], frequency, floor, theta)
    s_xx, s_xy, s_yy = theta[:, 1], theta[:, 2], theta[:, 3]
    found = torch.stack([s_xx, s_xy, s_xy, s_yy], -1).unflatten(-1, (2, 2))
    values, vectors = torch.linalg.eigh(found)
    values = values.clamp(MIN_WIDTH**2, MAX_WIDTH**2)
    covariance[rows] = vectors @ torch.diag_embed(values) @ vectors.mT
    return covariance.to(y.dtype)


def _hann(n: int) -> Tensor:
    return torch.hann_window(n + 2, periodic=False, dtype=torch.float64)[1:-1]


def _basis(frequency: Tensor) -> Tensor:
    """`(4, F)`: derivative of log(P - n) with respect to (log c, S_xx, S_xy, S_yy)."""
    fx, fy = frequency.unbind(1)
    k = -4 * math.pi**2
    return torch.stack([torch.ones_like(fx), k * fx**2, 2 * k * fx * fy, k * fy**2])


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


def _fisher_scoring(power: Tensor, frequency: Tensor, noise: Tensor, theta: Tensor) -> Tensor:
    """Refine `(log c, S_xx, S_xy, S_yy)` by damped Fisher scoring of the Whittle likelihood."""
    basis = _basis(frequency)
    law = frequency.norm(dim=1) ** -EXPONENT

    def cost_of(theta: Tensor) -> tuple[Tensor, Tensor]:
        signal = torch.exp((theta @ basis).clamp(max=60)) * law
        model = signal + noise
        return (model.log() + power / model).sum(1), signal

    damping = torch.full_like(theta[:, 0], 1e-2)
    cost, signal = cost_of(theta)
    for _ in range(40):
        model = signal + noise
        jacobian = (signal / model)[:, None] * basis
        gradient = (jacobian * (1 - power / model)[:, None]).sum(2)
        fisher = jacobian @ jacobian.mT
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
