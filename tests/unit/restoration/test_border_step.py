"""A data step on the border of a photo is one of conjugate gradients."""

from __future__ import annotations

import importlib

import pytest
import torch
from torch import Tensor

from d2ir_pl.degradations import Blur, Degradation, GaussianBlur, MotionBlur
from d2ir_pl.diffusion.randomness import image_generator
from d2ir_pl.operators.weighted import WeightedOperator
from d2ir_pl.restoration.data_step import data_step

SIZE = (37, 41)
MODULE = importlib.import_module("d2ir_pl.restoration.data_step")
BLURS = {"Gaussian": GaussianBlur(15), "motion": MotionBlur(15), "free": Blur(15)}


def problem(blur: Degradation, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Residuals, predictions, weights and kernels of two photos."""
    generator = torch.Generator().manual_seed(0)
    r = torch.randn(2, 3, *SIZE, generator=generator, dtype=dtype)
    z = torch.randn(2, 3, *blur.frame.image_size(SIZE), generator=generator, dtype=dtype)
    rho = torch.tensor([1e-2, 0.3], dtype=dtype)[:, None, None, None]
    return r, z, rho, torch.zeros(1, dtype=dtype)


def both(
    blur: Degradation,
    k: int,
    dtype: torch.dtype,
    least: float | None,
    patch: pytest.MonkeyPatch,
    level: float = 1.0,
) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """The step on the border, and by conjugate gradients."""
    r, z, rho, like = problem(blur, dtype)
    r, z = level * r, level * z
    phi = blur.draw([image_generator(0, str(b)) for b in range(2)], like)
    operator, _ = blur.linearize(r, z, phi)
    found = data_step(operator, r, z, rho, k, least)
    patch.setattr(MODULE, "MOST", 0)
    expected = data_step(operator, r, z, rho, k, least)
    assert torch.allclose(found[1], r - operator.forward(found[0] - z), atol=1e-5)
    return found, expected


@pytest.mark.parametrize("least", [None, 1e-2])
@pytest.mark.parametrize("k", [1, 2, 5, 10, 16])
@pytest.mark.parametrize("name", BLURS)
def test_the_iterates_are_those_of_conjugate_gradients(
    name: str, k: int, least: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, expected = both(BLURS[name], k, torch.float64, least, monkeypatch)
    for a, b in zip(found, expected, strict=True):
        assert torch.allclose(a, b, atol=1e-6)


@pytest.mark.parametrize("k", [4, 10, 16])
def test_in_single_precision_they_differ_by_a_small_part_of_a_grey_level(
    k: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, expected = both(BLURS["motion"], k, torch.float32, None, monkeypatch, 0.1)
    for a, b in zip(found, expected, strict=True):
        assert torch.allclose(a, b, atol=0.1 * 2 / 255)


def test_nothing_is_left_to_do_where_there_is_no_residual() -> None:
    blur = BLURS["Gaussian"]
    r, z, rho, like = problem(blur, torch.float32)
    phi = blur.draw([image_generator(0, str(b)) for b in range(2)], like)
    operator, _ = blur.linearize(r, z, phi)
    x, left = data_step(operator, 0 * r, z, rho, 10)
    assert torch.equal(x, z)
    assert not bool(left.any())


def test_pixels_that_are_not_observed_are_left_to_conjugate_gradients(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    blur = BLURS["Gaussian"]
    r, z, rho, like = problem(blur, torch.float64)
    phi = blur.draw([image_generator(0, str(b)) for b in range(2)], like)
    seen = torch.ones_like(r[:, :1])
    seen[..., 10:20, 10:20] = 0
    operator = WeightedOperator(blur.linearize(r, z, phi)[0], seen)
    found = data_step(operator, seen * r, z, rho, 5)[0]
    monkeypatch.setattr(MODULE, "MOST", 0)
    assert torch.equal(found, data_step(operator, seen * r, z, rho, 5)[0])
