"""What is assumed of the error of lossy files that tell their step."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from repository import EXAMPLES

from d2ir_pl import restore
from d2ir_pl.degradations import GaussianBlur, Identity, MotionBlur
from d2ir_pl.diagnosis.codecs import CODEC_ERROR, codec_error, least_noise
from d2ir_pl.diagnosis.proposal import propose
from d2ir_pl.estimators.noise_level import MIN_SIGMA
from d2ir_pl.image_io import Photo, as_picture, read_image
from d2ir_pl.priors import NetworkPrior
from d2ir_pl.results.metrics import psnr

WIDTH = 1.6


def stored(path: Path, quality: int, side: int = 64) -> torch.Tensor:
    """A blurred part of the example photo in a file; `(1, 3, H, W)`, what it was before."""
    x = read_image(EXAMPLES / "clean" / "coffee.png").pixels[None, :, 32 : 32 + side, 32:96]
    blur = GaussianBlur(width=WIDTH, border="reflect")
    as_picture(blur(x, blur.init(x, torch.zeros(1)))[0]).save(path, quality=quality)
    return x


def test_the_error_grows_with_the_step_up_to_that_of_unknown_files() -> None:
    found = [codec_error(step) for step in (0.6, 2.0, 6.0, 11.0, 12.0)]
    assert found == sorted(found)
    assert found[0] == found[1] < CODEC_ERROR
    assert codec_error(50.0) == codec_error(None) == CODEC_ERROR


def test_the_error_of_its_step_is_assumed_of_a_photo() -> None:
    photo = Photo(torch.zeros(3, 8, 8), codec="HEIC", step=2.0)
    assert least_noise(photo, GaussianBlur()) == codec_error(2.0) < CODEC_ERROR
    assert least_noise(photo, MotionBlur()) == CODEC_ERROR
    assert least_noise(photo, Identity()) == MIN_SIGMA
    assert least_noise(replace(photo, codec=""), GaussianBlur()) == MIN_SIGMA


def test_the_sentence_tells_the_step(tmp_path: Path) -> None:
    stored(path := tmp_path / "photo.webp", 90)
    photo = read_image(path)
    assert photo.step is not None

    def sentence(step: float | None) -> str:
        found = propose(photo.pixels, codec=photo.codec, step=step).sentences
        return next(one for one in found if "WebP" in one)

    error = f"an error of at least {codec_error(photo.step) / 2:.3f} of the range"
    assert f"a quantisation step of {photo.step:.1f} grey levels; {error}" in sentence(photo.step)
    assert "it is unknown how much; an error of at least 0.030" in sentence(None)


@pytest.mark.parametrize("quality", [95])
def test_a_blurred_photo_of_high_quality_gains_more(
    quality: int, natural_small: NetworkPrior, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = stored(path := tmp_path / "photo.webp", quality)
    y = read_image(path).pixels[None]

    def gain() -> float:
        restored = restore(path, "blind_deblur", prior=natural_small).restoration.x0
        return float(psnr(restored, x) - psnr(y, x))

    told = gain()
    monkeypatch.setattr("d2ir_pl.batches.observation.least_noise", lambda *_: CODEC_ERROR)
    assert told > gain() + 0.1
