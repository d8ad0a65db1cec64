"""Whether a given kernel is a correlation or a point spread function, by the photo that it blurred.

Some programs store what a photo is correlated with, others what a bright spot becomes, which is the
same mirrored in its middle. Power spectra do not tell the two apart: the transfer functions differ
in their phases. But where the phases are wrong, the sharp image that explains the photo rings, and
photographs do not: their differences D x between neighbours are mostly small and rarely large,
about as exp(-|D x| / b). Each kernel is judged by the least

    E = ||y - k * x||^2 / (2 sigma^2) + sum |D x| / b

over all x, the negative logarithm of the most probable x given y (Rudin, Osher and Fatemi,
Nonlinear total variation based noise removal algorithms, 1992), found by iteratively reweighted
least squares with preconditioned conjugate gradients.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from d2ir_pl.estimators.noise_level import grey_variance
from d2ir_pl.operators.convolution import ConvolutionOperator
from d2ir_pl.operators.linear import size_of
from d2ir_pl.operators.padding import pad

SCALE = 1 / 16
"""b: mean absolute difference between neighbours in photographs, in [-1, 1]."""
ROUNDING = 0.01
"""Differences below this one count as squares, which makes the sum smooth at 0."""
MODEL_ERROR = 0.01
"""Least sigma: a given kernel is never exact, and 8 bits round."""
REWEIGHTINGS, ITERATIONS = 4, 8
MAX_SIDE = 512
"""Side in pixels of the part in the middle of a photo that is looked at."""
SYMMETRIC = 0.01
"""Share of a kernel's power by which its mirror image may differ, if shifted to fit best, where
the two count as one."""


def is_symmetric(kernel: Tensor) -> bool:
    """Whether a kernel `(k, k)` is its own mirror image, perhaps shifted.

    A photo cannot tell a shifted kernel from a shifted scene.
    """
    spectrum = torch.fft.rfft2(kernel.double(), s=(2 * kernel.shape[-1],) * 2)
    overlap = torch.fft.irfft2(spectrum.square()).amax()
    return bool(overlap > (1 - SYMMETRIC) * kernel.double().square().sum())


@torch.no_grad()
def mirror_evidence(y: Tensor, sigma_y: Tensor, kernel: Tensor) -> Tensor:
    """How much better the mirrored kernel explains each photo, `(B,)`: by how much E / pixel falls.

    Args:
        y: `(B, 3, H, W)` blurred, noisy images in [-1, 1].
        sigma_y: `(B,)` standard deviation of the noise, in the units of y.
        kernel: `(k, k)`, k odd, applied as correlation.
    """
    both = torch.stack([kernel, kernel.flip(0, 1)]).to(y)
    height, width = (min(n, MAX_SIDE) for n in size_of(y))
    top, left = ((n - m) // 2 for n, m in zip(size_of(y), (height, width), strict=True))
    grey = y[..., top : top + height, left : left + width].mean(1, keepdim=True)
    sigma = grey_variance(y, sigma_y).sqrt().clamp_min(MODEL_ERROR).tolist()
    margin = 2 * (kernel.shape[-1] // 2)
    operator = ConvolutionOperator(
        both, (height + margin, width + margin), (height, width), "extend"
    )
    # One by one, so that no image depends on its batch.
    energies = [_energy(operator, g, s, margin // 2) for g, s in zip(grey, sigma, strict=True)]
    return torch.stack([e[0] - e[1] for e in energies]) / (height * width)


def _energy(operator: ConvolutionOperator, y: Tensor, sigma: float, margin: int) -> Tensor:
    """The least E of an image `(1, H, W)` for each of two kernels."""
    y = y.expand(2, -1, -1, -1)
    x = pad(y, (margin, margin), (margin, margin), "reflect")
    weight = sigma**2 / SCALE
    laplacian = _laplacian(operator.circle, y)
    for _ in range(REWEIGHTINGS):
        rows, columns = (1 / _smooth_abs(d) for d in _differences(x))
        mean = (rows.mean((1, 2, 3)) + columns.mean((1, 2, 3)))[:, None, None, None] / 2
        rho = weight * mean * laplacian + 1e-6

        def normal(v: Tensor, w: tuple[Tensor, Tensor] = (rows, columns)) -> Tensor:
            down, across = _differences(v)
            smooth = _differences_adjoint(w[0] * down, w[1] * across)
            return operator.adjoint(operator.forward(v)) + weight * smooth

        r = operator.adjoint(y) - normal(x)
        p = h = operator.precondition(r, rho)
        rh = _dot(r, h)
        for _ in range(ITERATIONS):
            normal_p = normal(p)
            step = rh / _dot(p, normal_p).clamp_min(1e-30)
            x, r = x + step * p, r - step * normal_p
            h = operator.precondition(r, rho)
            rh, before = _dot(r, h), rh
            p = h + rh / before.clamp_min(1e-30) * p
    misfit = (y - operator.forward(x)).square().flatten(1).sum(1) / (2 * sigma**2)
    down, across = (_smooth_abs(d).flatten(1).sum(1) for d in _differences(x))
    return misfit + (down + across) / SCALE


def _smooth_abs(d: Tensor) -> Tensor:
    return (d.square() + ROUNDING**2).sqrt()


def _differences(x: Tensor) -> tuple[Tensor, Tensor]:
    """Differences between neighbours along columns and along rows."""
    return x[..., 1:, :] - x[..., :-1, :], x[..., 1:] - x[..., :-1]


def _differences_adjoint(down: Tensor, across: Tensor) -> Tensor:
    rows = F.pad(down, (0, 0, 1, 0)) - F.pad(down, (0, 0, 0, 1))
    return rows + F.pad(across, (1, 0)) - F.pad(across, (0, 1))


def _laplacian(circle: tuple[int, int], like: Tensor) -> Tensor:
    """The spectrum of D^T D on a torus, `(H, W/2 + 1)`."""
    rows = 2 * math.pi * torch.fft.fftfreq(circle[0], device=like.device)[:, None]
    columns = 2 * math.pi * torch.fft.rfftfreq(circle[1], device=like.device)
    power: Tensor = (4 - 2 * rows.cos() - 2 * columns.cos()).to(like)
    return power


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum((1, 2, 3), keepdim=True)
