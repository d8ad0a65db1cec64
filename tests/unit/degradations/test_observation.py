"""What a sensor adds to an image: the noise of light, and its own."""

import math

import pytest
import torch

from d2ir_pl.degradations import Compose, GaussianBlur, Light
from d2ir_pl.degradations.observation import shot_noise


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_noise_of_light_has_the_variance_of_the_poisson_distribution() -> None:
    for value in (-0.8, 0.0, 0.9):
        x = torch.full((1, 3, 200, 200), value)
        n = shot_noise(x, 50.0, [generator()])
        intensity = (value + 1) / 2
        assert float(n.mean()) == pytest.approx(0, abs=0.004)
        assert float(n.std()) == pytest.approx(2 * math.sqrt(intensity / 50), rel=0.03)


def test_black_and_much_light_are_free_of_it() -> None:
    black = torch.full((1, 3, 8, 8), -1.0)
    assert float(shot_noise(black, 10.0, [generator()]).abs().max()) == 0
    grey = torch.zeros(1, 3, 64, 64)
    assert float(shot_noise(grey, 1e8, [generator()]).std()) < 1e-3


def test_an_image_has_its_noise_alone_and_in_a_batch() -> None:
    x = torch.rand(2, 3, 8, 8, generator=generator(4)) - 0.5
    both = shot_noise(x, 20.0, [generator(1), generator(2)])
    assert torch.equal(both[1:], shot_noise(x[1:], 20.0, [generator(2)]))


def test_a_known_power_is_applied_and_undone_and_not_estimated() -> None:
    to_light = Light(gain=1.0, map_size=0, gamma=2.2)
    back = Light(gain=1.0, map_size=0, gamma=1 / 2.2)
    assert not to_light.estimated
    x = torch.rand(1, 3, 6, 6, generator=generator()).mul(1.8).sub(0.9)
    phi = to_light.draw([generator()], x)
    assert to_light.free(phi) == []
    expected = 2 * ((x + 1) / 2) ** 2.2 - 1
    assert torch.allclose(to_light(x, phi), expected, atol=1e-5)
    found = back(to_light(x, phi), back.init(x, torch.ones(1)))
    assert torch.allclose(found, x, atol=1e-4)
    assert torch.allclose(to_light.lift(expected, phi), x, atol=1e-4)
    with pytest.raises(ValueError, match="gamma"):
        Light(gamma=-1.0)


def test_a_blur_between_two_powers_is_brighter_at_edges_than_one_of_stored_values() -> None:
    """Light is averaged, and the mean of light is brighter than the mean of what is stored."""
    edge = torch.full((1, 3, 16, 16), -0.9)
    edge[..., 8:] = 0.9
    blur = GaussianBlur(7, border="reflect", width=1.5)
    chain = Compose(
        [
            Light(gain=1.0, map_size=0, gamma=2.2),
            blur,
            Light(gain=1.0, map_size=0, gamma=1 / 2.2),
        ]
    )
    phi = chain.draw([generator()], edge)
    plain = blur(edge, blur.draw([generator()], edge))
    assert bool((chain(edge, phi) > plain - 1e-4).all())
    assert float((chain(edge, phi) - plain).max()) > 0.1
