"""Several degradations, one after the other."""

from collections.abc import Callable

import pytest
import torch
from photos import photo
from torch import Tensor

from d2ir_pl.degradations import (
    Compose,
    Downsampling,
    GaussianBlur,
    Grayscale,
    Jpeg,
    Light,
    Mask,
    Phi,
)
from d2ir_pl.degradations.observation import observe
from d2ir_pl.diffusion.randomness import image_generator
from d2ir_pl.estimators.periodogram import EXPONENT
from d2ir_pl.restoration.data_step import data_step


def smooth(height: int = 24, width: int = 32) -> torch.Tensor:
    rows, columns = torch.arange(height).double()[:, None], torch.arange(width).double()
    return (0.6 * torch.sin(rows / 5) * torch.cos(columns / 4)).expand(1, 3, -1, -1).clone()


def test_parts_act_in_their_order() -> None:
    blur, down = GaussianBlur(7, width=1.5), Downsampling(2)
    both = Compose([blur, down])
    x = both.frame.embed(smooth())
    phi = both.draw([image_generator(0, "a")], x)
    inner = blur(x, Phi(log_width=phi["0.log_width"]))
    assert torch.equal(both(x, phi), down(inner, Phi(none=phi["1.none"])))


def test_only_parameters_of_unknown_parts_are_free() -> None:
    both = Compose([GaussianBlur(7), Grayscale()])
    phi = both.draw([image_generator(0, "a")], smooth())
    assert set(phi) == {"0.log_width", "1.weights"}
    assert both.free(phi) == ["0.log_width"]
    assert both.estimated
    assert not Compose([GaussianBlur(7, width=1.0), Grayscale()]).free(phi)


def test_an_unknown_blur_is_read_off_what_the_later_parts_leave() -> None:
    y = torch.randn(1, 3, 96, 96, generator=torch.Generator().manual_seed(0)).cumsum(2).cumsum(3)
    y = 0.5 * y / y.abs().max()
    sigma = torch.tensor([0.02])
    alone = GaussianBlur().init(y, sigma)["log_width"]
    both = Compose([GaussianBlur(), Mask([0, 0, 1, 1])]).init(y, sigma)["0.log_width"]
    assert float((alone - both).abs()) < 0.1


def test_an_unknown_blur_is_read_through_compression_and_a_smaller_size() -> None:
    # Noise with the power law of photographs.
    frequency = torch.hypot(torch.fft.fftfreq(256)[:, None], torch.fft.rfftfreq(256)[None])
    law = frequency.clamp_min(1 / 256) ** (-EXPONENT / 2)
    noise = torch.randn(1, 3, 256, 256, generator=torch.Generator().manual_seed(0))
    clean = torch.fft.irfft2(torch.fft.rfft2(noise) * law)
    clean = (0.3 * clean / clean.std()).clamp(-1, 1)
    # Twelve seeds give 1.25 to 1.35 and 1.45 to 1.65, in steps of 0.05: compression takes for blur
    # what it removes. The bounds lie three steps beyond, and between two of them.
    for width, low, high in ((1.0, 1.075, 1.525), (1.5, 1.275, 1.825)):
        told = Compose([GaussianBlur(width=width), Downsampling(2), Jpeg(75, "4:2:0")])
        y = told(told.frame.embed(clean), told.init(clean, torch.zeros(1)))
        both = Compose([GaussianBlur(), Downsampling(2), Jpeg()])
        found = float(both.init(y, both.estimate_sigma(y))["0.log_width"].exp())
        assert low < found < high


def test_a_composed_data_step_comes_close_to_the_exact_one() -> None:
    both = Compose([GaussianBlur(7, width=1.2), Downsampling(2)])
    x = both.frame.embed(smooth())
    phi = both.draw([image_generator(0, "a")], x)
    y = both(x, phi)
    z = x + 0.2 * torch.randn(x.shape, generator=torch.Generator().manual_seed(1)).double()
    rho = torch.full((1, 1, 1, 1), 0.01, dtype=torch.float64)
    operator, residual = both.linearize(y, z, phi)

    def objective(image: torch.Tensor) -> float:
        misfit = (y - both(image, phi)).square().sum()
        return float(misfit + 0.01 * (image - z).square().sum())

    start = objective(z)
    best = objective(data_step(operator, residual, z, rho, 200)[0])
    assert objective(data_step(operator, residual, z, rho, 10)[0]) - best < 0.02 * (start - best)


