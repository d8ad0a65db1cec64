"""Every degradation and method on a pretended GPU: what it refuses, launches and waits for."""

from __future__ import annotations

import copy
from collections import Counter
from dataclasses import dataclass, replace

import pytest
import torch
from degradation_examples import EXAMPLES, scene
from gaussian_prior import GaussianPrior
from torch import Tensor

from benchmarks.pretended_device import Account, Count, can_pretend, pretended_gpu
from d2ir_pl.degradations import Degradation, Phi
from d2ir_pl.diffusion.randomness import image_generator, normal_like
from d2ir_pl.restoration import (
    D2IR,
    DegradationEstimation,
    LatentOptimization,
    PosteriorMean,
    Problem,
    RestorationMethod,
)
from d2ir_pl.restoration.baselines import BIRD, DDRM, DPS, GDP, DiffPIR, FastDiffusionEM

pytestmark = pytest.mark.skipif(
    not can_pretend(), reason="PyTorch's inner parts that a pretended GPU is made of have moved"
)
FEW = DegradationEstimation(steps=2)
METHODS: dict[str, RestorationMethod] = {
    "proximal": D2IR(FEW, stages="estimation"),
    "guidance": D2IR(replace(FEW, consistency="guidance"), stages="estimation"),
    "latent": D2IR(latent=LatentOptimization(1, discrepancy=0.0), stages="latent"),
    "GDP": GDP(steps=2),
    "DPS": DPS(steps=2),
    "DDRM": DDRM(steps=2),
    "DiffPIR": DiffPIR(steps=2),
    "BIRD": BIRD(2, ddim_steps=2),
    "EM": FastDiffusionEM(2),
    "mean": PosteriorMean(),
}
SLACK = 1.05
"""Share of a budget that other versions of PyTorch may take."""

BUDGETS: dict[str, dict[str, Count]] = {}
"""Kernels and waits: of the start, and of a step of each method. They may only fall."""


class FreePrior(GaussianPrior):
    """A prior whose kernels are not counted, as those of a network are not.

    Args:
        account: of the device.
    """

    def __init__(self, account: Account) -> None:
        super().__init__()
        self._account = account

    def predict_eps(self, x_t: Tensor, t: int) -> Tensor:
        with self._account.aside():
            return super().predict_eps(x_t, t)


@dataclass
class Photos:
    """Degraded photos on the CPU, their degradation, and generators for their noise."""

    y: Tensor
    degradation: Degradation

    @classmethod
    def of(cls, degradation: Degradation) -> Photos:
        y = scene(degradation, 2, torch.float32)[3]
        return cls(y + 0.02 * normal_like(y, cls.generators()), degradation)

    @staticmethod
    def generators() -> list[torch.Generator]:
        return [image_generator(0, str(i)) for i in range(2)]

    def problem(self, device: str, phi: Phi | None = None) -> Problem:
        family = copy.deepcopy(self.degradation).to(device)
        if phi is not None:  # as it was read off before
            vars(family)["init"] = lambda y, sigma_y: phi
        return Problem.of(self.y.to(device), family, self.generators())


def steps(account: Account, method: RestorationMethod, problem: Problem) -> list[Count]:
    """What each step but the first asks of the device."""
    seen: list[Count] = []
    method.restore(problem, FreePrior(account), lambda step: seen.append(account.count))
    return [b - a for a, b in zip(seen, seen[1:], strict=False)]


def measured(name: str) -> tuple[dict[str, Count], dict[str, Counter[str]]]:
    photos, found, lines = Photos.of(EXAMPLES[name]), {}, {}
    with pretended_gpu() as gpu:
        photos.problem("cuda").init()  # what is made once for a device and a size
        before = gpu.count
        problem = photos.problem("cuda")
        phi = problem.init()
        found["start"] = gpu.count - before
        for title, method in METHODS.items():
            problem = photos.problem("cuda", phi)
            try:
                method.check(problem.degradation, FreePrior(gpu))
            except ValueError:
                continue
            kernels = Counter(gpu.kernels)
            taken = steps(gpu, method, problem)
            found[title] = taken[-1] if taken else Count(0, 0)
            lines[title] = gpu.kernels - kernels
    return found, lines


if __name__ == "__main__":
    import time

    for n in EXAMPLES:
        t = time.time()
        f, _ = measured(n)
        print(f"{n:45s}", {k: tuple(v) for k, v in f.items()}, f"{time.time() - t:.1f}", flush=True)
