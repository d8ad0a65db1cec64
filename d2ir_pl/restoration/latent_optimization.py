"""Stage 2: optimise the initial latent x_T so that its degraded image explains the photo."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Generator, Tensor

from d2ir_pl.degradations import Degradation, Phi
from d2ir_pl.diffusion.prior import Prior
from d2ir_pl.diffusion.sampling import Gradient, ddim_chain, ddim_inversion
from d2ir_pl.diffusion.schedule import Schedule
from d2ir_pl.randomness import normal_like
from d2ir_pl.restoration.result import unexplained
from d2ir_pl.restoration.step import Observer, Step

# Adam takes steps of the sign of a gradient, however small. Where it is far below the gradient of a
# residual at the noise (about 1e-2), rounding would decide, and with it the make-up of the batch.
ADAM_EPS = 1e-4


@dataclass
class OptimizedLatent:
    """What stage 2 returns.

    Attributes:
        x: best images by their residual, `(B, 3, H, W)`, not cropped.
        losses: for each image, the residual at every iterate.
        nfe: network evaluations spent on each image.
        stopped_by: `discrepancy` or `iterations`, for each image.
    """

    x: Tensor
    losses: list[list[float]]
    nfe: list[int]
    stopped_by: list[str]


@dataclass(frozen=True)
class LatentOptimization:
    """Stage 2, initial latent optimisation.

    With phi fixed, Adam minimises ||y - D_phi(x_0(x_T))||^2 over x_T, where x_0(x_T) is the
    deterministic DDIM chain of `ddim_steps` steps from `level` down to the clean image. The chain
    that is optimised is the chain that makes the result.

    An image stops as soon as its residual reaches (discrepancy sigma_y)^2, Morozov's discrepancy
    principle: going on would fit the noise. An image whose stage 1 result is there already is
    left as it is. The best iterate by residual is kept.

    Args:
        iterations: K, Adam steps at most.
        lr: their learning rate.
        ddim_steps: network evaluations of the chain.
        level: timestep of the latent; -1 is the last one, T. Only there is a latent white noise,
            and only there x_T is rescaled to norm sqrt(d) after each step.
        start: `inversion` of stage 1's image (or of y, if stage 1 did not run), or `noise`.
        gradient: `full` through the network, checkpointed at every step, or `detached`, through
            the DDIM coefficients alone (Chihaoui et al., BIRD, 2024).
        discrepancy: tau; 0 never stops early.
        fixed_point_iterations: evaluations per step of the inversion.

    Raises:
        ValueError: for settings outside their range.
    """

    iterations: int = 30
    lr: float = 1e-2
    ddim_steps: int = 4
    level: int = 200
    start: Literal["inversion", "noise"] = "inversion"
    gradient: Gradient = "detached"
    discrepancy: float = 1.05
    fixed_point_iterations: int = 5

    def __post_init__(self) -> None:
        for name, low in (
            ("iterations", 0),
            ("lr", 0),
            ("ddim_steps", 1),
            ("level", -1),
            ("discrepancy", 0),
            ("fixed_point_iterations", 1),
        ):
            value = getattr(self, name)
            if not value >= low:
                raise ValueError(f"latent.{name} {value} must be at least {low}")

    def timesteps(self, schedule: Schedule) -> list[int]:
        """The timesteps of the chain; ValueError if the settings do not fit the schedule."""
        return schedule.timesteps(self.ddim_steps, None if self.level < 0 else self.level)

    def __call__(
        self,
        y: Tensor,
        x: Tensor,
        phi: Phi,
        degradation: Degradation,
        prior: Prior,
        sigma_y: Tensor,
        generators: Sequence[Generator],
        observer: Observer,
    ) -> OptimizedLatent:
        """Optimise the latents.

        Args:
            y: `(B, 3, h, w)`.
            x: `(B, 3, H, W)` images of stage 1, where an inversion starts.
            phi: the degradation's parameters, fixed from here on.
            degradation, prior, generators, observer: see `RestorationMethod.restore`.
            sigma_y: `(B,)`, positive.
        """
        timesteps = self.timesteps(prior.schedule)
        last = timesteps[0] == prior.schedule.T - 1
        target = (self.discrepancy * sigma_y) ** 2
        with torch.no_grad():
            difference = degradation.residual(y, degradation(x, phi), phi)
            residual = unexplained(degradation, difference, phi)
        state = _State(x.clone(), torch.full_like(residual, math.inf), len(y))
        active = list(range(len(y)))
        if self.start == "inversion":
            state.keep(active, x, residual)
            active = state.unexplained(active, target)
        if not active:
            return state.result()

        evaluations = prior.nfe
        with torch.no_grad():
            if self.start == "inversion":
                x_T = ddim_inversion(prior, x[active], timesteps, self.fixed_point_iterations)
            else:
                x_T = normal_like(x[active], [generators[b] for b in active])
        # One leaf per image: an image that has stopped takes no part in anything that follows.
        latents = {b: x_T[i : i + 1].clone().requires_grad_() for i, b in enumerate(active)}
        optimizer = torch.optim.Adam(list(latents.values()), lr=self.lr, eps=ADAM_EPS)
        # Half precision underflows; each image has its own loss scale, lowered on overflow.
        half = getattr(prior, "compute_dtype", torch.float32) == torch.float16
        scale = torch.full_like(sigma_y, 2.0**10 if half else 1.0)
        for k in range(self.iterations + 1):
            x_T = torch.cat([latents[b] for b in active])
            phi_active = phi.select(active)
            with torch.enable_grad():
                x0 = ddim_chain(prior, x_T, timesteps, self.gradient)
                prediction = degradation(x0, phi_active)
                difference = degradation.residual(y[active], prediction, phi_active)
                energy = difference.square().flatten(1).sum(1)
            residual = unexplained(degradation, difference.detach(), phi_active)
            state.keep(active, x0.detach(), residual)
            observer(
                Step(
                    "latent",
                    k,
                    self.iterations + 1,
                    list(active),
                    residual,
                    sigma_y[active],
                    partial(degradation.frame.crop, x0.detach()),
                    phi_active,
                    x_T.detach().square().flatten(1).mean(1).sqrt(),
                )
            )
            running = state.unexplained(active, target)
            if running and k < self.iterations:
                optimizer.zero_grad()
                weight = scale[active]
                # A sum over images, so that none changes the step of another.
                (weight * energy).sum().backward()
                for b in active:
                    _unscale(latents[b], scale, b, stop=b not in running)
                optimizer.step()
                if last:
                    _to_sphere([latents[b] for b in running])
            spent, evaluations = prior.nfe - evaluations, prior.nfe
            for b in active:
                state.nfe[b] += spent
            active = running
            if not active:
                break
        return state.result()


class _State:
    """The best iterate of each image, and the account of how it came about."""

    def __init__(self, x: Tensor, residual: Tensor, count: int) -> None:
        self.x, self.residual = x, residual
        self.losses: list[list[float]] = [[] for _ in range(count)]
        self.nfe = [0] * count
        self.stopped_by = ["iterations"] * count

    def keep(self, images: list[int], x: Tensor, residual: Tensor) -> None:
        for i, b in enumerate(images):
            self.losses[b].append(float(residual[i]))
            if residual[i] < self.residual[b]:
                self.x[b], self.residual[b] = x[i], residual[i]

    def unexplained(self, images: list[int], target: Tensor) -> list[int]:
        """The images whose residual is still above its target; the others are marked."""
        left = []
        for b in images:
            if self.residual[b] <= target[b]:
                self.stopped_by[b] = "discrepancy"
            else:
                left.append(b)
        return left

    def result(self) -> OptimizedLatent:
        return OptimizedLatent(self.x, self.losses, self.nfe, self.stopped_by)


def _unscale(latent: Tensor, scale: Tensor, b: int, stop: bool) -> None:
    """Take the loss scale out of a gradient; drop the gradient if it overflowed or is not used."""
    assert latent.grad is not None
    if stop:
        latent.grad = None
    elif bool(latent.grad.isfinite().all()):
        latent.grad /= scale[b]
    else:
        latent.grad = None
        scale[b] /= 16


@torch.no_grad()
def _to_sphere(latents: list[Tensor]) -> None:
    """Rescale to norm sqrt(d), where white noise of d values lies."""
    for latent in latents:
        latent *= math.sqrt(latent.numel()) / latent.norm()
