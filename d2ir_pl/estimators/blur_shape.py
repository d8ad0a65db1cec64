"""What the power spectrum of a blurred photo says of the shape of its blur.

Natural images have a power spectrum close to c |f|^-a, with more or less of it by direction, and a
kernel with transfer function K multiplies it by |K(f)|^2. The noise of a photo is read off its
highest frequencies, whatever it is, and only frequencies well above that are looked at: those that
JPEG, sharpening or grain have made tell nothing. There

    log P(f) = log c - a log |f| + sum_j u_j b_j(f) + log |K(f)|^2 + error,

b the first harmonics of the direction, is linear in all but K, so that Gaussians of one width or
two, and disks, are compared by their least misfits: a path of the camera fits none of them.

Source of the law: Field, Relations between the statistics of natural images and the response
properties of cortical cells, 1987.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

# Side in pixels of the blocks whose periodograms are averaged, and cells of 1 / CELLS cycles.
MAX_BLOCK = 192
CELLS = 64
# Frequencies in cycles a pixel that are looked at; the noise is read off those beyond NOISE, and
# the signal must exceed it by a factor.
LOW, HIGH, NOISE = 0.03, 0.4, 0.42
ABOVE_NOISE = 2.5
# Standard deviation of the logarithm of a photo's power in a cell, and how many cells count as if
# they were independent of each other.
SCATTER, INDEPENDENT = 0.5, 400
FEWEST = 60
# Mean and scatter of the exponent a and of the four harmonics among photographs.
MEAN = (0.0, -2.4, 0.0, 0.0, 0.2, 0.0)
PRECISION = (0.0, 0.35**-2, 0.5**-2, 0.5**-2, 0.3**-2, 0.3**-2)
# Least |K|^2 that shows: leakage and noise fill its zeros.
FILLED = 1e-3
SECTORS = 12
BANDS = ((0.03, 0.12), (0.1, 0.3))


@dataclass(frozen=True)
class BlurShape:
    """How well shapes of blur explain a photo, as misfits for each independent cell of frequencies.

    Attributes:
        misfit: logarithm of that of the best Gaussian.
        blur: by how much that is less than the misfit without any blur.
        elongated: by how much a Gaussian of two widths is better than one of a single width.
        disk: by how much a disk is better than a Gaussian.
        radius: radius of that disk in pixels.
        coarse_direction, fine_direction: scatter of the logarithm of the power between directions,
            at low and at middle frequencies.
    """

    misfit: float = 0.0
    blur: float = 0.0
    elongated: float = 0.0
    disk: float = 0.0
    radius: float = 0.0
    coarse_direction: float = 0.0
    fine_direction: float = 0.0


def blur_shape(y: Tensor) -> BlurShape:
    """The shape of the blur of one photo.

    Args:
        y: `(3, H, W)` in [-1, 1]; pixels that are no part of it are continued from the others.
    """
    grey = (y.detach().cpu().double().mean(0) + 1) / 2
    side = min(MAX_BLOCK, *grey.shape) // 2 * 2
    if side < 32:
        return BlurShape()
    power, count, place = _cells(grey, side)
    frequency = place.norm(dim=1)
    noise = float(power[frequency > NOISE].median())
    axis = (place.abs() < 0.008).any(1)
    kept = (frequency > LOW) & (frequency < HIGH) & (power > ABOVE_NOISE * noise) & ~axis
    # Rounding to 8 bits has a power of at least this.
    if int(kept.sum()) < FEWEST or noise <= 0:
        return BlurShape()
    directions = [_directions(power, place, band) for band in BANDS]
    fit = _Fit((power[kept] - noise).log(), count[kept], place[kept])
    sharp = fit.misfit(torch.ones(1, fit.cells, dtype=torch.float64))[0]
    single, _ = fit.misfit(_gaussians(place[kept], *_single()))
    double, _ = fit.misfit(_gaussians(place[kept], *_double()))
    radii = torch.logspace(0, math.log10(12), 60, dtype=torch.float64)
    disk, best = fit.misfit(_disks(place[kept], radii))
    gaussian, n = min(single, double), max(FEWEST / 2, min(fit.cells, INDEPENDENT))
    return BlurShape(
        misfit=math.log(gaussian / n + 0.05),
        blur=min(max((sharp - gaussian) / n, -0.2), 2.0),
        elongated=min(max((single - double) / n, -0.5), 1.0),
        disk=min(max((gaussian - disk) / n, -1.0), 1.0),
        radius=float(radii[best]),
        coarse_direction=directions[0],
        fine_direction=directions[1],
    )


class _Fit:
    """The linear least squares that take c, a and the directions of a scene out of a misfit."""

    def __init__(self, log_power: Tensor, count: Tensor, place: Tensor) -> None:
        self.log_power, self.cells = log_power, len(log_power)
        t = torch.atan2(place[:, 1], place[:, 0])
        rise = (place.norm(dim=1) / 0.1).log()
        harmonics = [(2 * t).cos(), (2 * t).sin(), (4 * t).cos(), (4 * t).sin()]
        self.basis = torch.stack([torch.ones_like(t), rise, *harmonics], 1)
        weight = 1 / (SCATTER**2 + 1 / count)
        self.weight = weight * min(1.0, INDEPENDENT / self.cells)
        self.mean = torch.tensor(MEAN, dtype=torch.float64)
        self.precision = torch.tensor(PRECISION, dtype=torch.float64)
        normal = (self.basis * self.weight[:, None]).T @ self.basis + torch.diag(self.precision)
        self.inverse = torch.linalg.inv(normal)

    def misfit(self, gains: Tensor) -> tuple[float, int]:
        """The least misfit of some |K|^2 `(N, F)`, and which of them has it."""
        target = self.log_power - gains.clamp_min(FILLED).log()
        u = ((target * self.weight) @ self.basis + self.mean * self.precision) @ self.inverse
        square = (target - u @ self.basis.T).square() @ self.weight
        cost = square + (u - self.mean).square() @ self.precision
        best = int(cost.argmin())
        return float(cost[best]), best


def _cells(grey: Tensor, side: int) -> tuple[Tensor, Tensor, Tensor]:
    """Mean power of cells of half the frequency plane, how much is in each, and their places."""
    window = torch.hann_window(side, periodic=False, dtype=torch.float64)
    taper = torch.outer(window, window)
    starts = [sorted({*range(0, n - side + 1, side // 2), n - side}) for n in grey.shape]
    power = torch.zeros(side, side, dtype=torch.float64)
    for top in starts[0]:
        for left in starts[1]:
            block = grey[top : top + side, left : left + side]
            block = block - (block * taper).sum() / taper.sum()
            power += torch.fft.fft2(block * taper).abs().square()
    blocks = len(starts[0]) * len(starts[1])
    power /= blocks * taper.square().sum()
    f = torch.fft.fftfreq(side, dtype=torch.float64)
    every = torch.stack(torch.meshgrid(f, f, indexing="ij")[::-1], -1)
    every = (every * CELLS).round().long().flatten(0, 1)
    half = (every[:, 0] > 0) | ((every[:, 0] == 0) & (every[:, 1] > 0))
    place, index = torch.unique(every[half], return_inverse=True, dim=0)
    count = torch.bincount(index).double()
    mean = torch.zeros_like(count).index_add_(0, index, power.flatten()[half]) / count
    # Blocks that overlap by half say less than as many that do not.
    return mean, count * math.sqrt(blocks), place.double() / CELLS


def _directions(power: Tensor, place: Tensor, band: tuple[float, float]) -> float:
    """Scatter between directions of the logarithm of the power, against that of its ring."""
    frequency = place.norm(dim=1)
    inside = (frequency > band[0]) & (frequency < band[1])
    log_power, ring = (power[inside] + 1e-12).log(), (frequency[inside] * CELLS).round().long()
    angle = torch.atan2(place[inside, 1], place[inside, 0]) % math.pi
    sector = (angle / math.pi * SECTORS).round().long() % SECTORS

    def means(values: Tensor, group: Tensor) -> Tensor:
        count = torch.bincount(group).clamp_min(1).double()
        return torch.zeros_like(count).index_add_(0, group, values) / count

    return float(means(log_power - means(log_power, ring)[ring], sector).std())


def _gaussians(place: Tensor, major: Tensor, minor: Tensor, angle: Tensor) -> Tensor:
    cos, sin = angle.cos()[:, None], angle.sin()[:, None]
    along, across = place[:, 0] * cos + place[:, 1] * sin, place[:, 1] * cos - place[:, 0] * sin
    square = (along * major[:, None]).square() + (across * minor[:, None]).square()
    return torch.exp(-4 * math.pi**2 * square)


def _disks(place: Tensor, radius: Tensor) -> Tensor:
    z = 2 * math.pi * radius[:, None] * place.norm(dim=1)
    amplitude: Tensor = 2 * torch.special.bessel_j1(z) / z
    return amplitude.square()


def _single() -> tuple[Tensor, Tensor, Tensor]:
    widths = torch.cat([torch.tensor([0.1]), torch.logspace(math.log10(0.4), math.log10(5), 36)])
    return widths.double(), widths.double(), torch.zeros(len(widths), dtype=torch.float64)


def _double() -> tuple[Tensor, Tensor, Tensor]:
    major = torch.logspace(math.log10(0.8), math.log10(8), 10, dtype=torch.float64)
    minor = torch.logspace(math.log10(0.3), math.log10(4), 9, dtype=torch.float64)
    angle = torch.arange(12, dtype=torch.float64) * math.pi / 12
    grid = torch.cartesian_prod(major, minor, angle)
    return tuple(grid[grid[:, 0] > 1.3 * grid[:, 1]].unbind(1))  # type: ignore[return-value]
