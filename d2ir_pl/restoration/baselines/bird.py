"""BIRD: Blind Image Restoration via fast Diffusion inversion (Chihaoui et al. 2024)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from d2ir_pl.degradations import Blur, Degradation, Phi
from d2ir_pl.diffusion import Prior, ddim_chain, to_sphere
from d2ir_pl.errors import naming, require
from d2ir_pl.restoration.base import RestorationMethod
from d2ir_pl.restoration.latent_optimization import ADAM_EPS
from d2ir_pl.restoration.problem import Problem
from d2ir_pl.restoration.result import Restoration
from d2ir_pl.restoration.step import Observer, Steps

KERNEL_INPUT, KERNEL_HIDDEN = 200, 1000
"""Widths of the network that makes a kernel."""


class BIRD(RestorationMethod):
    """Joint optimisation of the initial latent and of the degradation.

    Adam minimises ||y - D_phi(x_0(x_T))||^2 over x_T and phi, and x_T is rescaled to norm sqrt(d)
    after each step. x_0(x_T) is a deterministic DDIM chain whose gradient passes through its
    coefficients alone, so that the network needs no backward pass. A free kernel is
    softmax(W_2 ReLU6(W_1 z + b_1) + b_2) for fixed noise z, and Adam moves the weights; other
    unknown parameters are moved themselves, from what `Degradation.init` reads off the data. The
    last iterate is the result.

    Args:
        iterations: number of evaluations of the chain. Published are 100 for deblurring and
            super-resolution, and 200 for inpainting and denoising.
        lr: learning rate of x_T. Published are 3e-3 for deblurring, 1e-3 for super-resolution x8,
            and 1e-2 for inpainting and denoising.
        kernel_lr: learning rate of the weights that make a kernel.
        phi_lr: learning rate of other unknown parameters.
        ddim_steps: number of network evaluations of the chain.

    Raises:
        ValueError: for settings outside their range.

    Source: Chihaoui, Lemkhenter and Favaro, Blind Image Restoration via Fast Diffusion Inversion,
    2024, algorithm 1.
    """

    step_sizes = ("lr", "kernel_lr", "phi_lr")

    def __init__(
        self,
        iterations: int = 100,
        lr: float = 3e-3,
        kernel_lr: float = 2e-4,
        phi_lr: float = 1e-2,
        ddim_steps: int = 10,
    ) -> None:
        require("iterations", iterations, 1)
        require("lr", lr, 0)
        require("kernel_lr", kernel_lr, 0)
        require("phi_lr", phi_lr, 0)
        require("ddim_steps", ddim_steps, 1)
        self.iterations = iterations
        self.lr = lr
        self.kernel_lr = kernel_lr
        self.phi_lr = phi_lr
        self.ddim_steps = ddim_steps

    def check(self, degradation: Degradation, prior: Prior) -> None:  # noqa: ARG002
        with naming("ddim_steps"):
            prior.schedule.timesteps(self.ddim_steps)

    def solve(self, problem: Problem, prior: Prior, observer: Observer) -> Restoration:
        timesteps = prior.schedule.timesteps(self.ddim_steps)
        x_T = problem.noise().requires_grad_()
        unknown, lr = self._unknown(problem)
        groups = [{"params": [x_T], "lr": self.lr}, {"params": unknown.leaves, "lr": lr}]
        adam = torch.optim.Adam(groups, eps=ADAM_EPS)
        steps = Steps(observer, "latent", self.iterations, problem)
        for k in range(self.iterations):
            with torch.enable_grad():
                x0, phi = ddim_chain(prior, x_T, timesteps, "detached"), unknown.phi()
                residual = problem.residual(x0, phi)
                energy = residual.square().sum()
            x0, phi = x0.detach(), phi.detach()
            steps.report(x0, phi, problem.misfit_of(residual.detach(), phi), x_T=x_T)
            if k + 1 < self.iterations:
                adam.zero_grad()
                torch.autograd.backward(energy)
                adam.step()
                to_sphere(x_T)
                unknown.project()
        nfe = self.iterations * self.ddim_steps
        return problem.result(x0, phi, nfe=nfe, stopped_by="iterations", losses=steps.losses)

    def _unknown(self, problem: Problem) -> tuple[_Unknown, float]:
        """The parameters that Adam moves beside x_T, and their learning rate."""
        phi, degradation = problem.init(), problem.degradation
        if isinstance(degradation, Blur) and degradation.free(phi):
            return _KernelNetwork(phi["logits"], problem.generators), self.kernel_lr
        return _FreeParameters(degradation, phi), self.phi_lr


class _Unknown(Protocol):
    """A way in which phi depends on what Adam moves.

    Attributes:
        leaves: tensors that Adam moves.
    """

    leaves: list[Tensor]

    def phi(self) -> Phi:
        """The parameters of the degradation as they are now."""

    def project(self) -> None:
        """Bring the leaves back to where they may lie after a step."""


class _FreeParameters:
    """The unknown parameters themselves.

    Args:
        degradation: family that they belong to.
        phi: parameters to start from.
    """

    def __init__(self, degradation: Degradation, phi: Phi) -> None:
        self._degradation, self._start = degradation, phi
        self._free = phi.leaves(degradation.free(phi))
        self.leaves = list(self._free.values())

    def phi(self) -> Phi:
        return self._start.replace(**self._free)

    @torch.no_grad()
    def project(self) -> None:
        if self._free:
            canonical = self._degradation.canonicalize(self.phi())
            for name, value in self._free.items():
                value.copy_(canonical[name])


class _KernelNetwork:
    """A network of two layers for each image, whose input is fixed and whose output is a kernel.

    Its weights start uniform within 1 / sqrt(inputs) of zero, and its input uniform in [0, 0.1].

    Args:
        logits: `(B, k, k)` tensor of the shape, dtype and device of the kernels' logits.
        generators: one generator per image.
    """

    def __init__(self, logits: Tensor, generators: Sequence[Generator]) -> None:
        self._side = logits.shape[-1]

        def uniform(*shape: int, low: float, high: float) -> Tensor:
            rows = [torch.rand(shape, generator=g) for g in generators]
            return (low + (high - low) * torch.stack(rows)).to(logits)

        self._z = uniform(KERNEL_INPUT, 1, low=0.0, high=0.1)
        self.leaves: list[Tensor] = []
        for inputs, outputs in ((KERNEL_INPUT, KERNEL_HIDDEN), (KERNEL_HIDDEN, self._side**2)):
            bound = 1 / math.sqrt(inputs)
            for columns in (inputs, 1):
                weight = uniform(outputs, columns, low=-bound, high=bound)
                self.leaves.append(weight.requires_grad_())

    def phi(self) -> Phi:
        w_1, b_1, w_2, b_2 = self.leaves
        logits = w_2 @ F.relu6(w_1 @ self._z + b_1) + b_2
        return Phi(logits=logits.reshape(-1, self._side, self._side))

    def project(self) -> None:
        return None
