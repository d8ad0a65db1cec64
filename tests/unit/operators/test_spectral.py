"""Convolutions of spectra are those of images."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from d2ir_pl.operators.convolution import ConvolutionOperator
from d2ir_pl.operators.noise_shape import NoiseShape
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
    return {
        "plain": convolution(),
        "weighted": weighted,
        "whitened": WhitenedOperator(convolution(), shape),
        "both": WhitenedOperator(weighted, shape),
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


@pytest.mark.parametrize("border", ["reflect", "replicate", "circular"])
def test_images_that_are_continued_have_no_form_for_spectra(border: str) -> None:
    operator = ConvolutionOperator(torch.ones(1, 3, 3) / 9, (8, 8), (8, 8), border)  # type: ignore[arg-type]
    assert on_spectra(operator) is None
