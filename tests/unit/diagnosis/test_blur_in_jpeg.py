"""The blur of a photo that was compressed by JPEG: its width, its direction and its kind."""

from dataclasses import replace
from functools import cache

import pytest
import torch
from repository import EXAMPLES
from torch import Tensor

from d2ir_pl.degradations import GaussianBlur, Jpeg
from d2ir_pl.diagnosis.blur import GRAINY, blur, compared
from d2ir_pl.diagnosis.blur_kinds import kinds_of_blur
from d2ir_pl.diagnosis.blurred_edges import blurred_by_edges
from d2ir_pl.diagnosis.codecs import EARLIER_ERROR, EARLIER_ERROR_IN_NOISE
from d2ir_pl.diagnosis.measurements import Measurements, measure
from d2ir_pl.diagnosis.proposal import explain
from d2ir_pl.estimators.edge_width import EdgeWidths
from d2ir_pl.estimators.noise_spectrum import RADII, NoiseSpectrum
from d2ir_pl.image_io import read_image


def compressed(x: Tensor, width: float, quality: int) -> Tensor:
    """A photo `(1, 3, H, W)` after a round Gaussian and JPEG."""
    gaussian, jpeg = GaussianBlur(width=width, border="reflect"), Jpeg(quality, "4:2:0")
    for part in (gaussian, jpeg):
        x = part(x, part.init(x, torch.zeros(1)))
    return ((x[0].clamp(-1, 1) + 1) * 127.5).round() / 127.5 - 1


def silhouettes() -> Tensor:
    """Sharp dark shapes before a smooth sky, whose spectrum falls as that of a blurred photo."""
    v, u = torch.meshgrid(torch.linspace(0, 1, 128), torch.linspace(0, 1, 128), indexing="ij")
    sky = -0.2 + 0.5 * v + 0.2 * torch.sin(3 * u)
    dark = ((u - 0.4).abs() < 0.08) | ((v + 0.3 * u - 0.9).abs() < 0.05)
    dark = dark | ((u - 0.8) ** 2 + (v - 0.3) ** 2 < 0.01)
    return torch.where(dark, -0.9, sky).expand(1, 3, -1, -1).contiguous()


@cache
def coffee(width: float, quality: int) -> Measurements:
    photo = read_image(EXAMPLES / "clean" / "coffee.png").pixels[None]
    return measure(compressed(photo, width, quality))


@pytest.mark.parametrize("quality", [85, 93])
@pytest.mark.parametrize("width", [1.6, 2.5])
def test_edges_limit_the_width_that_is_undone(width: float, quality: int) -> None:
    seen = measure(compressed(silhouettes(), width, quality))
    assert seen.jpeg_width > 1.1 * width, "what its coefficients show, of a photo so smooth"
    assert 0.75 * width < blur(seen).known["width"] < 1.2 * width


@pytest.mark.parametrize("quality", [85, 93, 97])
@pytest.mark.parametrize("width", [1.2, 2.0])
def test_a_round_blur_stays_round_and_narrow_enough(width: float, quality: int) -> None:
    found = blur(coffee(width, quality))
    assert found.config == "blind_deblur"
    assert 0.75 * width < found.known["width"] < 1.15 * width


def test_only_good_jpegs_show_a_direction() -> None:
    seen = replace(coffee(1.2, 97), widths=(2.0, 1.0), width=1.4)
    assert blur(seen).config == "blind_deblur_anisotropic"
    assert blur(replace(seen, quality=90)).config == "blind_deblur"
    assert blur(replace(seen, widths=(2.8, 0.3))).config == "blind_deblur", "an artefact of zeros"


def shaken() -> Measurements:
    """A compressed photo whose edges are those of a shake."""
    edges = EdgeWidths(0.8, 1.2, 0.9, 2.0, 3.4, 2.4, 300)
    seen = replace(coffee(1.2, 85), edges=edges, jpeg_width=0.6, jpeg_noise=1.0)
    soft, defocus, shake = kinds_of_blur(seen)
    assert shake > max(soft, defocus)
    assert blurred_by_edges(seen) > 0.95
    return seen


def test_coefficients_of_a_wide_blur_speak_against_a_shake() -> None:
    assert blur(shaken()).config == "blind_deblur_kernel"
    assert blur(replace(shaken(), jpeg_width=1.3)).config == "blind_deblur"


def test_a_doubtful_gaussian_is_compared_with_other_shapes() -> None:
    doubtful = replace(shaken(), jpeg_width=1.3)
    found = compared(doubtful, blur(doubtful))
    assert found.config == "blind_deblur_kernel"
    assert found.known == blur(doubtful).known, "with the width of the Gaussian"
    loud = replace(doubtful, jpeg_noise=8.0)
    assert compared(loud, blur(loud)) == blur(loud)
    clear = coffee(1.2, 97)
    assert kinds_of_blur(clear)[0] > 0.6
    assert compared(clear, blur(clear)) == blur(clear)


def test_a_shake_that_coarse_noise_hides_is_looked_for() -> None:
    """Compression makes noise coarse, as cameras do, and no spectrum shows a blur below it."""
    fall = torch.exp(-0.3 * torch.arange(RADII)) * torch.tensor([[1.0], [0.25], [0.25]])
    coarse = replace(shaken(), width=0.5, noise=NoiseSpectrum(0.03**2 * fall))
    assert coarse.noise is not None
    assert coarse.noise.coloured
    assert explain(coarse).kinds == "Blur + Jpeg"
    shape = coarse.shape
    soft = replace(
        coarse,
        shape=replace(shape, misfit=-1.5, blur=3.0),
        edges=EdgeWidths(0.8, 1.0, 0.9, 0.9, 1.1, 1.0, 300),
    )
    assert kinds_of_blur(soft)[0] > 0.5
    assert explain(soft).kinds == "noise alone"


def test_no_shake_is_looked_for_in_strong_noise() -> None:
    """Edges in noise look like those of shakes, and no kernel is found there."""
    hidden = replace(shaken(), jpeg_noise=8.0, width=0.3)
    assert blur(hidden).config == "blind_deblur", "as wide as its edges show"
    edges = EdgeWidths(0.4, 0.8, 0.5, 1.0, 1.8, 1.0, 300)
    assert 0.85 < blurred_by_edges(unsure := replace(hidden, edges=edges)) < 0.95
    assert blur(unsure).told == GRAINY


def test_a_blur_before_two_compressions_is_undone_with_more_noise() -> None:
    """What the first one has rounded is no coefficient of the second."""
    once = coffee(2.5, 90)
    twice = replace(once, earlier=True)
    assert not once.earlier
    assert explain(once).kinds == explain(twice).kinds == "GaussianBlur + Jpeg"
    assert "noise" not in explain(once).parts[1].get("init_args", {})
    assert explain(twice).parts[1]["init_args"]["noise"] == EARLIER_ERROR
    noisy = replace(twice, jpeg_noise=4.0)
    assert explain(noisy).parts[1]["init_args"]["noise"] == EARLIER_ERROR_IN_NOISE
    assert any("compressed before" in sentence for sentence in explain(twice).sentences)
    sharp = coffee(0.01, 90)
    assert explain(replace(sharp, earlier=True)).overrides == explain(sharp).overrides
    shaken = replace(twice, shape=replace(twice.shape, elongated=-0.5))
    assert explain(shaken).kinds == "GaussianBlur + Jpeg", "no kernel is looked for"
