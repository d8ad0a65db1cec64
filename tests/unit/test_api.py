"""The function that restores one image, whatever kind of image it is given."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from d2ir_pl import Restored, restore
from d2ir_pl.degradations import GaussianBlur, Jpeg
from d2ir_pl.priors import PriorError
from d2ir_pl.priors.network import NetworkPrior
from d2ir_pl.restoration import D2IR, DegradationEstimation, LatentOptimization

FAST = D2IR(DegradationEstimation(steps=2), LatentOptimization(iterations=2, ddim_steps=2))

Photo = NDArray[np.uint8]


@pytest.fixture(scope="module")
def photo() -> Photo:
    return np.random.default_rng(0).integers(0, 256, (20, 27, 3), dtype=np.uint8)


def test_every_kind_of_image_comes_back_as_its_kind_with_the_same_values(
    natural_small: NetworkPrior, photo: Photo, tmp_path: Path
) -> None:
    path = tmp_path / "photo.png"
    Image.fromarray(photo).save(path)
    tensor = torch.from_numpy(photo).permute(2, 0, 1) / 255
    from_array = restore(photo, method=FAST, prior=natural_small).image
    assert isinstance(from_array, np.ndarray)
    assert from_array.dtype == np.uint8
    assert from_array.shape == photo.shape
    from_tensor = restore(tensor, method=FAST, prior=natural_small).image
    assert isinstance(from_tensor, Tensor)
    assert from_tensor.shape == tensor.shape
    rounded = (from_tensor * 255).round().permute(1, 2, 0).numpy()
    assert np.abs(rounded - from_array).max() == 0
    results: list[Restored[Any]] = [
        restore(Image.fromarray(photo), method=FAST, prior=natural_small),
        restore(path, method=FAST, prior=natural_small),
        restore(str(path), method=FAST, prior=natural_small),
    ]
    for result in results:
        assert isinstance(result.image, Image.Image)
        assert np.array_equal(np.asarray(result.image), from_array)


def test_grey_stays_grey_and_alpha_is_kept(
    natural_small: NetworkPrior, photo: Photo, tmp_path: Path
) -> None:
    grey = restore(photo[..., 0], method=FAST, prior=natural_small).image
    assert isinstance(grey, np.ndarray)
    assert grey.shape == photo.shape[:2]
    with_alpha = Image.fromarray(np.concatenate([photo, photo[..., :1]], 2))
    with_alpha.save(tmp_path / "alpha.png")
    for given in (with_alpha, tmp_path / "alpha.png"):
        restored = restore(given, method=FAST, prior=natural_small).image  # type: ignore[type-var]
        assert isinstance(restored, Image.Image)
        assert restored.mode == "RGBA"
        assert np.array_equal(np.asarray(restored)[..., 3], photo[..., 0])


def test_the_result_says_what_was_estimated(natural_small: NetworkPrior, photo: Photo) -> None:
    result = restore(photo, GaussianBlur(width=1.25), FAST, natural_small, sigma_y=0.1)
    assert result.parameters["width_major_px"] == pytest.approx(1.25, rel=0.01)
    assert result.picture is not None
    assert result.picture.shape == (21, 21)
    assert float(result.restoration.sigma_y) == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("settings", "fast", "expected"),
    [
        ({}, True, torch.bfloat16),
        ({}, False, torch.float32),
        ({"precision": "bf16"}, False, torch.bfloat16),
        ({"precision": "fp16"}, True, torch.float16),
    ],
)
def test_a_prior_given_by_name_computes_in_what_suits_the_device(
    photo: Photo,
    monkeypatch: pytest.MonkeyPatch,
    settings: dict[str, Any],
    fast: bool,
    expected: torch.dtype,
) -> None:
    asked = []

    def cast(prior: NetworkPrior, dtype: torch.dtype) -> NetworkPrior:
        asked.append(dtype)
        return prior

    monkeypatch.setattr(NetworkPrior, "cast", cast)
    monkeypatch.setattr("d2ir_pl.priors.precision.computes_in_bfloat16", lambda device: fast)
    restore(photo, method=FAST, device="cpu", **settings)
    assert asked == [expected]


def test_no_lightning_is_needed() -> None:
    code = "from d2ir_pl import restore; import sys; sys.exit('pytorch_lightning' in sys.modules)"
    assert subprocess.run([sys.executable, "-W", "ignore", "-c", code]).returncode == 0


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((8, 8, 4), np.uint8), "H, W, 3"),
        (np.zeros((8, 8), np.int32), "uint8"),
        (np.full((8, 8), 255.0), "scale"),
        (torch.zeros(8, 8), "3, H, W"),
        (Image.new("P", (8, 8)), "convert"),
    ],
)
def test_ambiguous_images_are_refused(image: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        restore(image)


def test_a_label_is_refused_where_it_has_no_effect(
    natural_small: NetworkPrior, photo: Photo
) -> None:
    with pytest.raises(ValueError, match="label 3 comes too late"):
        restore(photo, method=FAST, prior=natural_small, label=3)
    with pytest.raises(PriorError, match="the prior knows none"):
        restore(photo, method=FAST, label=3)


def test_the_name_of_a_shipped_config_brings_its_method(
    natural_small: NetworkPrior, photo: Photo
) -> None:
    result = restore(photo, "denoising", prior=natural_small)
    assert result.parameters == {"kind": "Identity"}
    assert result.restoration.nfe == [1]  # PosteriorMean
    with pytest.raises(ValueError, match=r"denoisin.*did you mean denoising"):
        restore(photo, "denoisin", prior=natural_small)
    with pytest.raises(ValueError, match="sigma_y 3 must be at least 0 and below 1"):
        restore(photo, sigma_y=3, prior=natural_small)


def test_a_jpeg_file_is_restored_by_its_own_tables(
    natural_small: NetworkPrior, photo: Photo, tmp_path: Path
) -> None:
    path, exif = tmp_path / "portrait.jpg", Image.Exif()
    exif[274] = 6  # stored sideways, shown upright
    Image.fromarray(photo).save(path, quality=15, exif=exif)
    found = restore(path, Jpeg(), FAST, natural_small).parameters
    assert (found["quality"], found["orientation"]) == (15, 6)
