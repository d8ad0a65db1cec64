"""Photos from files of WebP and AVIF: what is seen of a blur before them, and assumed of them."""

from pathlib import Path

import pytest
import torch
from repository import EXAMPLES

from d2ir_pl.degradations import GaussianBlur, Identity
from d2ir_pl.diagnosis.codecs import CODEC_ERROR, least_noise
from d2ir_pl.diagnosis.measurements import measure
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


def test_a_sharp_photo_is_not_taken_for_blurred(tmp_path: Path) -> None:
    photo = stored(0, tmp_path / "photo.webp")
    proposal = propose(photo.pixels, codec=photo.codec)
    assert proposal.kinds == "noise alone"
    assert any("WebP: compressed" in sentence for sentence in proposal.sentences)


def test_more_noise_is_assumed_where_a_blur_is_undone() -> None:
    photo = Photo(torch.zeros(3, 8, 8), codec="WebP")
    assert least_noise(photo, GaussianBlur()) == CODEC_ERROR
    assert least_noise(photo, Identity()) == MIN_SIGMA
    assert least_noise(Photo(torch.zeros(3, 8, 8)), GaussianBlur()) == MIN_SIGMA
