"""Photos from lossy files: what is seen of a blur before them, and assumed of them."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from repository import EXAMPLES

from d2ir_pl.degradations import GaussianBlur, Identity
from d2ir_pl.diagnosis.blur import blur
from d2ir_pl.diagnosis.blurred_edges import BLURRED, SHARP, blurred_by_edges
from d2ir_pl.diagnosis.codecs import CODEC_ERROR, least_noise
from d2ir_pl.diagnosis.measurements import Measurements, measure
from d2ir_pl.diagnosis.proposal import propose
from d2ir_pl.estimators.noise_level import MIN_SIGMA
from d2ir_pl.image_io import Photo, as_picture, read_image

PHOTO = EXAMPLES / "clean" / "coffee.png"


def stored(width: float, path: Path) -> Photo:
    """The example photo blurred by a Gaussian, in a file."""
    x = read_image(PHOTO).pixels[None]
    if width:
        blur = GaussianBlur(width=width, border="reflect")
        x = blur(x, blur.init(x, torch.zeros(1)))
    as_picture(x[0]).save(path, quality=80)
    return read_image(path)


@pytest.mark.parametrize("suffix", ["webp", "avif"])
@pytest.mark.parametrize("width", [1.2, 2.0])
def test_a_blur_before_a_codec_is_seen(width: float, suffix: str, tmp_path: Path) -> None:
    photo = stored(width, tmp_path / f"photo.{suffix}")
    proposal = propose(photo.pixels, codec=photo.codec)
    assert proposal.kinds == "GaussianBlur"
    (part,) = proposal.parts
    assert 0.7 * width < part["init_args"]["width"] < 1.3 * width
    # The pixels alone show a part of it: the codec has left a floor of rounding.
    assert measure(photo.pixels).width < 0.7 * width


@pytest.mark.parametrize("width", [1.0, 1.6, 2.4])
def test_a_blur_before_jpeg_is_seen_above_the_rounding(width: float, tmp_path: Path) -> None:
    photo = stored(width, tmp_path / "photo.jpg")
    seen = measure(photo.pixels, photo.tables)
    assert seen.rounded_width == pytest.approx(width, rel=0.25)
    (blurred, _) = propose(photo.pixels, photo.tables).parts
    assert blurred["init_args"]["width"] == pytest.approx(width, rel=0.15)
    # Of the mean of this width and that by the edges.
    alone = blur(replace(seen, rounded_width=0.0)).known["width"]
    told = blur(seen).known["width"]
    assert told == pytest.approx((alone * seen.rounded_width) ** 0.5, abs=0.01)


def test_a_sharp_jpeg_shows_no_blur_above_the_rounding(tmp_path: Path) -> None:
    photo = stored(0, tmp_path / "photo.jpg")
    assert measure(photo.pixels, photo.tables).rounded_width == 0
    assert measure(read_image(PHOTO).pixels).rounded_width == 0


def test_a_sharp_photo_is_not_taken_for_blurred(tmp_path: Path) -> None:
    photo = stored(0, tmp_path / "photo.webp")
    proposal = propose(photo.pixels, codec=photo.codec)
    assert proposal.kinds == "noise alone"
    assert any("WebP: compressed" in sentence for sentence in proposal.sentences)


def test_a_spectrum_that_a_codec_has_rounded_shows_no_blur_by_itself() -> None:
    """Its finest bands are empty, as after a blur, and its edges are not wide."""
    seen = measure(read_image(PHOTO).pixels)
    wide = replace(seen, width=1.0, widths=(1.0, 1.0), quality=100, jpeg_width=0.0)
    assert SHARP < blurred_by_edges(narrow := _with_edges(wide)) < BLURRED
    assert blur(narrow).config
    assert not blur(replace(narrow, codec="WebP")).config


def _with_edges(seen: Measurements) -> Measurements:
    """The same with edges that leave it open whether the photo is blurred."""
    for share in torch.linspace(0, 3, 61).tolist():
        edges = replace(seen.edges, typical=share, sharpest=share / 2)
        if 0.2 < blurred_by_edges(found := replace(seen, edges=edges)) < 0.7:
            return found
    raise AssertionError("no width of the edges leaves it open")


def test_more_noise_is_assumed_where_a_blur_is_undone() -> None:
    photo = Photo(torch.zeros(3, 8, 8), codec="WebP")
    assert least_noise(photo, GaussianBlur()) == CODEC_ERROR
    assert least_noise(photo, Identity()) == MIN_SIGMA
    assert least_noise(Photo(torch.zeros(3, 8, 8)), GaussianBlur()) == MIN_SIGMA
