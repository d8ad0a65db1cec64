"""A grey photo tells the same three times: its noise is no less for that."""

import math

import pytest
import torch
from photos import photo
from torch import Generator, Tensor

from d2ir_pl.degradations import GaussianBlur, Grayscale, Identity, Jpeg, Phi
from d2ir_pl.degradations.base import Degradation
from d2ir_pl.priors import load_prior
from d2ir_pl.restoration import D2IR, DegradationEstimation, Problem

SIGMA = 2 * 0.02


def problem(y: Tensor, degradation: Degradation) -> Problem:
    generators = [Generator().manual_seed(b) for b in range(len(y))]
    return Problem.of(y, degradation, generators, torch.full((len(y),), SIGMA))


def test_three_equal_channels_say_as_much_as_one_of_a_third_of_the_variance() -> None:
    colour = photo(0)[None]
    grey = colour.mean(1, keepdim=True).expand_as(colour)
    both = problem(torch.cat([colour, grey]), Identity())
    expected = SIGMA * torch.tensor([1, math.sqrt(3)])
    torch.testing.assert_close(both.sigma_of(both.y), expected)


def test_what_is_not_told_three_times_keeps_its_noise() -> None:
    grey = photo(0)[None].mean(1, keepdim=True).expand(1, 3, -1, -1)
    colours = problem(grey, Grayscale())  # the colours of x are sought
    torch.testing.assert_close(colours.sigma_of(colours.y), colours.sigma_y)
    coefficients = problem(grey, Jpeg(quality=50))
    _, residual = coefficients.linearize(grey, coefficients.init())
    assert residual.shape != grey.shape
    torch.testing.assert_close(coefficients.sigma_of(residual), coefficients.sigma_y)


@pytest.mark.slow
def test_a_grey_photo_is_restored_as_well_as_a_coloured_one() -> None:
    prior = load_prior("natural-small")
    scene = photo(3, 64, 64)[None].mean(1, keepdim=True).expand(1, 3, -1, -1)
    truth = torch.cat([scene, scene])
    blur = GaussianBlur(9, border="reflect").told(Phi(log_width=torch.zeros(1, 1)))
    noise = SIGMA * torch.randn(2, 3, 64, 64, generator=Generator().manual_seed(0))
    noise[1] = noise[1, :1]  # one and the same in all channels
    y = blur(truth, blur.init(truth, torch.ones(2))) + noise
    method = D2IR(DegradationEstimation(steps=6), stages="estimation")
    x = method.restore(problem(y, blur), prior).x0
    torch.testing.assert_close(x[1], x[1].mean(0, keepdim=True).expand_as(x[1]))
    # Independent channels hold three times as much: sqrt(3) of the noise where nothing helps.
    coloured, grey = (x - truth).square().mean((1, 2, 3)).sqrt().tolist()
    assert grey < math.sqrt(3) * coloured
    assert grey < 0.8 * float((y - truth)[1].square().mean().sqrt())
