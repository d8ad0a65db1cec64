"""DDNM+: the Denoising Diffusion Null-space Model (Wang, Yu and Zhang 2023)."""

from __future__ import annotations

import math
from itertools import pairwise

import torch

from d2ir_pl.degradations import Degradation
from d2ir_pl.diffusion import Prior
from d2ir_pl.errors import naming, require
from d2ir_pl.restoration.base import RestorationMethod
from d2ir_pl.restoration.baselines.ddrm import Spectrum, decomposed, require_svd
from d2ir_pl.restoration.problem import Problem
from d2ir_pl.restoration.result import Restoration
from d2ir_pl.restoration.step import Observer, Steps


class DDNM(RestorationMethod):
    """The range of A from the photo and its null space from the prior (DDNM+).

        x_0  = x_0|t - L A^+ (A x_0|t - y)
        x_s  = sqrt(ab_s) x_0 + noise

    With A = U diag(s_i) V^T, sigma = sqrt(1 - ab_s) and b = sqrt(ab_s) sigma_y / s_i, L is diagonal
    in the basis of V: 1 where b <= sigma, and sqrt(1 - eta^2) sigma / b where y has more noise than
    the state may have. The noise makes the whole up to sigma: sqrt(sigma^2 - b^2) n in the first
    kind of coefficients, eta sigma n in the second, and sqrt(1 - eta^2) sigma eps + eta sigma n in
    the null space. For sigma_y = 0 this is DDNM, which reproduces y exactly.

    Divided by sqrt(ab_s), it is the step of `DDRM` with eta_b = 1. What differs is the start, which
    is noise alone, and time travel: from every `travel_length`-th timestep the walk goes back by as
    many, `travel_repeat` - 1 times, by x_u = sqrt(ab_u / ab_s) x_s + sqrt(1 - ab_u / ab_s) n. Where
    algorithm 2 travels from every timestep, the authors' program does as here.

    An unknown phi stays what `Degradation.init` reads off the data.

    Args:
        steps: number of timesteps; with time travel there are more network evaluations.
        eta: share in [0, 1] of the noise that is drawn afresh where y says little or nothing.
        threshold: share in [0, 1) of the largest singular value, below which one counts as 0. The
            authors' program has 0.03 for blurs.
        travel_length: number of timesteps by which the walk goes back.
        travel_repeat: number of times that a part of the walk is gone; 1 for no time travel.

    Raises:
        ValueError: for settings outside their range.

    Source: Wang, Yu and Zhang, Zero-Shot Image Restoration Using Denoising Diffusion Null-Space
    Model, 2023, eqs. 17 to 19 and algorithm 2. Steps, eta and no travel are those of their program.
    """

    def __init__(
        self,
        steps: int = 100,
        eta: float = 0.85,
        threshold: float = 0.03,
        travel_length: int = 1,
        travel_repeat: int = 1,
    ) -> None:
        require("steps", steps, 1)
        require("eta", eta, 0, 1)
        require("threshold", threshold, 0, below=1)
        require("travel_length", travel_length, 1)
        require("travel_repeat", travel_repeat, 1)
        self.steps = steps
        self.eta = eta
        self.threshold = threshold
        self.travel_length = travel_length
        self.travel_repeat = travel_repeat

    def check(self, degradation: Degradation, prior: Prior) -> None:
        require_svd(degradation)
        with naming("steps"):
            prior.schedule.timesteps(self.steps)

    @torch.no_grad()
    def solve(self, problem: Problem, prior: Prior, observer: Observer) -> Restoration:
        phi, schedule = problem.init(), prior.schedule
        svd, d = decomposed(problem, phi)
        spectrum = Spectrum.of(svd, d, problem.sigma_y, self.threshold, self.eta, eta_b=1.0)
        timesteps = [*schedule.timesteps(self.steps)[::-1], -1]  # whose index -1 is the clean image
        path = travel(self.steps, self.travel_length, self.travel_repeat)
        nfe = sum(after < before for before, after in pairwise(path))
        steps = Steps(observer, "estimation", nfe, problem)
        # The coefficients are those of x_t / sqrt(ab_t), which is x_0 plus noise.
        c = svd.vt(problem.noise()) / math.sqrt(schedule.level(timesteps[path[0]]))
        for before, after in pairwise(path):
            t = timesteps[before]
            sigma, sigma_next = schedule.sigma(t), schedule.sigma(timesteps[after])
            noise = svd.vt(problem.noise())
            if after > before:
                c = c + math.sqrt(sigma_next**2 - sigma**2) * noise
                continue
            x0 = prior.x0(math.sqrt(schedule.level(t)) * svd.v(c), t)
            c = spectrum.step(svd.vt(x0), c, sigma, sigma_next, noise)
            steps.report(x0, phi, problem.misfit(x0, phi))
        return problem.result(svd.v(c), phi, nfe=nfe, stopped_by="steps", losses=steps.losses)


def travel(steps: int, length: int, repeat: int) -> list[int]:
    """The positions of a walk from steps - 1 down to -1, the clean image, with its ways back.

    Args:
        steps: number of timesteps.
        length: number of positions that a way back has.
        repeat: number of times that each part of the walk is gone.

    Source: Lugmayr et al., RePaint, 2022, section 4.2.
    """
    left = dict.fromkeys(range(0, steps - length, length), repeat - 1)
    path = [steps - 1]
    while path[-1] >= 0:
        path.append(path[-1] - 1)
        if left.get(path[-1], 0) > 0:
            left[path[-1]] -= 1
            path.append(path[-1] + length)
    return path
