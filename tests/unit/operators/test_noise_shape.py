"""Noise that is not white, and linear maps whose noise is made white."""

import pytest
import torch
from torch import Tensor

from d2ir_pl.operators.convolution import ConvolutionOperator
from d2ir_pl.operators.noise_shape import NoiseShape, on_grid
from d2ir_pl.operators.opponent import from_opponent, to_opponent
from d2ir_pl.operators.weighted import WeightedOperator, WhitenedOperator
from d2ir_pl.restoration.data_step import data_step

SIZE = (63, 80)


def falling(count: int = 1) -> NoiseShape:
    """Noise whose amplitude falls from 2 to a small share, faster in the colours."""
    radii = torch.arange(24) / 24
    rates = torch.tensor([3.0, 6.0, 6.0])
    power = 4 * torch.exp(-rates[:, None] * radii)
    return NoiseShape(power.expand(count, 3, 24) * torch.linspace(1, 2, count)[:, None, None])


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def noise_of(shape: NoiseShape, size: tuple[int, int] = SIZE, seed: int = 0) -> Tensor:
    """Noise of a shape and of level 1."""
    spectrum = torch.fft.rfft2(normal(len(shape.power), 3, *size, seed=seed))
    coloured = torch.fft.irfft2(spectrum * on_grid(shape.power, size).sqrt(), s=size)
    return from_opponent(coloured)


def powers(n: Tensor) -> Tensor:
    """`(3, 4)` mean powers of opponent channels in four rings of frequencies."""
    power = torch.fft.rfft2(to_opponent(n)[0], norm="ortho").abs().square()
    radius = torch.hypot(torch.fft.fftfreq(SIZE[0])[:, None], torch.fft.rfftfreq(SIZE[1]))
    rings = [(radius >= k / 8) & (radius < (k + 1) / 8) for k in range(4)]
    return torch.stack([power[:, ring].mean(1) for ring in rings], 1)


def test_whitened_noise_is_white_and_of_its_level() -> None:
    n = noise_of(falling())
    assert float(powers(n).max() / powers(n).min()) > 10
    assert torch.allclose(powers(falling().whiten(n)), torch.ones(3, 4), rtol=0.2)


def test_what_noise_lacks_makes_it_white() -> None:
    missing, level = falling().complement(normal(1, 3, *SIZE, seed=1))
    total = noise_of(falling()) + missing
    assert torch.allclose(powers(total), level.square(), rtol=0.2)
    assert float(level) == pytest.approx(2.0, rel=0.01)


def test_white_noise_that_is_added_keeps_the_level_at_one_and_makes_it_whiter() -> None:
    total = (noise_of(falling()) + 3 * normal(1, 3, *SIZE, seed=1)) / 10**0.5
    shape = falling().with_white(torch.tensor([9.0]))
    assert torch.allclose(powers(shape.whiten(total)), torch.ones(3, 4), rtol=0.2)


def test_whitening_is_its_own_transpose() -> None:
    a, b = normal(2, 3, *SIZE), normal(2, 3, *SIZE, seed=1)
    shape = falling(2)
    left, right = (shape.whiten(a) * b).sum(), (a * shape.whiten(b)).sum()
    assert float(left) == pytest.approx(float(right), rel=1e-4)


def blur(border: str, size: tuple[int, int] = SIZE) -> ConvolutionOperator:
    taps = torch.exp(-(torch.arange(-4.0, 5.0) ** 2) / 2 / 1.5**2)
    kernel = torch.outer(taps, taps)[None] / taps.sum() ** 2
    margin = 8 if border == "extend" else 0
    whole = (size[0] + margin, size[1] + margin)
    return ConvolutionOperator(kernel, whole, size, border)  # type: ignore[arg-type]


@pytest.mark.parametrize("border", ["extend", "reflect", "circular"])
def test_a_whitened_operator_and_its_adjoint_belong_together(border: str) -> None:
    operator = WhitenedOperator(blur(border), falling())
    margin = 8 if border == "extend" else 0
    x, r = normal(1, 3, SIZE[0] + margin, SIZE[1] + margin), normal(1, 3, *SIZE, seed=1)
    left, right = (operator.forward(x) * r).sum(), (x * operator.adjoint(r)).sum()
    assert float(left) == pytest.approx(float(right), rel=1e-3)


def test_white_noise_changes_a_data_step_by_no_more_than_rounding() -> None:
    white, rho = NoiseShape(torch.ones(1, 3, 24)), torch.full((1, 1, 1, 1), 0.01)
    x, r = normal(1, 3, SIZE[0] + 8, SIZE[1] + 8), normal(1, 3, *SIZE, seed=1)
    operator = blur("extend")
    before, _ = data_step(operator, r, x, rho, 5)
    now, _ = data_step(WhitenedOperator(operator, white), white.whiten(r), x, rho, 5)
    assert torch.allclose(before, now, atol=1e-4)


@pytest.mark.parametrize("observed", [False, True])
def test_ten_iterations_are_enough_for_steep_noise(observed: bool) -> None:
    shape, rho = falling(), torch.full((1, 1, 1, 1), 0.02)
    inner = blur("extend")
    weight = torch.ones(1, 1, *SIZE)
    weight[..., 20:30, 20:30] = 0
    operator = WhitenedOperator(WeightedOperator(inner, weight) if observed else inner, shape)
    z = torch.zeros(1, 3, SIZE[0] + 8, SIZE[1] + 8)
    r = shape.whiten(inner.forward(normal(*z.shape)) + 0.1 * noise_of(shape, seed=1))

    def objective(iterations: int) -> float:
        x, left = data_step(operator, r, z, rho, iterations)
        return float(left.square().sum() + 0.02 * x.square().sum())

    first, tenth, best = float(r.square().sum()), objective(10), objective(60)
    assert tenth - best < 0.005 * (first - best)


def test_some_photos_of_a_batch_keep_their_shapes() -> None:
    both = NoiseShape.join([None, falling(2).select([1])])
    n = normal(2, 3, *SIZE)
    assert torch.allclose(both.whiten(n)[:1], n[:1], atol=1e-5)
    assert torch.allclose(both.whiten(n)[1:], falling(2).select([1]).whiten(n[1:]), atol=1e-5)
