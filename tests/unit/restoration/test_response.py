"""Blurs of light, which files store by a curve."""

from dataclasses import replace
from typing import Literal

import pytest
import torch
from gaussian_prior import GaussianPrior
from shaken import corner, discs

from d2ir_pl.degradations import Blur, Phi
from d2ir_pl.diffusion.randomness import image_generator
from d2ir_pl.operators.convolution import Border
from d2ir_pl.operators.noise_shape import NoiseShape
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


@pytest.mark.parametrize("border", ["extend", "reflect"])
@pytest.mark.parametrize("kind", ["plain", "observed", "coloured noise"])
def test_few_iterations_are_enough_beside_black_and_white(border: Border, kind: str) -> None:
    blur = Blur(21, border, response="srgb").told(PHI)
    y = blur(CLEAN, PHI)
    sigma = torch.tensor([0.01])
    problem = Problem.of(y, blur, [image_generator(0, "0")], sigma)
    if kind == "observed":
        observed = torch.ones(1, 1, *y.shape[-2:])
        observed[..., 20:40, 30:50] = 0
        problem = Problem.of(y, blur, [image_generator(0, "0")], sigma, observed)
    if kind == "coloured noise":
        problem = replace(problem, shape=NoiseShape(torch.linspace(2, 0.5, 24).expand(1, 3, -1)))
    z = problem.lift(PHI)
    operator, residual = problem.linearize(z, PHI)
    rho = torch.full((1, 1, 1, 1), 0.02)
    few, many = (data_step(operator, residual, z, rho, k)[0] for k in (10, 100))
    assert float((few - many).norm()) < 0.01 * float((many - z).norm())
    shorter = data_step(operator, residual, z, torch.full((1, 1, 1, 1), 1.0), 10, 1.0)[0]
    longer = data_step(operator, residual, z, torch.full((1, 1, 1, 1), 1.0), 100)[0]
    assert float((shorter - longer).norm()) < 0.01 * float((longer - z).norm())
