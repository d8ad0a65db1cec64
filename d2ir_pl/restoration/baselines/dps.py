"""DPS: Diffusion Posterior Sampling (Chung et al. 2023)."""

from __future__ import annotations

import torch
from torch import Tensor

from d2ir_pl.degradations import Phi
from d2ir_pl.diffusion import Prior
from d2ir_pl.restoration.baselines.guided_sampling import Guidance, GuidedSampling
from d2ir_pl.restoration.guidance import norm_descent
from d2ir_pl.restoration.problem import Problem


class DPS(GuidedSampling):
    """Guidance of ancestral sampling by the gradient of the residual through the network.

        x_s = DDPM(x_t, x_0|t) - scale grad_x_t ||y - D_phi(x_0|t(x_t))||_2

    The norm is that of each image, and is not squared. An unknown phi stays what `Degradation.init`
    reads off the data. A backward pass of the network has to fit into memory.

    Args:
        scale: factor zeta of the gradient, 0.3 to 1 in the publication.
        steps: number of network evaluations.

    Raises:
        ValueError: for settings outside their range.

    Source: Chung et al., Diffusion Posterior Sampling for General Noisy Inverse Problems, 2023,
    algorithm 1.
    """

    through_network = True

    def __init__(self, scale: float = 1.0, steps: int = 1000) -> None:
        super().__init__(scale, steps)

    def guide(self, problem: Problem, prior: Prior, x_t: Tensor, t: int, phi: Phi) -> Guidance:
        with torch.enable_grad():
            x_t = x_t.detach().requires_grad_()
            x0 = prior.x0(x_t, t).clamp(-1, 1)
        descent, loss = norm_descent(problem, x0, x_t, phi, self.scale)
        return Guidance(x0.detach(), descent, loss, phi)
