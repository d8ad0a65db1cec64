"""What the photo tells of a restored image, and what the prior has filled in."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from degradation_examples import every_degradation, scene
from photos import photo
from PIL import Image
from torch import Tensor

from d2ir_pl.degradations import (
    Compose,
    Degradation,
    Downsampling,
    GaussianBlur,
    Identity,
    Mask,
)
from d2ir_pl.operators.linear import colours_alike
from d2ir_pl.restoration import Problem, Provenance, Restoration, provenance, with_provenance
from d2ir_pl.restoration.provenance import details, left_over


def textured(size: int = 128, count: int = 1) -> Tensor:
    """Images whose details are equally strong everywhere."""
    drawn = torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(1))
    spectrum = torch.fft.rfft2(drawn)
    radius = torch.hypot(torch.fft.fftfreq(size)[:, None], torch.fft.rfftfreq(size))
    image: Tensor = torch.fft.irfft2(spectrum / radius.clamp_min(1 / size), s=(size, size))
    return 0.025 * image


def told(
    x: Tensor, degradation: Degradation, sigma: float | Sequence[float], y: Tensor | None = None
) -> Provenance:
    """The provenance of images that are restored perfectly."""
    sigmas = torch.tensor([sigma] * len(x) if isinstance(sigma, float) else list(sigma))
    phi = degradation.init(x, sigmas) if y is None else degradation.init(y, sigmas)
    y = degradation(degradation.frame.embed(x), phi) if y is None else y
    generators = [torch.Generator() for _ in x]
    problem = Problem.of(y, degradation, generators, sigmas)
    x0 = degradation.frame.crop(degradation.frame.embed(x))
    nothing = torch.zeros(len(x))
    counts = [0] * len(x)
    done = Restoration(x0, phi, nothing, problem.sigma_y, counts, ["steps"] * len(x))
    return provenance(problem, done)


def test_a_photo_without_noise_tells_everything() -> None:
    found = told(textured(), Identity(), 1e-3)
    assert float(found.share) < 0.01
    assert float(found.filled_in.max()) < 0.02


def test_a_hole_is_all_prior_and_the_rest_all_photo(tmp_path: Path) -> None:
    mask = np.full((160, 160), 255, np.uint8)
    mask[40:120, 40:120] = 0
    Image.fromarray(mask).save(tmp_path / "mask.png")
    x = textured(160)
    y = torch.where(torch.tensor(mask) > 0, x, -1.0)
    found = told(x, Mask(str(tmp_path / "mask.png")), 0.01, y).filled_in[0, 0]
    assert float(found[74:86, 74:86].min()) > 0.93
    assert float(found[:6].max()) < 0.05
    assert 0.2 < float(found.mean()) < 0.35  # a quarter of it is missing


@pytest.mark.parametrize("sigma", [0.02, 0.1])
def test_under_a_blur_the_shares_are_those_of_its_transfer_function(sigma: float) -> None:
    x, width = textured(), 1.5
    found = told(x, GaussianBlur(width=width), sigma)
    f = torch.fft.fftfreq(512)
    radius = torch.hypot(f[:, None], f)
    highest = torch.maximum(f[:, None].abs(), f.abs())
    passed = torch.exp(-4 * torch.pi**2 * width**2 * radius**2)  # the power that it passes
    for k, own in enumerate(details(x)):
        band = (highest > 2.0 ** -(k + 2)) & (highest <= 2.0 ** -(k + 1))
        density = float(own.square().mean()) / float(band.float().mean())
        expected = float((1 - passed[band] / (passed[band] + sigma**2 / density)).mean())
        assert float(found.by_size[0, k]) == pytest.approx(expected, abs=0.05)


def test_finer_details_and_more_noise_leave_more_to_the_prior() -> None:
    quiet, noisy = (told(textured(), GaussianBlur(width=1.0), s) for s in (0.01, 0.1))
    for found in (quiet, noisy):
        assert bool((found.by_size[0].diff() <= 0).all())
    assert bool((noisy.by_size >= quiet.by_size).all())
    assert float(noisy.share) > float(quiet.share) + 0.1


def test_what_the_model_is_known_to_miss_counts_as_noise() -> None:
    x, blur = textured(), GaussianBlur(width=1.0)
    phi = blur.init(x, torch.ones(1))
    y = blur(blur.frame.embed(x), phi)
    problem = Problem.of(y, blur, [torch.Generator()], torch.full((1,), 0.02))
    done = Restoration(x, phi, torch.zeros(1), problem.sigma_y, [0], ["steps"])
    unsure = Restoration(
        x, phi, torch.zeros(1), problem.sigma_y, [0], ["steps"], model_error=torch.full((1,), 0.1)
    )
    assert float(provenance(problem, unsure).share) > float(provenance(problem, done).share) + 0.05


def test_an_enlarged_photo_has_no_details_of_its_own_below_its_pixels() -> None:
    x = textured()
    y = torch.nn.functional.interpolate(x, scale_factor=0.25, mode="bicubic", antialias=True)
    found = told(x, Downsampling(4), 0.01, y).by_size[0]
    assert float(found[0]) > 0.98
    assert float(found[3]) < 0.1


@pytest.mark.parametrize("side", [20, 40])
def test_a_small_hole_is_prior_where_it_is_and_nowhere_else(side: int) -> None:
    x = textured(160) / 2
    x = x + 0.3 * torch.linspace(-1, 1, 160)
    hole = torch.zeros(x.shape[-2:], dtype=torch.bool)
    hole[60 : 60 + side, 60 : 60 + side] = True
    found = told(x, Mask([60, 60, side, side]), 0.003, torch.where(hole, -1.0, x)).filled_in[0, 0]
    inner = found[60 + side // 4 : 60 + 3 * side // 4, 60 + side // 4 : 60 + 3 * side // 4]
    assert float(inner.min()) > 0.6
    assert float(inner.mean()) > 0.85
    assert float(found[60 - 12 : 60 - 6, 60 : 60 + side].mean()) < 0.1
    assert float(found[~hole].mean()) < 0.03


@pytest.mark.parametrize("scale", [1.0, 2.0])
def test_what_is_left_over_is_one_at_each_size_where_it_is_the_noise(scale: float) -> None:
    x = textured(160, 2)
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(3))
    sigma = torch.tensor([0.05, 0.2])
    y = x + scale * sigma.view(2, 1, 1, 1) * noise
    problem = Problem.of(y, Identity(), [torch.Generator() for _ in x], sigma)
    done = problem.result(x, Identity().init(y, sigma), nfe=0, stopped_by="steps", losses={})
    found = left_over(problem, done)
    torch.testing.assert_close(found, torch.full((2, 4), scale), rtol=0.1, atol=0)


def test_what_is_left_over_of_one_size_is_told_of_that_size() -> None:
    x = textured(160)
    wave = torch.cos(2 * torch.pi * torch.arange(160) * 3 / 16).expand(1, 3, 160, 160)
    sigma = torch.tensor([0.05])
    problem = Problem.of(x + 0.1 * wave, Identity(), [torch.Generator()], sigma)
    done = problem.result(x, Identity().init(x, sigma), nfe=0, stopped_by="steps", losses={})
    found = left_over(problem, done)[0]
    assert float(found[1]) > 2
    assert float(found[[0, 2, 3]].max()) < 0.01


def test_sizes_that_a_photo_does_not_have_are_left_out_of_the_record() -> None:
    x = textured(8)
    problem = Problem.of(x, Identity(), [torch.Generator()], torch.tensor([0.05]))
    phi = Identity().init(x, problem.sigma_y)
    done = problem.result(x, phi, nfe=0, stopped_by="steps", losses={})
    numbers = provenance(problem, done).numbers()
    assert len(numbers["residual_by_size"]) == 3
    assert len(numbers["filled_in_by_size"]) == 4


def test_images_are_independent() -> None:
    x = torch.cat([textured(64), photo(3, 64, 64)[None]])
    together = told(x, Identity(), [0.02, 0.2])
    for b, sigma in enumerate((0.02, 0.2)):
        alone = told(x[b : b + 1], Identity(), sigma)
        torch.testing.assert_close(together.filled_in[b : b + 1], alone.filled_in)
        torch.testing.assert_close(together.share[b : b + 1], alone.share)
    joined = Provenance.join([together.each(lambda v: v[:1]), together.each(lambda v: v[1:])])
    assert torch.equal(joined.filled_in, together.filled_in)


@every_degradation
def test_every_degradation_has_shares(degradation: Degradation) -> None:
    y = scene(degradation, dtype=torch.float32)[3]
    generators = [torch.Generator() for _ in y]
    problem = Problem.of(y, degradation, generators, torch.full((len(y),), 0.05))
    phi = problem.init()
    x = problem.lift(phi)
    done = problem.result(x, phi, nfe=0, stopped_by="steps", losses={})
    found = with_provenance(problem, done).provenance
    assert found is not None
    assert found.filled_in.shape == (len(y), 1, *done.x0.shape[-2:])
    for values in (found.filled_in, found.by_size, found.share):
        assert bool(((values >= 0) & (values <= 1 + 1e-5)).all())


def test_a_share_of_a_restoration_has_that_share_filled_in() -> None:
    found = told(textured(), GaussianBlur(width=1.0), 0.05)
    half = torch.zeros_like(found.filled_in)
    half[..., :64] = 1
    kept = found.of_share(half)
    assert float(kept.filled_in[..., 64:].max()) == 0
    assert float(kept.share) == pytest.approx(float(found.share) / 2, rel=0.2)


def test_where_it_cannot_be_computed_the_restoration_stays() -> None:
    x = textured(32)
    problem = Problem.of(x, Identity(), [torch.Generator()], torch.full((1,), 0.1))
    done = problem.result(x, problem.init(), nfe=0, stopped_by="steps", losses={})
    broken = Restoration(x[:, :, :5], done.phi, done.residual, done.sigma_y, [0], ["steps"])
    assert with_provenance(problem, broken) is broken


def test_a_part_of_a_photo_has_all_that_is_filled_in_of_the_whole() -> None:
    part = told(textured(32), GaussianBlur(width=1.0), 0.05)
    whole = part.within(torch.zeros(1, 1, 64, 64), 8, 16)
    assert torch.equal(whole.filled_in[..., 8:40, 16:48], part.filled_in)
    assert float(whole.filled_in.sum()) == pytest.approx(float(part.filled_in.sum()))
    assert float(whole.share) == pytest.approx(float(part.share) / 4)


@every_degradation
def test_operators_that_treat_colours_alike_do_so(degradation: Degradation) -> None:
    _, x, phi, y = scene(degradation)
    operator = degradation.linearize(y, x, phi)[0]
    if not colours_alike(operator):
        pytest.skip("it may do something else to each colour")
    seen = operator.forward(x)
    back = operator.adjoint(seen)
    for c in range(3):
        colour = slice(c, c + 1)
        assert torch.allclose(operator.forward(x[:, colour]), seen[:, colour])
        assert torch.allclose(operator.adjoint(seen[:, colour]), back[:, colour])


def test_blurs_masks_and_their_chains_treat_colours_alike() -> None:
    for degradation in (GaussianBlur(5), Mask([3, 5, 9, 11]), Identity()):
        for family in (degradation, Compose([degradation, Mask([3, 5, 9, 11])])):
            _, x, phi, y = scene(family)
            assert colours_alike(family.linearize(y, x, phi)[0])
