"""How likely the image is that a kernel leads to, without a reference.

A kernel that is too small leaves edges in the residual, and one that is wrong leaves ghosts and
rings in the image, whose gradients are then no longer few and strong. Either alone is misled: the
sharp kernel explains everything by a blurred image, and a wrong one may explain much by ghosts.

Source of the sparsity: Krishnan, Tay and Fergus, Blind deconvolution using a normalized sparsity
measure, 2011.
"""

from __future__ import annotations

import torch
from torch import Tensor

from d2ir_pl.estimators.kernel_hypotheses import divergence, gradient, periodic, roughness
from d2ir_pl.operators.convolution import transfer_function

SPARSITY_SCALE = 0.15
"""Difference of the sparsity that counts as much as a factor e of the residual."""
SMOOTHNESS = 1e-3
"""Weight of the gradients in `deconvolved`, for images in [0, 1]."""
ROUNDS, COUPLING, COUPLING_GROWTH = 6, 10.0, 2.8
"""Its rounds, the weight of the auxiliary gradient in the first, and its growth a round."""


def unlikeliness(x: Tensor, residual: Tensor) -> Tensor:
    """log(residual) + sparsity / `SPARSITY_SCALE` of images `(B, C, H, W)`, as `(B,)`.

    The sparsity is mean |grad x| over its root mean square, of the grey image: 1 where all
    gradients are equally strong, and near 0 where there are few.

    Args:
        x: restored images.
        residual: `(B, C, h, w)` of the photo and the image blurred again.
    """
    grey = x.mean(1)
    d_x, d_y = grey.diff(dim=-1).flatten(1), grey.diff(dim=-2).flatten(1)
    mean = d_x.abs().mean(1) + d_y.abs().mean(1)
    square = d_x.square().mean(1) + d_y.square().mean(1)
    sparsity = mean / square.sqrt().clamp_min(1e-9)
    left = residual.mean(1).flatten(1).std(1).clamp_min(1e-9)
    return left.log() + sparsity / SPARSITY_SCALE


def deconvolved(windows: Tensor, kernels: Tensor) -> tuple[Tensor, Tensor]:
    """The images `(B, N, h, w)` of few gradients that kernels lead to, and their residuals.

    argmin ||k * x - g||^2 + `SMOOTHNESS` ||grad x||_1 by half-quadratic splitting, on a circle.

    Args:
        windows: `(N, h, w)` parts of one grey photo in [0, 1].
        kernels: `(B, k, k)`.

    Source: Krishnan and Fergus, Fast image deconvolution using hyper-Laplacian priors, 2009.
    """
    g = periodic(windows, kernels.shape[-1])
    size = (g.shape[-2], g.shape[-1])
    blur, rough = transfer_function(kernels, size), roughness(size)
    data, gain = blur.conj() * torch.fft.rfft2(g), blur.abs() ** 2
    x, coupling = g.expand(len(kernels), *g.shape), COUPLING
    for _ in range(ROUNDS):
        few = [d.sign() * (d.abs() - 1 / coupling).clamp_min(0) for d in gradient(x)]
        pull = torch.fft.rfft2(divergence(*few))
        c = SMOOTHNESS * coupling
        x = torch.fft.irfft2((data + c * pull) / (gain + c * rough), s=size)
        coupling *= COUPLING_GROWTH
    residual = torch.fft.irfft2(blur * torch.fft.rfft2(x), s=size) - g
    h, w = windows.shape[-2:]
    return x[..., :h, :w], residual[..., :h, :w]
