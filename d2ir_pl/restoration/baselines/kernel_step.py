"""The blur kernel that explains a blurred photo by given sharp ones."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from d2ir_pl.degradations import Blur, Phi
from d2ir_pl.errors import require
from d2ir_pl.operators.convolution import wrapped
from d2ir_pl.operators.linear import Size, size_of
from d2ir_pl.operators.padding import pad
from d2ir_pl.restoration.problem import Problem


@dataclass(frozen=True)
class KernelStep:
    """The most probable blur kernel, by half-quadratic splitting.

    It is the minimum over kernels k, not negative and with sum 1, of

        1/(2 n sigma_y^2) sum_j ||y - k * x_j||^2 + lambda |k|_1 + gamma/2 ||grad k||^2,

    with j over n sharp images. With z the copy of k that the l1 norm and the simplex hold:

        k = argmin  data + gamma/2 ||grad k||^2 + beta/2 ||k - z||^2    (at each frequency)
        z = soft threshold of k at lambda / beta, scaled to sum 1.

    The l1 norm is constant on the simplex; what is left of it is the threshold, which clears the
    faint entries. Scaling, not the nearest point of the simplex, keeps them cleared.

    The frequencies decouple on a torus only, and y is cut out of one: what lies beyond its border
    is filled in by z * x_j in every round, as missing data are in expectation maximisation.

    Args:
        sparsity: weight lambda.
        smoothness: weight gamma.
        coupling: weight beta, positive.
        iterations: number of rounds.

    Raises:
        ValueError: for settings outside their range.

    Source: Laroche et al., Fast Diffusion EM, 2024, section 3.3; splitting: Geman and Yang,
    Nonlinear image recovery with half-quadratic regularization, 1995.
    """

    sparsity: float
    smoothness: float
    coupling: float
    iterations: int

    def __post_init__(self) -> None:
        require("sparsity", self.sparsity, 0)
        require("smoothness", self.smoothness, 0)
        require("coupling", self.coupling, 1e-6)
        require("iterations", self.iterations, 1)

    def __call__(self, problem: Problem, x: Tensor, phi: Phi) -> Tensor:
        """The kernels `(B, k, k)` after some rounds.

        Args:
            problem: blurred images, whose degradation is a `Blur`.
            x: `(B, n, 3, H, W)` sharp images of each.
            phi: kernels to start from.
        """
        y, degradation = problem.y, problem.degradation
        assert isinstance(degradation, Blur)
        z = degradation.kernel(phi)
        size, radius = z.shape[-1], z.shape[-1] // 2
        if degradation.border != "extend":
            x = pad(x, (radius, radius), (radius, radius), degradation.border)
        torus = size_of(x)
        spectrum = torch.fft.rfft2(x)
        power = spectrum.abs().square().sum(2).mean(1)
        variance = (problem.sigma_y**2)[:, None, None]
        roughness = variance * self.smoothness * _squared_differences(torus, z)
        curvature = power + roughness + variance * self.coupling
        rest = tuple(t - o for t, o in zip(torus, y.shape[-2:], strict=True))
        for _ in range(self.iterations):
            transfer = torch.fft.rfft2(wrapped(z, torus))
            blurred = torch.fft.irfft2(transfer.conj()[:, None, None] * spectrum, s=torus)
            residual = y[:, None] - blurred[..., radius:-radius, radius:-radius]
            residual = F.pad(residual, (radius, rest[1] - radius, radius, rest[0] - radius))
            descent = (spectrum * torch.fft.rfft2(residual).conj()).sum(2).mean(1)
            step = (descent - roughness * transfer) / curvature
            k = z + _unwrap(torch.fft.irfft2(step, s=torus), size)
            z = (k - self.sparsity / self.coupling).clamp_min(0)
            # A threshold above all entries would leave nothing to scale.
            z = z / z.sum((1, 2), keepdim=True).clamp_min(1e-12)
        return z


def _squared_differences(torus: Size, like: Tensor) -> Tensor:
    """The power |D|^2 of the differences of neighbours, at the frequencies of `rfft2`."""
    fy = torch.fft.fftfreq(torus[0], dtype=like.dtype, device=like.device)[:, None]
    fx = torch.fft.rfftfreq(torus[1], dtype=like.dtype, device=like.device)
    power: Tensor = 4 * ((math.pi * fy).sin() ** 2 + (math.pi * fx).sin() ** 2)
    return power


def _unwrap(canvas: Tensor, size: int) -> Tensor:
    """The `size` x `size` entries about the origin of a torus: the transpose of `wrapped`."""
    radius = size // 2
    return canvas.roll((radius, radius), (1, 2))[:, :size, :size]
