"""Convolutions of spectra are those of images."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from d2ir_pl.operators.convolution import (
    ConvolutionOperator,
    kernel_spectrum,
    transfer_function,
)
from d2ir_pl.operators.noise_shape import NoiseShape
from d2ir_pl.operators.varying import VaryingOperator
from d2ir_pl.operators.weighted import WeightedOperator, WhitenedOperator, on_spectra
from d2ir_pl.restoration.data_step import data_step

IMAGE, SEEN = (23, 26), (17, 20)  # a circle of 24x27


def convolution() -> ConvolutionOperator:
    kernel = torch.rand(2, 7, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return ConvolutionOperator(kernel / kernel.sum((1, 2), keepdim=True), IMAGE, SEEN, "extend")


def operators() -> dict[str, ConvolutionOperator | WeightedOperator | WhitenedOperator]:
    generator = torch.Generator().manual_seed(1)
    seen = (torch.rand(2, 1, *SEEN, generator=generator) < 0.7).double()
    shape = NoiseShape(torch.rand(2, 3, 20, dtype=torch.float64, generator=generator) + 0.2)
    weighted = WeightedOperator(convolution(), seen)
    tiles = torch.rand(2, 2, 3, 7, 7, dtype=torch.float64, generator=generator)
    varying = VaryingOperator(tiles / tiles.sum((3, 4), keepdim=True), IMAGE, SEEN, "extend")
    return {
        "plain": convolution(),
        "weighted": weighted,
        "whitened": WhitenedOperator(convolution(), shape),
        "both": WhitenedOperator(weighted, shape),
        "varying": varying,
        "part of varying": WeightedOperator(varying, seen),
    }


class OfImages:
    """An operator that keeps from others that it has a form for spectra."""

    def __init__(self, operator: ConvolutionOperator | WeightedOperator | WhitenedOperator) -> None:
        self.forward, self.adjoint = operator.forward, operator.adjoint
        self.precondition = operator.precondition


@pytest.mark.parametrize("name", operators())
def test_a_form_for_spectra_is_the_operator(name: str) -> None:
    operator = operators()[name]
    form = on_spectra(operator)
    assert form is not None
    generator = torch.Generator().manual_seed(2)
    r, other = torch.randn(2, 2, 3, *SEEN, dtype=torch.float64, generator=generator)
    spectrum = form.adjoint(r)
    assert torch.allclose(form.to_image(spectrum), operator.adjoint(r))
    assert torch.allclose(form.forward(spectrum), operator.forward(operator.adjoint(r)))
    # Inner products are those of images, so that the adjoint is one.
    product = (spectrum * form.adjoint(other)).sum()
    assert torch.allclose(product, (form.forward(spectrum) * other).sum())


@pytest.mark.parametrize("name", operators())
def test_the_data_step_has_the_same_solution_at_the_border_too(name: str) -> None:
    operator = operators()[name]
    generator = torch.Generator().manual_seed(3)
    z = torch.randn(2, 3, *IMAGE, dtype=torch.float64, generator=generator)
    residual = torch.randn(2, 3, *SEEN, dtype=torch.float64, generator=generator)
    rho = torch.tensor([0.05, 0.2], dtype=torch.float64)[:, None, None, None]

    def step(own: ConvolutionOperator | WeightedOperator | WhitenedOperator | OfImages) -> Tensor:
        return torch.cat([x.flatten() for x in data_step(own, residual, z, rho, 200)])

    assert torch.allclose(step(operator), step(OfImages(operator)), atol=1e-9)


@pytest.mark.parametrize("rho", [1e-2, 0.1, 1.0, 30.0, 1e9])
@pytest.mark.parametrize("name", ["plain", "weighted"])
def test_what_a_least_rho_saves_is_hardly_seen(name: str, rho: float) -> None:
    operator = operators()[name]
    form = on_spectra(operator)
    assert form is not None
    generator = torch.Generator().manual_seed(4)
    z = torch.randn(2, 3, *IMAGE, dtype=torch.float64, generator=generator)
    residual = torch.randn(2, 3, *SEEN, dtype=torch.float64, generator=generator)
    weight = torch.tensor([rho, 2 * rho], dtype=torch.float64)[:, None, None, None]
    few, many = (data_step(operator, residual, z, weight, 200, r)[0] for r in (rho, None))
    assert float((few - many).norm()) < 0.01 * float((many - z).norm())
    assert form.conditioning is not None
    assert (form.conditioning.enough(rho) < 10) == (rho >= 0.1)


def test_of_noise_that_is_not_white_nothing_is_known() -> None:
    form = on_spectra(operators()["whitened"])
    assert form is not None
    assert form.conditioning is None


@pytest.mark.parametrize("side", [3, 7, 31])
@pytest.mark.parametrize("circle", [(24, 27), (10, 9)])
def test_the_spectrum_of_a_kernel_is_its_fourier_transform(
    side: int, circle: tuple[int, int]
) -> None:
    kernel = torch.rand(2, side, side, dtype=torch.float64)
    assert torch.allclose(kernel_spectrum(kernel, circle), transfer_function(kernel, circle)[:, 0])


def test_what_is_kept_of_an_image_is_made_anew_where_the_image_has_changed() -> None:
    kernel = torch.rand(1, 3, 3).requires_grad_()
    x = torch.rand(1, 3, 8, 8)
    for _ in range(2):
        operator = ConvolutionOperator(kernel, (8, 8), (6, 6), "extend")
        fresh = ConvolutionOperator(kernel.detach(), (8, 8), (6, 6), "extend").forward(x.clone())
        assert torch.allclose(operator.forward(x), fresh)
        x.add_(1)


@pytest.mark.parametrize("border", ["reflect", "replicate", "circular"])
def test_images_that_are_continued_have_no_form_for_spectra(border: str) -> None:
    operator = ConvolutionOperator(torch.ones(1, 3, 3) / 9, (8, 8), (8, 8), border)  # type: ignore[arg-type]
    assert on_spectra(operator) is None
