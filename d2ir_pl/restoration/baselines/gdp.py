"""GDP: Generative Diffusion Prior (Fei et al. 2023)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from d2ir_pl.degradations import Phi
from d2ir_pl.diffusion import Prior
from d2ir_pl.errors import require
from d2ir_pl.operators.linear import size_of
from d2ir_pl.restoration.baselines.guided_sampling import Guidance, GuidedSampling
from d2ir_pl.restoration.problem import Problem, mean_square

PUBLISHED_SIZE = 256
"""Height and width of the images for which the scales are published."""


class GDP(GuidedSampling):
    """Guidance of ancestral sampling by the data, without a backward pass of the network.

        x_s = DDPM(x_t, x_0|t) - s grad L(x),  L(x) = mean of ((y - D_phi(x)) / 2)^2 over an image

    with x = x_0|t, or x = x_t. L is the mean squared error in [0, 1]; no variance factor scales the
    step. An unknown phi takes a step of plain gradient descent on L(x_0|t) at every timestep.

    Where GDP averages means, variances and predictions over 256x256 patches at a stride of 128,
    `Prior` blends predictions over tiles: mean and x_0|t are linear in them, and the variance is
    fixed here. Its loss is then a mean over a patch, so that s keeps its meaning at any size; so
    does it here, where L is multiplied by the image's area over 256x256.

    Args:
        variant: point where the gradient is taken, `x0` or `xt`.
        scale: factor s for images of 256x256 pixels and 1000 steps. Published are 2000 for
            super-resolution x4, 6000 for deblurring and colourisation, 4000 for inpainting, and
            80000 for low light and HDR (x0 only).
        steps: number of network evaluations.
        phi_lr: learning rate of an unknown phi; 0 keeps what was read off the data.

    Raises:
        ValueError: for settings outside their range.

    Source: Fei et al., Generative Diffusion Prior for Unified Image Restoration and Enhancement,
    2023, algorithms 1 and 2.
    """

    step_sizes = ("scale", "phi_lr")

    def __init__(
        self,
        variant: Literal["x0", "xt"] = "x0",
        scale: float = 6000.0,
        steps: int = 1000,
        phi_lr: float = 1.0,
    ) -> None:
        super().__init__(scale, steps)
        if variant not in ("x0", "xt"):
            raise ValueError(f"variant {variant!r} must be 'x0' or 'xt'")
        require("phi_lr", phi_lr, 0)
        self.variant = variant
        self.phi_lr = phi_lr

    def guide(self, problem: Problem, prior: Prior, x_t: Tensor, t: int, phi: Phi) -> Guidance:
        x0 = prior.x0(x_t, t).clamp(-1, 1)
        residual, gradient, phi_gradient = _gradients(problem, x0, phi)
        loss = problem.misfit_of(residual, phi)
        if self.variant == "xt":
            _, gradient, _ = _gradients(problem, x_t, phi)
        if self.phi_lr and phi_gradient:
            moved = {name: phi[name] - self.phi_lr * g for name, g in phi_gradient.items()}
            phi = problem.degradation.canonicalize(phi.replace(**moved))
        height, width = size_of(problem.crop(x0))
        scale = self.scale * height * width / PUBLISHED_SIZE**2
        return Guidance(x0, scale * gradient, loss, phi)


def _gradients(problem: Problem, x: Tensor, phi: Phi) -> tuple[Tensor, Tensor, Phi]:
    """The residual of x, and the gradients of its mean square in [0, 1] in x and in a free phi."""
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        free = phi.leaves(problem.degradation.free(phi))
        residual = problem.residual(x, phi.replace(**free))
        # A sum over images: the gradient of one does not depend on the others.
        loss = (mean_square(residual) / 4).sum()
        gradient, *rest = torch.autograd.grad(loss, [x, *free.values()], materialize_grads=True)
    return residual.detach(), gradient, Phi(zip(free, rest, strict=True))
