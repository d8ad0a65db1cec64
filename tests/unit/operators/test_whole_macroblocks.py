"""Whole macroblocks of JPEG are solved as those are that lack pixels, by a smaller matrix."""

from __future__ import annotations

import pytest
import torch

from d2ir_pl.operators.macroblocks import _solver
from d2ir_pl.operators.whole_macroblocks import whole_solver


@pytest.mark.parametrize("rho", [1e-6, 1e-3, 1.0])
@pytest.mark.parametrize("factors", [(1, 1), (1, 2), (2, 1), (2, 2), (4, 1)])
def test_the_small_matrix_solves_the_equations_of_the_large_one(
    factors: tuple[int, int], rho: float
) -> None:
    generator = torch.Generator().manual_seed(0)
    weights = 10 ** -torch.rand(2, 2, 64, generator=generator, dtype=torch.float64).mul(2).add(1)
    rhos = torch.tensor([[rho], [2 * rho]], dtype=torch.float64)
    unknowns = 64 * (factors[0] * factors[1] + 2)
    r = torch.randn(2, 5, unknowns, generator=generator, dtype=torch.float64)
    size = 8 * factors[0], 8 * factors[1]
    expected = _solver(weights, rhos, size, factors)(r)
    found = whole_solver(weights, rhos, factors)(r)
    assert float((found - expected).norm()) < 1e-9 * float(expected.norm())
