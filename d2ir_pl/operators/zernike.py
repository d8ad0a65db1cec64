"""Kernels of lenses with aberrations: the focus of waves that Zernike polynomials have bent."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

NOLL = {2: (1, 1), 3: (1, -1), 4: (2, 0), 5: (2, -2), 6: (2, 2), 7: (3, -1), 8: (3, 1)}
NOLL |= {9: (3, -3), 10: (3, 3), 11: (4, 0)}
"""Degree n and order m of each polynomial, by its number: 4 is defocus, 5 and 6 astigmatism, 7 and
8 coma, 9 and 10 trefoil, 11 spherical aberration. Source: Noll 1976, table 1."""

OVERSAMPLING, PUPIL = 4, 64
"""Points of the focus to a pixel, and points across the pupil."""


def polynomial(number: int, rho: Tensor, theta: Tensor) -> Tensor:
    """A Zernike polynomial with mean square 1 over the unit disk.

    Z = sqrt(n + 1) R(rho) for m = 0, and sqrt(2 n + 2) R(rho) cos(m theta) or sin(|m| theta), with
    R the sum over k of (-1)^k (n - k)! / (k! ((n + |m|) / 2 - k)! ((n - |m|) / 2 - k)!) rho^(n-2k).

    Args:
        number: of `NOLL`.
        rho: distances from the middle, 1 at the edge of the disk.
        theta: angles in radians.

    Source: Noll, Zernike polynomials and atmospheric turbulence, 1976, eqs. 1 and 2.
    """
    n, signed = NOLL[number]
    m = abs(signed)
    radial = torch.zeros_like(rho)
    for k in range((n - m) // 2 + 1):
        below = math.factorial(k) * math.factorial((n + m) // 2 - k)
        below *= math.factorial((n - m) // 2 - k)
        radial = radial + (-1) ** k * math.factorial(n - k) / below * rho ** (n - 2 * k)
    if m == 0:
        return math.sqrt(n + 1) * radial
    around = (m * theta).cos() if signed > 0 else (m * theta).sin()
    return math.sqrt(2 * n + 2) * radial * around


def focus(coefficients: Mapping[int, float], size: int, airy: float) -> Tensor:
    """The kernel `(size, size)` with sum 1 of a round lens, k = |FFT(P exp(2 pi i W))|^2.

    P is 1 on the disk, and W the sum of the polynomials with their coefficients. The integral over
    each pixel is taken at `OVERSAMPLING` points along each side.

    Args:
        coefficients: root mean squares of the polynomials in wavelengths, by their numbers.
        size: side of the kernel in pixels, odd.
        airy: radius in pixels of the first dark ring of the same lens without aberrations.

    Source: Goodman, Introduction to Fourier Optics, 2005, section 6.4.
    """
    # On a grid of N points, the first dark ring of a pupil of D points is 1.22 N / D points wide.
    grid = round(airy * OVERSAMPLING * PUPIL / 1.22)
    grid = max(grid + grid % 2, PUPIL + 2)
    i = (torch.arange(grid, dtype=torch.float64) - grid // 2) / (PUPIL / 2)
    x, y = i.expand(grid, grid), i[:, None].expand(grid, grid)
    rho, theta = (x**2 + y**2).sqrt(), torch.atan2(y, x)
    bent = sum((a * polynomial(j, rho, theta) for j, a in coefficients.items()), 0 * rho)
    wave = (rho <= 1) * torch.exp(2j * math.pi * bent)
    intensity = torch.fft.fftshift(torch.fft.fft2(wave)).abs() ** 2
    # The points of pixel p are those nearest to it, so that the middle one has the focus inside.
    half = (size * OVERSAMPLING) // 2
    middle = grid // 2
    reach = max(0, half + OVERSAMPLING - middle)
    intensity = F.pad(intensity, (reach,) * 4)
    middle += reach
    # With an even number of points a pixel, those at its two edges count half.
    window = intensity[middle - half : middle + half + 1, middle - half : middle + half + 1]
    trapezium = torch.ones(OVERSAMPLING + 1, dtype=torch.float64)
    trapezium[[0, -1]] = 0.5
    weight = torch.outer(trapezium, trapezium)[None, None]
    kernel = F.conv2d(window[None, None], weight, stride=OVERSAMPLING)[0, 0]
    return (kernel / kernel.sum()).float()


def aberrated_kernel(generator: Generator, size: int) -> Tensor:
    """A random kernel `(size, size)` with sum 1: defocus to spherical aberration, all at random.

    The coefficients are normal, that of degree n with a standard deviation proportional to
    1 / (n + 1), and their root mean square over all is between 0.1 and 0.35 wavelengths; the first
    dark ring without them is 1/30 to 1/15 of the side wide, at least 1.2 pixels.
    """
    u = torch.rand(2, generator=generator, dtype=torch.float64).tolist()
    numbers = [j for j in NOLL if j > 3]  # 2 and 3 only shift the kernel
    normal = torch.randn(len(numbers), generator=generator, dtype=torch.float64)
    scaled = normal / torch.tensor([NOLL[j][0] + 1.0 for j in numbers], dtype=torch.float64)
    scaled = scaled * ((0.1 + 0.25 * u[0]) / scaled.norm())
    airy = max(1.2, size * (1 / 30 + u[1] * (1 / 15 - 1 / 30)))
    return focus(dict(zip(numbers, scaled.tolist(), strict=True)), size, airy)
