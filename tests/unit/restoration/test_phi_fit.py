"""The steps on phi follow a model of the misfit, which has to be the misfit itself."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from degradation_examples import scene
from torch import Tensor

from d2ir_pl.degradations import (
    Blur,
    Compose,
    DefocusBlur,
    Downsampling,
    GaussianBlur,
    Grayscale,
    Jpeg,
    Light,
    Mask,
    MotionBlur,
    Phi,
)
from d2ir_pl.degradations.kernel_fit import kernel_fit_of
from d2ir_pl.diffusion.randomness import image_generator, normal_like
from d2ir_pl.operators.noise_shape import NoiseShape
from d2ir_pl.restoration import Problem, phi_fit
from d2ir_pl.restoration.phi_fit import Model, Objective, fit_phi

BLURS = {
    "Gaussian": GaussianBlur(15),
    "anisotropic": GaussianBlur(15, isotropic=False, border="reflect"),
    "motion": MotionBlur(15),
    "motion of a known angle": MotionBlur(15, angle=0.4, border="circular"),
    "defocus": DefocusBlur(15),
    "of light": GaussianBlur(15, response="srgb"),
}


def made(name: str) -> tuple[Problem, Tensor, Phi, Phi]:
    """A problem of two photos, their clean images, parameters that are off, and the first ones."""
    blur = BLURS[name]
    _, x, truth, y = scene(blur, 2, torch.float64)
    generators = [image_generator(0, str(b)) for b in range(2)]
    y = y + 0.02 * normal_like(y, generators)
    observed = torch.ones_like(y[:, :1])
    observed[..., :5] = 0
    sigma = torch.full((2,), 0.02, dtype=torch.float64)
    first = truth.replace(**{k: truth[k] + 0.04 for k in blur.free(truth)})
    phi = truth.replace(**{k: truth[k] + 0.05 for k in blur.free(truth)})
    return Problem(y, sigma, blur, generators, observed), x, phi, first


def gradient(problem: Problem, x: Tensor, phi: Phi, first: Phi, anchor: float) -> Tensor:
    """The derivatives `(B, P)` of what the steps descend, by autograd."""
    free = phi.leaves(problem.degradation.free(phi))
    now = phi.replace(**free)
    total = (problem.misfit(x, now) / problem.sigma_y**2).sum()
    total = total + anchor * problem.degradation.anchor(now, first).sum()
    found = torch.autograd.grad(total, list(free.values()))
    return torch.cat([part.view(phi.count, -1) for part in found], 1)


@pytest.mark.parametrize("name", BLURS)
def test_the_slopes_of_the_model_are_those_of_the_misfit(name: str) -> None:
    problem, x, phi, first = made(name)
    objective = Objective(problem, x, phi, first, 0.05)
    model = Model.of(objective, objective.flat(phi))
    for far, rtol, atol in ((0.0, 2e-3, 1e-3), (0.01, 0.1, 0.2)):
        flat = objective.flat(phi) + far
        expected = gradient(problem, x, objective.at(flat), first, 0.05)
        assert torch.allclose(objective.gradient(flat), expected)
        assert torch.allclose(model.gradient(flat), expected, rtol=rtol, atol=atol)


@pytest.mark.parametrize("name", BLURS)
def test_steps_by_the_model_lead_where_those_by_autograd_do(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem, x, phi, first = made(name)
    settings: dict[str, Any] = {"steps": 6, "lr": 1e-2, "anchor": 0.05}
    found = fit_phi(problem, x, phi, first, **settings)
    monkeypatch.setattr(phi_fit, "FEW", 0)
    expected = fit_phi(problem, x, phi, first, **settings)
    for key, value in expected.items():
        assert torch.allclose(found[key], value, atol=2e-3)
        assert not torch.equal(found[key], phi[key]) or key not in problem.degradation.free(phi)


FREE = {
    "free": Blur(7),
    "mirrored": Blur(7, "reflect"),
    "of light": Blur(7, response="srgb"),
    "with a mask": Compose([Blur(5), Mask([3, 5, 9, 11])]),
    "made smaller": Compose([Blur(5), Downsampling(2), Grayscale()]),
}


@pytest.mark.parametrize("anchor", [0.0, 0.05])
@pytest.mark.parametrize("coloured", [False, True])
@pytest.mark.parametrize("name", FREE)
def test_the_slopes_of_a_free_kernel_are_those_of_autograd(
    name: str, coloured: bool, anchor: float
) -> None:
    family = FREE[name]
    _, x, truth, y = scene(family, 2, torch.float64)
    generators = [image_generator(0, str(b)) for b in range(2)]
    observed = torch.ones_like(y[:, :1])
    observed[..., :3] = 0
    sigma = torch.tensor([0.02, 0.05], dtype=torch.float64)
    power = torch.linspace(2, 0.5, 24, dtype=torch.float64).expand(2, 3, -1)
    y = y + 0.02 * normal_like(y, generators)
    shape = NoiseShape(power) if coloured else None
    problem = Problem(y, sigma, family, generators, observed, shape=shape)
    (key,) = family.free(truth)
    phi = truth.replace(**{key: 0.5 * truth[key]})
    objective = Objective(problem, x, phi, truth, anchor)
    fit = kernel_fit_of(family, x, truth)
    assert fit is not None
    flat = objective.flat(phi)
    expected = gradient(problem, x, phi, truth, anchor)
    found = objective.gradient_of_kernel(fit)(flat)
    assert float((found - expected).norm()) < 1e-9 * float(expected.norm())


def test_chains_of_which_more_is_free_have_no_slopes_of_a_kernel() -> None:
    x = torch.zeros(1, 3, 24, 32)
    for family in (
        Compose([Blur(5), Jpeg()]),
        Compose([Grayscale(), Blur(5)]),
        Compose([Blur(5), Light()]),
        GaussianBlur(5),
    ):
        assert kernel_fit_of(family, x, family.draw([image_generator(0, "a")], x)) is None
