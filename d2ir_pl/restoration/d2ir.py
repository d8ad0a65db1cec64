"""D2IR: degradation estimation, then latent optimisation."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from d2ir_pl.degradations import Degradation, Phi
from d2ir_pl.diffusion import Prior
from d2ir_pl.errors import naming, require
from d2ir_pl.operators.linear import back_in_order
from d2ir_pl.restoration.assumed_error import assumed_error, error_of_kernels
from d2ir_pl.restoration.base import GENTLER, RestorationMethod
from d2ir_pl.restoration.degradation_estimation import DegradationEstimation
from d2ir_pl.restoration.kernel_contest import has_contest, read_guesses, with_kernels_found
from d2ir_pl.restoration.lamps import apart, lamps, without_lamps
from d2ir_pl.restoration.latent_optimization import LatentOptimization
from d2ir_pl.restoration.noise_reading import with_noise_read
from d2ir_pl.restoration.own_kernels import each_with_its_kernel
from d2ir_pl.restoration.problem import Problem
from d2ir_pl.restoration.result import Losses, Restoration
from d2ir_pl.restoration.step import Observer, of_rows
from d2ir_pl.stages import StoppedBy


class D2IR(RestorationMethod):
    """Blind image restoration with a pretrained diffusion prior, in two stages.

    Stage 1 walks the reverse diffusion and estimates phi together with the image; stage 2 fixes
    phi and optimises the latent x_T until D_phi(x_0(x_T)) explains y to the noise.

    Args:
        estimation: settings of stage 1.
        latent: settings of stage 2.
        stages: stages that run: `both`, `estimation` alone, or `latent` alone with the phi that the
            degradation reads off the data or knows, and from the image that the problem knows, if
            it does.
        model_error: standard deviation in [0, 1] of what the degradation cannot express, such as
            the error of an estimated kernel. It counts as noise in both stages: a result that
            explained y any better would have artefacts instead. `auto` reads it off each photo
            (`assumed_error.py`), which takes one to four walks over a part of it; that of a kernel
            which the prior has refined is known from there (`kernel_rounds.py`).

    Raises:
        ValueError: for an unknown stage, or an error that is not `auto` and outside [0, 1).
    """

    def __init__(
        self,
        estimation: DegradationEstimation = DegradationEstimation(),
        latent: LatentOptimization = LatentOptimization(),
        stages: Literal["both", "estimation", "latent"] = "both",
        model_error: float | Literal["auto"] = 0.0,
    ) -> None:
        if stages not in ("both", "estimation", "latent"):
            raise ValueError(f"stages {stages!r} must be 'both', 'estimation' or 'latent'")
        if isinstance(model_error, str):
            if model_error != "auto":
                raise ValueError(f"model_error {model_error!r} must be 'auto' or a number")
        else:
            require("model_error", model_error, 0, below=1, remedy="such as 0.03")
        self.estimation = estimation
        self.latent = latent
        self.stages = stages
        self.model_error = model_error
        guided = stages != "latent" and estimation.consistency == "guidance"
        self.through_network = guided or (stages != "estimation" and latent.gradient == "full")

    def gentler(self) -> D2IR:
        estimation, latent = self.estimation, self.latent
        return D2IR(
            replace(
                estimation,
                phi_lr=GENTLER * estimation.phi_lr,
                guidance_scale=GENTLER * estimation.guidance_scale,
            ),
            replace(latent, lr=GENTLER * latent.lr),
            self.stages,
            self.model_error,
        )

    def check(self, degradation: Degradation, prior: Prior) -> None:  # noqa: ARG002
        for stage, build in (
            ("estimation", self.estimation.timesteps),
            ("latent", self.latent.timesteps),
        ):
            if self.stages in ("both", stage):
                with naming(stage):
                    build(prior.schedule)

    def read(self, problem: Problem) -> None:
        if has_contest(problem.degradation):
            read_guesses(problem)
        else:
            with_noise_read(problem).init()

    def find(self, problem: Problem, prior: Prior) -> Problem:
        if has_contest(problem.degradation):
            return with_kernels_found(problem, prior)
        return without_lamps(problem, lamps(problem, with_noise_read(problem).init()))

    def solve(self, problem: Problem, prior: Prior, observer: Observer) -> Restoration:
        if has_contest(problem.degradation):
            return each_with_its_kernel(problem, prior, observer, self._restored)
        parts, order = [], []
        for rows, part in apart(problem):
            part = with_noise_read(part)
            told = observer if len(part) == len(problem) else of_rows(observer, rows)
            parts.append(self._restored(part, part.init(), prior, told))
            order += rows
        if len(parts) == 1:
            return parts[0]
        return Restoration.join(parts).select(back_in_order(order))

    def _restored(
        self,
        problem: Problem,
        phi: Phi,
        prior: Prior,
        observer: Observer,
        kernel_error: Tensor | None = None,
    ) -> Restoration:
        """Restore a batch whose parameters start as phi.

        Args:
            problem: degraded images.
            phi: their parameters.
            prior: diffusion prior.
            observer: function that is told of every step.
            kernel_error: `(B,)` what phi leaves unexplained in the mean of the channels, in [0, 1],
                where that is known already.
        """
        # What the degradation cannot express counts as noise, but is none of the photo's.
        noisier, nfe = self._noisier(problem, phi, prior, kernel_error)
        stopped_by: list[StoppedBy] = ["steps"] * len(problem)
        losses: Losses = {}
        if self.stages == "latent":
            x = problem.guess(phi)
        else:
            estimate = self.estimation(noisier, phi, prior, observer)
            x, phi, losses = estimate.x, estimate.phi, estimate.losses
            nfe = [n + self.estimation.steps for n in nfe]
        if self.stages != "estimation":
            latent = self.latent(noisier, x, phi, prior, observer)
            x, stopped_by, losses = latent.x, latent.stopped_by, {**losses, **latent.losses}
            nfe = _sum(nfe, latent.nfe)
        result = problem.result(x, phi, nfe=nfe, stopped_by=stopped_by, losses=losses)
        unexplained = (noisier.sigma_y**2 - problem.sigma_y**2).clamp_min(0).sqrt()
        lights = [] if problem.found is None else list(problem.found.lights)
        return replace(result, model_error=unexplained, lights=lights)

    def _noisier(
        self, problem: Problem, phi: Phi, prior: Prior, kernel_error: Tensor | None
    ) -> tuple[Problem, list[int]]:
        """The problem with noise and model error together, and evaluations spent on finding it."""
        none = [0] * len(problem)
        if self.model_error != "auto":
            error = torch.full_like(problem.sigma_y, 2 * self.model_error)
        elif kernel_error is None:
            assumed, nfe = assumed_error(problem, phi, prior, self.estimation)
            return replace(problem, sigma_y=assumed), nfe
        else:  # three channels that share an error tell of it once
            error = torch.where(problem.grey, 1.0, math.sqrt(3)) * 2 * kernel_error
            error = error_of_kernels(problem, error)
        return problem.assuming((problem.sigma_y**2 + error**2).sqrt()), none


def _sum(first: list[int], second: list[int]) -> list[int]:
    return [a + b for a, b in zip(first, second, strict=True)]
