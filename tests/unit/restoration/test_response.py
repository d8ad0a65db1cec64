"""Blurs of light, which files store by a curve."""

from typing import Literal

import pytest
import torch
from gaussian_prior import GaussianPrior
from shaken import corner, discs

from d2ir_pl.degradations import Blur, Phi
from d2ir_pl.diffusion.randomness import image_generator
from d2ir_pl.restoration import D2IR, DegradationEstimation, Problem
from d2ir_pl.restoration.baselines import DiffPIR, PiGDM
from d2ir_pl.restoration.data_step import data_step

Response = Literal["linear", "srgb"]
PHI = Phi(logits=(corner()[None] + 1e-12).log())
CLEAN = 1.6 * discs(100)[None]


def told(response: Response) -> Blur:
    return Blur(21, response=response).told(PHI)


@pytest.mark.parametrize("truth", ["linear", "srgb"])
def test_a_photo_is_restored_best_by_what_happened_to_it(truth: Response) -> None:
    y = told(truth)(CLEAN, PHI)
    y = y + 0.01 * torch.randn(y.shape, generator=torch.Generator().manual_seed(0))
    method = D2IR(DegradationEstimation(phi_steps=0, steps=3, start=60), stages="estimation")
    errors = {}
    for response in ("linear", "srgb"):
        problem = Problem.of(y, told(response), [image_generator(0, "0")], torch.tensor([0.01]))
        x = method.restore(problem, GaussianPrior()).x0
        errors[response] = float((x - CLEAN[..., 7:-7, 7:-7])[..., 12:-12, 12:-12].square().mean())
    assert errors[truth] == min(errors.values())


def test_the_data_step_reaches_its_minimum() -> None:
    """At a photo with black and white, whose slopes differ by far."""
    blur = told("srgb")
    y = blur(CLEAN, PHI)
    problem = Problem.of(y, blur, [image_generator(0, "0")], torch.tensor([0.01]))
    z = problem.lift(PHI)
    operator, residual = problem.linearize(z, PHI)
    rho = torch.full((1, 1, 1, 1), 0.01)
    x, left = data_step(operator, residual, z, rho, 10)
    slope = operator.adjoint(left) - rho * (x - z)
    assert float(slope.norm()) < 0.05 * float(operator.adjoint(residual).norm())
    assert torch.allclose(left, residual - operator.forward(x - z), atol=1e-4)


def test_methods_for_linear_degradations_say_so() -> None:
    for method in (DiffPIR(), PiGDM()):
        method.check(told("linear"), GaussianPrior())
        with pytest.raises(ValueError, match="not linear"):
            method.check(told("srgb"), GaussianPrior())
