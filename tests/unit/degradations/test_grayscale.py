"""Colour as something that was lost: the grey image's equation, inverse, noise and errors."""

import pytest
import torch

from d2ir_pl.degradations import Grayscale, Phi
from d2ir_pl.diffusion.randomness import image_generator
from d2ir_pl.restoration import data_step, mean_square


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def known(degradation: Grayscale, like: torch.Tensor) -> Phi:
    return degradation.init(like, torch.full((len(like),), 0.02))


def test_grey_is_the_weighted_sum_of_the_channels() -> None:
    x = random(2, 3, 5, 4)
    y = Grayscale([1, 2, 1])(x, known(Grayscale([1, 2, 1]), x))
    grey = (x[:, 0] + 2 * x[:, 1] + x[:, 2]) / 4
    for channel in range(3):
        assert torch.allclose(y[:, channel], grey, atol=1e-12)


def test_the_default_is_the_luma_that_pillow_converts_with() -> None:
    from PIL import Image

    x = torch.randint(0, 256, (7, 9, 3), generator=torch.Generator().manual_seed(0))
    luma = Image.fromarray(x.to(torch.uint8).numpy()).convert("L")
    ours = Grayscale()(
        x.permute(2, 0, 1)[None].float(), known(Grayscale(), torch.zeros(1, 3, 1, 1))
    )
    theirs = torch.tensor(list(luma.tobytes())).view(7, 9)
    assert float((ours[0, 0] - theirs).abs().max()) <= 1


def test_a_grey_image_stays_as_it_is_under_any_weights() -> None:
    grey = random(1, 1, 4, 4).expand(1, 3, 4, 4)
    for weights in ([1.0, 0.0, 0.0], [0.2, 0.3, 0.5], None):
        degradation = Grayscale(weights)
        assert torch.allclose(degradation(grey, known(degradation, grey)), grey, atol=1e-12)


@pytest.mark.parametrize("rho", [1e-6, 0.1, 10.0])
def test_the_preconditioner_is_the_inverse_of_the_normal_equations(rho: float) -> None:
    degradation = Grayscale([0.5, 0.3, 0.2])
    x = random(2, 3, 4, 5)
    operator = degradation.operator(known(degradation, x), (4, 5))
    weight = torch.full((2, 1, 1, 1), rho, dtype=x.dtype)
    g = operator.adjoint(operator.forward(x)) + weight * x
    assert torch.allclose(operator.precondition(g, weight), x, rtol=1e-6, atol=1e-7)


def test_one_data_step_explains_the_grey_image_and_keeps_the_colour_of_the_prediction() -> None:
    degradation = Grayscale()
    clean, prediction = random(1, 3, 6, 6), random(1, 3, 6, 6, seed=1)
    phi = known(degradation, clean)
    y = degradation(clean, phi)
    operator, residual = degradation.linearize(y, prediction, phi)
    x, _ = data_step(operator, residual, prediction, torch.full((1, 1, 1, 1), 1e-9), 1)
    assert torch.allclose(degradation(x, phi), y, atol=1e-6)
    weights = phi["weights"][:, :, None, None].expand_as(x)
    across = torch.linalg.cross(x - prediction, weights, dim=1)
    assert float(across.abs().max()) < 1e-6


def test_the_residual_of_the_truth_is_the_noise_and_the_noise_is_read_off_the_photo() -> None:
    degradation = Grayscale()
    clean = 0.3 * torch.ones(1, 3, 96, 96)
    phi = known(degradation, clean)
    y = degradation(clean, phi) + 0.1 * random(1, 1, 96, 96).float()
    residual = degradation.residual(y, degradation(clean, phi), phi)
    assert float(mean_square(residual) / degradation.share(phi)) == pytest.approx(0.01, rel=0.05)
    assert float(degradation.estimate_sigma(y)) == pytest.approx(0.1, rel=0.05)


def test_colour_in_the_photo_is_no_observation() -> None:
    """A tinted photo is read by its luma: its lift is grey, and so is what is left to explain."""
    degradation = Grayscale()
    y, x = random(1, 3, 6, 6), random(1, 3, 6, 6, seed=1)
    phi = known(degradation, y)
    assert torch.allclose(degradation.lift(y, phi), degradation(y, phi))
    residual = degradation.residual(y, degradation(x, phi), phi)
    assert torch.allclose(residual, degradation(y, phi) - degradation(x, phi), atol=1e-12)


def test_the_weights_are_given_and_never_estimated() -> None:
    degradation = Grayscale([2, 1, 1])
    phi = degradation.draw([image_generator(0, "a")], torch.zeros(1, 3, 4, 4))
    assert degradation.free(phi) == []
    assert degradation.describe(phi) == [{"kind": "Grayscale", "weights": [0.5, 0.25, 0.25]}]


@pytest.mark.parametrize("weights", [[], [1.0, 1.0], [0.0, 0.0, 0.0], [1.0, -0.1, 0.1]])
def test_weights_that_make_no_grey_are_refused(weights: list[float]) -> None:
    with pytest.raises(ValueError, match="three numbers of at least 0"):
        Grayscale(weights)
    with pytest.raises(ValueError, match="three numbers of at least 0"):
        Grayscale([float("nan"), 1.0, 1.0])
