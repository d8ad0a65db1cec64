"""The steps on phi follow a model of the misfit, which has to be the misfit itself."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from degradation_examples import scene
from torch import Tensor

from d2ir_pl.degradations import DefocusBlur, GaussianBlur, MotionBlur, Phi
from d2ir_pl.diffusion.randomness import image_generator, normal_like
from d2ir_pl.restoration import Problem, phi_fit
from d2ir_pl.restoration.phi_fit import Model, fit_phi

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


def gradient(problem: Problem, x: Tensor, phi: Phi, first: Phi, names: list[str]) -> Tensor:
    """The derivatives `(B, P)` of what the steps descend, by autograd."""
    free = phi.leaves(names)
    now = phi.replace(**free)
    total = (problem.misfit(x, now) / problem.sigma_y**2).sum()
    total = total + 0.05 * problem.degradation.anchor(now, first).sum()
    found = torch.autograd.grad(total, list(free.values()))
    return torch.cat([part.view(phi.count, -1) for part in found], 1)


@pytest.mark.parametrize("name", BLURS)
def test_the_slopes_of_the_model_are_those_of_the_misfit(name: str) -> None:
    problem, x, phi, first = made(name)
    names = problem.degradation.free(phi)
    model = Model.of(problem, x, phi, names, first, 0.05)
    for far, rtol, atol in ((0.0, 2e-3, 1e-3), (0.01, 0.1, 0.2)):
        moved = phi.replace(**{k: phi[k] + far for k in names})
        flat = torch.cat([moved[k].view(2, -1) for k in names], 1)
        expected = gradient(problem, x, moved, first, names)
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
