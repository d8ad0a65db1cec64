"""Guidance of a diffusion by the gradient of the residual through the network."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from d2ir_pl.degradations import Phi
from d2ir_pl.restoration.problem import Problem


def norm_descent(
    problem: Problem, x0: Tensor, x_t: Tensor, phi: Phi, scale: float
) -> tuple[Tensor, Tensor]:
    """The gradient in x_t of the norm ||y - D_phi(x_0|t(x_t))||_2 of each image, and the misfit.

    Args:
        problem: degraded images.
        x0: `(B, 3, H, W)` predictions x_0|t, with the graph that leads to x_t.
        x_t: `(B, 3, H, W)` states of the diffusion.
        phi: parameters of the degradation.
        scale: factor of the gradient.

    Returns:
        The gradient times the scale, `(B, 3, H, W)`, and the misfit of x0, `(B,)`.

    Source: Chung et al., Diffusion Posterior Sampling for General Noisy Inverse Problems, 2023,
    algorithm 1.
    """
    with torch.enable_grad():
        residual = problem.residual(x0, phi)
        norm = residual.flatten(1).norm(dim=1)
        # The gradient of a norm has unit length: enlarged, its entries are near 1 and do not
        # underflow where the network runs in half precision.
        enlarged = math.sqrt(x_t[0].numel())
        (gradient,) = torch.autograd.grad((enlarged * norm).sum(), x_t)
    return scale / enlarged * gradient, problem.misfit_of(residual.detach(), phi)
