"""Samples of the blur kernel that explains a blurred photo by a given sharp one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from d2ir_pl.diffusion.randomness import normal_like
from d2ir_pl.errors import require
from d2ir_pl.operators.linear import size_of

POWER_ITERATIONS = 20
"""Iterations that find the largest curvature well enough for the length of a step."""


@dataclass(frozen=True)
class KernelLangevin:
    """Langevin dynamics for the posterior of a kernel on a torus, with a Laplace prior.

        k <- k - (a / 2) grad (||y - k * x||^2 / (2 sigma_y^2) + lambda |k|_1) + sqrt(a) n

    The sum of the kernel stays what it is, 1: gradient and noise n have a mean of 0. So the mean of
    x plays no part, and it is taken out of x and y. a is `step_size` times 2 sigma_y^2 over the
    largest curvature of ||y - k * x||^2 / 2 that is left, which power iteration finds.

    Args:
        iterations: number of steps.
        step_size: length of a step; above 2 the dynamics diverge.
        sparsity: weight lambda.

    Raises:
        ValueError: for settings outside their range.

    Source: Murata et al., GibbsDDRM, 2023, section 3.4 and eq. 12, where the sum is scaled to 1
    after the last step.
    """

    iterations: int
    step_size: float
    sparsity: float

    def __post_init__(self) -> None:
        require("kernel_iterations", self.iterations, 1)
        require("step_size", self.step_size, above=0)
        require("sparsity", self.sparsity, 0)

    def __call__(
        self, y: Tensor, x: Tensor, kernel: Tensor, sigma_y: Tensor, generators: Sequence[Generator]
    ) -> Tensor:
        """The kernels `(B, k, k)` after some steps.

        Args:
            y: `(B, 3, H, W)` blurred images on a torus.
            x: `(B, 3, H, W)` sharp images.
            kernel: `(B, k, k)` kernels to start from, with sum 1; y(u) = sum_v k(v) x(u + v).
            sigma_y: `(B,)` noise of y.
            generators: one per image.
        """
        normal = _Normal(y, x, kernel.shape[-1])
        v = sigma_y.square()[:, None, None]
        a = 2 * self.step_size * v / normal.largest()
        like = kernel.new_empty(len(kernel), self.iterations, *kernel.shape[1:])
        for noise in normal_like(like, generators).unbind(1):
            gradient = normal.gradient(kernel) / v + self.sparsity * kernel.sign()
            kernel = kernel + _balanced(a.sqrt() * noise - a / 2 * gradient)
        return kernel


class _Normal:
    """The quadratic ||y - k * x||^2 / 2 of a kernel on a torus, by correlations of y and x.

    Args:
        y: `(B, 3, H, W)` blurred images.
        x: `(B, 3, H, W)` sharp images.
        side: side k of the kernel.
    """

    def __init__(self, y: Tensor, x: Tensor, side: int) -> None:
        torus, mean = size_of(x), x.mean((2, 3), keepdim=True)
        of_y, of_x = torch.fft.rfft2(y - mean), torch.fft.rfft2(x - mean)
        # Lags on a torus repeat, so that it may be smaller than the kernel.
        lags = torch.arange(2 * side - 1, device=x.device)
        lags = torch.where(lags < side, lags, lags - 2 * side + 1)
        auto = torch.fft.irfft2((of_x * of_x.conj()).sum(1), s=torus)
        self._auto = torch.fft.rfft2(_at(auto, lags))
        offsets = torch.arange(side, device=x.device) - side // 2
        self._cross = _at(torch.fft.irfft2((of_x * of_y.conj()).sum(1), s=torus), offsets)
        self._side = side

    def curvature(self, kernel: Tensor) -> Tensor:
        """The second derivative applied to a kernel."""
        side, whole = self._side, 2 * self._side - 1
        spread = F.pad(kernel, (0, side - 1, 0, side - 1))
        applied: Tensor = torch.fft.irfft2(torch.fft.rfft2(spread) * self._auto, s=(whole, whole))
        return applied[:, :side, :side]

    def gradient(self, kernel: Tensor) -> Tensor:
        """The gradient at a kernel."""
        return self.curvature(kernel) - self._cross

    def largest(self) -> Tensor:
        """`(B, 1, 1)` largest curvature among the changes that leave the sum as it is."""
        direction = _balanced(self._cross)
        for _ in range(POWER_ITERATIONS):
            length = direction.flatten(1).norm(dim=1)[:, None, None]
            direction = _balanced(self.curvature(direction / length.clamp_min(1e-30)))
        # An image without any detail says nothing of a kernel.
        largest: Tensor = direction.flatten(1).norm(dim=1)[:, None, None]
        return largest.clamp_min(1e-6)


def _at(values: Tensor, lags: Tensor) -> Tensor:
    """The values of a torus at some rows and the same columns."""
    return values[:, (lags % values.shape[1])[:, None], (lags % values.shape[2])[None]]


def _balanced(change: Tensor) -> Tensor:
    """The change of a kernel without its mean, which leaves the sum as it is."""
    return change - change.mean((1, 2), keepdim=True)