def test_what_cannot_follow_is_refused() -> None:
    with pytest.raises(ValueError, match="Downsampling has made smaller: put it first"):
        Compose([Downsampling(2), GaussianBlur(7)])
    Compose([Downsampling(2), GaussianBlur(7, border="reflect")])
    with pytest.raises(ValueError, match="parts is empty"):
        Compose([])


def test_a_chain_in_a_chain_is_one_chain() -> None:
    flat = Compose([GaussianBlur(), Downsampling(2), Jpeg()])
    nested = Compose([GaussianBlur(), Compose([Downsampling(2), Jpeg()])])
    y, sigma = photo(0, 48, 48)[None], torch.tensor([0.05])
    ours, theirs = nested.init(y, sigma), flat.init(y, sigma)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def _once(noise: Tensor) -> Callable[[Tensor], Tensor]:
    """Noise that is given out for an image of its own shape."""

    def draw(like: Tensor) -> Tensor:
        assert like.shape == noise.shape
        return noise

    return draw


def test_a_sensor_adds_its_noise_after_the_optics_and_before_compression() -> None:
    light, small, jpeg = Light(gain=0.5, map_size=0), Downsampling(2, "area"), Jpeg(30)
    x = smooth(32, 48).float()
    noise = 0.1 * torch.randn(1, 3, 16, 24, generator=torch.Generator().manual_seed(0))
    sigma = torch.zeros(1)
    chain = Compose([light, small])
    phi = chain.init(x, sigma)
    seen = chain(x, phi)
    assert torch.allclose(observe(chain, x, phi, _once(noise)), (seen + noise).clamp(-1, 1))
    compressed = Compose([light, small, jpeg])
    tables = jpeg.init(x, sigma)
    expected = jpeg((seen + noise).clamp(-1, 1), tables)
    observed = observe(compressed, x, compressed.init(x, sigma), _once(noise))
    assert torch.allclose(observed, expected, atol=1e-6)
    assert torch.equal(observe(jpeg, seen, tables, _once(noise)), expected)


def test_what_a_sensor_sees_of_a_bright_image_is_white() -> None:
    light = Light(gain=1.0, map_size=0)
    x = torch.full((1, 3, 16, 16), 0.99)
    noise = torch.full_like(x, 0.5)
    y = observe(light, x, light.init(x, torch.zeros(1)), _once(noise))
    assert torch.equal(y, torch.ones_like(y))


@pytest.mark.parametrize(
    "light",
    [Light(gain=0.25, map_size=0), Light(gain=1, map_size=0, gamma=0.4545)],
    ids=["dark", "response"],
)
def test_a_part_is_told_the_noise_that_undoing_the_light_leaves(light: Light) -> None:
    told: list[Tensor] = []

    class Asked(GaussianBlur):
        def init(self, y: Tensor, sigma_y: Tensor) -> Phi:
            told.append(sigma_y)
            return super().init(y, sigma_y)

    g = [torch.Generator().manual_seed(1)]
    chain = Compose([Asked(), light])
    x = 0.9 * photo(1, 128, 128)[None]
    y = light(x, light.init(x, torch.ones(1)))
    noisy = y + 0.005 * torch.randn(y.shape, generator=g[0])
    phi = chain.init(noisy, torch.tensor([0.005]))
    own = light.init(noisy, torch.tensor([0.005]))
    measured = (light.lift(noisy, own) - light.lift(y, own)).std()
    assert float(told[0]) == pytest.approx(float(measured), rel=0.1)
    assert float(phi["0.log_width"].exp()) < 0.7  # rectangles are sharp


def test_blur_is_found_behind_darkness() -> None:
    """The noise that brightening amplifies is no detail: it would tell of a sharp photo."""
    chain = Compose([GaussianBlur(width=1.5), Light(gain=0.25, map_size=0)])
    x = photo(2, 140, 140)[None]
    x = chain.frame.embed(x)
    y = chain(x, chain.init(x, torch.ones(1)))
    y = y + 0.01 * torch.randn(y.shape, generator=torch.Generator().manual_seed(0))
    blind = Compose([GaussianBlur(), Light(map_size=0)])
    found = blind.init(y, blind.estimate_sigma(y))
    assert float(found["0.log_width"].exp()) == pytest.approx(1.5, abs=0.5)
