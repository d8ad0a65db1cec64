import numpy as np
import pytest
import torch
from PIL import Image

from d2ir_pl import restore
from d2ir_pl.degradations import GaussianBlur
from d2ir_pl.priors import PriorError
from d2ir_pl.priors.network import NetworkPrior
from d2ir_pl.restoration import D2IR, DegradationEstimation, LatentOptimization

FAST = D2IR(DegradationEstimation(steps=2), LatentOptimization(iterations=2, ddim_steps=2))


@pytest.fixture(scope="module")
def photo():
    return np.random.default_rng(0).integers(0, 256, (20, 27, 3), dtype=np.uint8)


def test_every_kind_of_image_comes_back_as_its_kind_with_the_same_values(
    natural_small, photo, tmp_path
):
    path = tmp_path / "photo.png"
    Image.fromarray(photo).save(path)
    tensor = torch.from_numpy(photo).permute(2, 0, 1) / 255
    from_array = restore(photo, method=FAST, prior=natural_small).image
    assert from_array.dtype == np.uint8
    assert from_array.shape == photo.shape
    from_tensor = restore(tensor, method=FAST, prior=natural_small).image
    assert from_tensor.shape == tensor.shape
    assert np.abs((from_tensor * 255).round().permute(1, 2, 0).numpy() - from_array).max() == 0
    for given in (Image.fromarray(photo), path, str(path)):
        restored = restore(given, method=FAST, prior=natural_small).image
        assert isinstance(restored, Image.Image)
        assert np.array_equal(np.asarray(restored), from_array)


def test_grey_stays_grey_and_alpha_is_kept(natural_small, photo):
    grey = restore(photo[..., 0], method=FAST, prior=natural_small).image
    assert grey.shape == photo.shape[:2]
    alpha = np.concatenate([photo, photo[..., :1]], 2)
    restored = restore(Image.fromarray(alpha), method=FAST, prior=natural_small).image
    assert restored.mode == "RGBA"
    assert np.array_equal(np.asarray(restored)[..., 3], photo[..., 0])


def test_the_result_says_what_was_estimated(natural_small, photo):
    result = restore(photo, GaussianBlur(width=1.25), FAST, natural_small, sigma_y=0.1)
    assert result.parameters["width_major_px"] == pytest.approx(1.25, rel=0.01)
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
    photo, monkeypatch, settings, fast, expected
):
    asked = []
    monkeypatch.setattr(NetworkPrior, "cast", lambda self, dtype: asked.append(dtype) or self)
    monkeypatch.setattr("d2ir_pl.priors.precision.computes_in_bfloat16", lambda device: fast)
    restore(photo, method=FAST, device="cpu", **settings)
    assert asked == [expected]


def test_no_lightning_is_needed():
    import subprocess
    import sys

    code = "import d2ir_pl, sys; sys.exit('pytorch_lightning' in sys.modules)"
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
def test_ambiguous_images_are_refused(image, message):
    with pytest.raises(ValueError, match=message):
        restore(image)


def test_a_label_is_refused_where_it_has_no_effect(natural_small, photo):
    with pytest.raises(ValueError, match="label 3 comes too late"):
        restore(photo, method=FAST, prior=natural_small, label=3)
    with pytest.raises(PriorError, match="knows no classes"):
        restore(photo, method=FAST, label=3)
