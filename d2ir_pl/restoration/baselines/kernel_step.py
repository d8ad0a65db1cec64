"""The blur kernel that explains a blurred photo by given sharp ones."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from d2ir_pl.degradations import Blur, Phi
from d2ir_pl.operators.convolution import wrapped
from d2ir_pl.operators.padding import pad


@dataclass(frozen=True)
class KernelStep:
    """argmin over kernels k, not negative and with sum 1, by half-quadratic splitting, of

        1/(2 n sigma_y^2) sum_j ||y - k * x_j||^2 + lambda |k|_1 + gamma/2 ||grad k||^2,

    j over n sharp images. With z the copy of k that the l1 norm and the simplex hold:

        k = argmin  data + gamma/2 ||grad k||^2 + beta/2 ||k - z||^2    (at each frequency)
        z = soft threshold of k at lambda / beta, scaled to sum 1.

    The l1 norm is constant on the simplex; what is left of it is the threshold, which clears the
    faint entries. Scaling, not the nearest point of the simplex, keeps them cleared.

    The frequencies decouple on a torus only, and y is cut out of one: what lies beyond its border
    is filled in by z * x_j in every round, as missing data are in expectation maximisation.

    Args:
        sparsity: lambda.
        smoothness: gamma.
        coupling: beta, positive.
        iterations: rounds.

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
        for name, low in (("sparsity", 0), ("smoothness", 0), ("coupling", 1e-6)):
            value = getattr(self, name)
            if not low <= value < math.inf:
                raise ValueError(f"method.{name} {value} must be at least {low} and finite")
        if not self.iterations >= 1:
            raise ValueError(f"method.kernel_iterations {self.iterations} must be at least 1")

    def __call__(
        self, y: Tensor, x: Tensor, degradation: Blur, phi: Phi, sigma_y: Tensor
    ) -> Tensor:
        """Kernels `(B, k, k)`, from those at phi.

        Args:
            y: `(B, 3, h, w)` blurred images.
            x: `(B, n, 3, H, W)` sharp images of each, of the degradation's `frame.image_size`.
            degradation: tells the border.
            phi: where to start.
            sigma_y: `(B,)` noise of y.
        """
        z = degradation.kernel(phi)
        size, radius = z.shape[-1], z.shape[-1] // 2
        if degradation.border != "extend":
            x = pad(x, (radius, radius), (radius, radius), degradation.border)
        torus = (x.shape[-2], x.shape[-1])
        spectrum = torch.fft.rfft2(x)
        power = spectrum.abs().square().sum(2).mean(1)
        variance = (sigma_y**2)[:, None, None]
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


def _squared_differences(torus: tuple[int, int], like: Tensor) -> Tensor:
    """|D|^2 of the differences of neighbours, at the frequencies of `rfft2`."""
    fy = torch.fft.fftfreq(torus[0], dtype=like.dtype, device=like.device)[:, None]
    fx = torch.fft.rfftfreq(torus[1], dtype=like.dtype, device=like.device)
    return 4 * ((math.pi * fy).sin() ** 2 + (math.pi * fx).sin() ** 2)


def _unwrap(canvas: Tensor, size: int) -> Tensor:
    """The `size` x `size` entries about the origin of a torus: the transpose of `wrapped`."""
    radius = size // 2
    return canvas.roll((radius, radius), (1, 2))[:, :size, :size]
