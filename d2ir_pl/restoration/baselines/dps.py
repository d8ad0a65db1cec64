"""DPS: Diffusion Posterior Sampling (Chung et al. 2023)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from d2ir_pl.degradations import Degradation, Phi
from d2ir_pl.diffusion.prior import Prior
from d2ir_pl.restoration.baselines.guided_sampling import Guidance, GuidedSampling
from d2ir_pl.restoration.result import unexplained


class DPS(GuidedSampling):
    """Guidance of ancestral sampling by the gradient of the residual through the network.

    x_s = DDPM(x_t, x_0|t) - scale grad_x_t ||y - D_phi(x_0|t(x_t))||_2, a norm of each image that
    is not squared. An unknown phi stays what `Degradation.init` reads off the data. Memory is that
    of one backward pass of the network.

    Args:
        scale: zeta, 0.3 to 1 in the publication.
        steps: network evaluations.

    Raises:
        ValueError: for settings outside their range.

    Source: Chung et al., Diffusion Posterior Sampling for General Noisy Inverse Problems, 2023,
    algorithm 1.
    """

    through_network = True

    def __init__(self, scale: float = 1.0, steps: int = 1000) -> None:
        super().__init__(scale, steps)

    def guide(
        self, y: Tensor, x_t: Tensor, t: int, phi: Phi, degradation: Degradation, prior: Prior
    ) -> Guidance:
        with torch.enable_grad():
            x_t = x_t.detach().requires_grad_()
            x0 = prior.x0(x_t, t).clamp(-1, 1)
            residual = degradation.residual(y, degradation(x0, phi), phi)
            norm = residual.flatten(1).norm(dim=1)
            # The gradient of a norm has unit length: scaled up, its entries are near 1 and do not
            # underflow where the network runs in half precision.
            enlarged = math.sqrt(x_t[0].numel())
            (gradient,) = torch.autograd.grad((enlarged * norm).sum(), x_t)
        loss = unexplained(degradation, residual.detach(), phi)
        return Guidance(x0.detach(), self.scale / enlarged * gradient, loss, phi)
