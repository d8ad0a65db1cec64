from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from d2ir_pl.degradations import Blur, Exposures
from d2ir_pl.diffusion.randomness import image_generator
from d2ir_pl.operators import freed_memory
from d2ir_pl.restoration.data_step import data_step


def matrix(function: Callable[[Tensor], Tensor], shape: tuple[int, int]) -> Tensor:
    """The dense matrix of a linear function of images."""
    basis = torch.eye(shape[0] * shape[1], dtype=torch.float64).view(-1, 1, *shape)
    return torch.stack([function(e[None])[0].flatten() for e in basis], 1)


@pytest.mark.parametrize("border", ["extend", "reflect", "replicate", "circular"])
def test_the_step_solves_the_normal_equations(border: Any) -> None:
    blur = Blur(5, border)
    phi = blur.draw([image_generator(0, "a")], torch.zeros(1, dtype=torch.float64))
    y = torch.randn(1, 1, 6, 7, dtype=torch.float64)
    size = blur.frame.image_size((6, 7))
    z = torch.randn(1, 1, *size, dtype=torch.float64)
    rho = torch.full((1, 1, 1, 1), 0.05, dtype=torch.float64)
    a = matrix(lambda x: blur(x, phi), size)
    normal = a.T @ a + 0.05 * torch.eye(a.shape[1], dtype=torch.float64)
    exact = torch.linalg.solve(normal, a.T @ y.flatten() + 0.05 * z.flatten())
    x, residual = data_step(*blur.linearize(y, z, phi), z, rho, 60)
    assert torch.allclose(residual, y - blur(x, phi), atol=1e-12)
    assert torch.allclose(x.flatten(), exact, atol=1e-8)


def test_few_iterations_come_close_and_never_raise_the_objective() -> None:
    blur = Blur(9)
    phi = blur.draw([image_generator(0, "a")], torch.zeros(1))
    y = torch.rand(1, 3, 40, 40)
    size = blur.frame.image_size((40, 40))
    z = torch.rand(1, 3, *size)
    rho = torch.full((1, 1, 1, 1), 0.02)
    operator = blur.operator(phi, size)

    def objective(x: Tensor) -> float:
        misfit = (y - operator.forward(x)).square().sum()
        return float(misfit + 0.02 * (x - z).square().sum())

    residual = y - operator.forward(z)
    values = [objective(data_step(operator, residual, z, rho, k)[0]) for k in range(9)]
    best = objective(data_step(operator, residual, z, rho, 200)[0])
    assert all(b <= a * (1 + 1e-5) for a, b in pairwise(values))
    assert values[4] - best < 0.01 * (values[0] - best)


def test_a_batch_is_its_images_one_by_one() -> None:
    blur = Blur(9)
    phi = blur.draw([image_generator(0, str(i)) for i in range(3)], torch.zeros(1))
    y = torch.rand(3, 3, 20, 20)
    size = blur.frame.image_size((20, 20))
    z, rho = torch.rand(3, 3, *size), torch.tensor([1e-3, 0.1, 10.0])[:, None, None, None]
    together = data_step(*blur.linearize(y, z, phi), z, rho, 5)[0]
    for i in range(3):
        one = phi.select([i])
        row = slice(i, i + 1)
        alone = data_step(*blur.linearize(y[row], z[row], one), z[row], rho[row], 5)[0]
        assert torch.allclose(together[i], alone[0], atol=1e-5)


def test_the_colours_of_a_large_photo_are_solved_for_apart(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    blur = Blur(5)
    phi = blur.draw([image_generator(0, str(i)) for i in range(2)], torch.zeros(1))
    y = torch.rand(2, 3, 16, 14)
    z = torch.rand(2, 3, *blur.frame.image_size((16, 14)))
    rho = torch.tensor([0.1, 1.0])[:, None, None, None]
    together = data_step(*blur.linearize(y, z, phi), z, rho, 40)
    monkeypatch.setattr(freed_memory, "LARGE", 600)
    apart = data_step(*blur.linearize(y, z, phi), z, rho, 40)
    for a, b in zip(together, apart, strict=True):
        assert not torch.equal(a, b)
        assert torch.allclose(a, b, atol=1e-5)


def test_a_converged_image_stays_finite() -> None:
    blur = Blur(5, "circular")
    phi = blur.draw([image_generator(0, "a")], torch.zeros(1))
    z = torch.zeros(1, 3, 12, 12)
    x = data_step(blur.operator(phi, (12, 12)), z, z, torch.ones(1, 1, 1, 1), 20)[0]
    assert torch.equal(x, z)


def test_scenes_of_several_photos_are_solved_one_by_one() -> None:
    exposures = Exposures(2, gains=[0.5, 1.0])
    clean = torch.rand(2, 3, 6, 5) * 0.8 - 0.4
    phi = exposures.draw([image_generator(0, str(i)) for i in range(2)], clean)
    y = exposures(clean, phi)
    z = clean + 0.05 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    rho = torch.tensor([0.1, 1.0])[:, None, None, None]
    together = data_step(*exposures.linearize(y, z, phi), z, rho, 3)
    for i in range(2):
        row = slice(i, i + 1)
        one = phi.select(row)
        alone = data_step(*exposures.linearize(y[row], z[row], one), z[row], rho[row], 3)
        for a, b in zip(together, alone, strict=True):
            assert torch.allclose(a[i], b[0], atol=1e-5)
