"""Bounds on the eigenvalues that conjugate gradients meet, and what they save."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from d2ir_pl.degradations import Compose, Degradation, Downsampling, GaussianBlur, Mask, MotionBlur
from d2ir_pl.diffusion.randomness import image_generator
from d2ir_pl.operators.conditioning import Conditioning
from d2ir_pl.operators.convolution import Border, ConvolutionOperator
from d2ir_pl.operators.linear import LinearOperator, Size, conditioning, size_of
from d2ir_pl.operators.varying import VaryingOperator
from d2ir_pl.operators.weighted import WeightedOperator
from d2ir_pl.restoration.data_step import data_step

BORDERS: tuple[Border, ...] = ("extend", "reflect", "circular")
SEEN = (6, 8)


def kernels(*shape: int) -> Tensor:
    """Kernels with few large weights, at any place."""
    drawn = torch.rand(*shape, 5, 5, generator=torch.Generator().manual_seed(0)).double() ** 8
    return drawn / drawn.sum((-2, -1), keepdim=True)


def chain(*parts: Degradation) -> tuple[LinearOperator, Size]:
    degradation = Compose([*parts])
    clean = torch.rand(1, 3, 12, 8, generator=torch.Generator().manual_seed(2)).double()
    phi = degradation.draw([image_generator(0, "a")], clean)
    x = degradation.frame.embed(clean)
    return degradation.linearize(degradation(x, phi), x, phi)[0], size_of(x)


def operators() -> dict[str, tuple[LinearOperator, Size]]:
    """Operators of which bounds are known, each with the size of its images."""
    found: dict[str, tuple[LinearOperator, Size]] = {}
    for border in BORDERS:
        size = (10, 12) if border == "extend" else SEEN
        found[border] = ConvolutionOperator(kernels(1), size, SEEN, border), size
        found[f"varying, {border}"] = VaryingOperator(kernels(1, 2, 2), size, SEEN, border), size
        blur, motion = GaussianBlur(5, border=border), MotionBlur(5, border=border)
        down = Downsampling(2, border="extend" if border == "extend" else "reflect")
        found[f"blur and downsampling, {border}"] = chain(blur, down)
        found[f"motion and mask, {border}"] = chain(motion, Mask([2, 2, 5, 4]))
    seen = (torch.rand(1, 1, *SEEN, generator=torch.Generator().manual_seed(1)) < 0.6).double()
    inner, size = found["reflect"]
    return {**found, "weighted": (WeightedOperator(inner, seen), size)}


def matrix(f: Callable[[Tensor], Tensor], size: Size) -> Tensor:
    """The matrix of a linear map of images of one colour, which the other colours have too."""
    units = (
        torch.eye(size[0] * size[1], dtype=torch.float64).view(-1, 1, *size).expand(-1, 3, -1, -1)
    )
    return torch.stack([f(unit[None])[0, 0].flatten() for unit in units], 1)


@pytest.mark.parametrize("rho", [0.1, 1.0, 10.0])
@pytest.mark.parametrize("name", operators())
def test_eigenvalues_lie_between_their_bounds(name: str, rho: float) -> None:
    operator, size = operators()[name]
    known = conditioning(operator)
    assert known is not None
    weight = torch.full((1, 1, 1, 1), rho, dtype=torch.float64)
    a = matrix(operator.forward, size)
    p = matrix(lambda g: operator.precondition(g, weight), size)
    assert float(torch.linalg.eigvalsh(a.mT @ a).max()) <= known.gain + 1e-6
    inverse = 1 / torch.linalg.eigvalsh((p + p.mT) / 2)
    assert float(inverse.min()) >= rho - 1e-6
    assert float(inverse.max()) <= 1 + rho + 1e-6


@pytest.mark.parametrize("rho", [0.5, 2.0, 10.0])
@pytest.mark.parametrize("name", operators())
def test_what_the_bounds_save_is_hardly_seen(name: str, rho: float) -> None:
    operator, size = operators()[name]
    generator = torch.Generator().manual_seed(4)
    z = torch.randn(1, 3, *size, dtype=torch.float64, generator=generator)
    residual = torch.randn(operator.forward(z).shape, dtype=torch.float64, generator=generator)
    weight = torch.full((1, 1, 1, 1), rho, dtype=torch.float64)
    few, many = (data_step(operator, residual, z, weight, 60, least)[0] for least in (rho, None))
    known = conditioning(operator)
    assert known is not None
    assert known.enough(rho) < 60
    assert float((few - many).norm()) < 0.01 * float((many - z).norm())


@pytest.mark.parametrize("known", [Conditioning(), Conditioning(4.0), Conditioning(above=True)])
def test_fewer_iterations_are_enough_for_a_larger_weight(known: Conditioning) -> None:
    weights = (1e-3, 0.1, 1.0, 10.0, 1e9)
    numbers = [known.enough(rho) for rho in weights]
    assert numbers == sorted(numbers, reverse=True)
    assert numbers[-1] == 1
    assert known.enough_of(torch.tensor(weights).double()).tolist() == numbers


@pytest.mark.parametrize("kernel", ["bicubic", "bicubic_aliased", "area", "gaussian", "nearest"])
@pytest.mark.parametrize("border", ["extend", "reflect", "replicate"])
@pytest.mark.parametrize("factor", [2, 3, 4])
def test_the_gain_of_downsampling_is_one_of_them(kernel: str, border: str, factor: int) -> None:
    down = Downsampling(factor, kernel, border, 0.4 * factor if kernel == "gaussian" else None)  # type: ignore[arg-type]
    size = down.frame.image_size((5, 5))
    phi = down.draw([image_generator(0, "a")], torch.zeros(1, 3, *size))
    operator = down.operator(phi, size)
    a = matrix(lambda x: operator.forward(x.float()).double(), size)
    known = conditioning(operator)
    assert known is not None
    assert float(torch.linalg.eigvalsh(a.mT @ a).max()) <= known.gain
