"""The function that restores images, whatever kind of image it is given."""

import io
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from shipped import CONFIGS, contents
from torch import Tensor

from benchmarks.pretended_device import can_pretend, pretended_gpu
from d2ir_pl import restore
from d2ir_pl.api.task import Task
from d2ir_pl.degradations import GaussianBlur, Identity, Jpeg, Phi
from d2ir_pl.errors import ImageError, OutputError, RestorationError
from d2ir_pl.priors import PriorError
from d2ir_pl.priors.network import NetworkPrior
from d2ir_pl.restoration import D2IR, DegradationEstimation, LatentOptimization, PosteriorMean

FAST = D2IR(DegradationEstimation(steps=2), LatentOptimization(iterations=2, ddim_steps=2))

Photo = NDArray[np.uint8]


@pytest.fixture(scope="module")
def photo() -> Photo:
    return np.random.default_rng(0).integers(0, 256, (20, 27, 3), dtype=np.uint8)


def test_every_kind_of_image_comes_back_as_its_kind_with_the_same_values(
    natural_small: NetworkPrior, photo: Photo
) -> None:
    from_array = restore(photo, method=FAST, prior=natural_small).image
    assert isinstance(from_array, np.ndarray)
    assert from_array.dtype == np.uint8
    assert from_array.shape == photo.shape
    given: list[Any] = [
        torch.from_numpy(photo).permute(2, 0, 1) / 255,
        torch.from_numpy(photo).permute(2, 0, 1),
        (photo / 255).astype(np.float32),
        photo.astype(np.uint16) * 257,
        Image.fromarray(photo),
    ]
    for image, result in zip(given, restore(given, method=FAST, prior=natural_small), strict=True):
        restored = result.image
        assert isinstance(restored, type(image))
        values = np.asarray(restored, np.float64)
        values = values.transpose(1, 2, 0) if isinstance(image, Tensor) else values
        values *= 255 / {np.float32: 1, np.uint16: 65535}.get(np.asarray(image).dtype.type, 255)
        assert np.abs(values - from_array).max() < 0.51
        if not isinstance(image, Image.Image):
            assert restored.dtype == image.dtype
            assert restored.shape == image.shape


def test_grey_stays_grey_and_alpha_is_kept(
    natural_small: NetworkPrior, photo: Photo, tmp_path: Path
) -> None:
    alpha = np.concatenate([photo, photo[..., :1]], 2)
    Image.fromarray(alpha).save(tmp_path / "alpha.png")
    tensor = torch.from_numpy(photo[..., 0]) / 255
    cases: list[tuple[Any, tuple[int, ...]]] = [
        (photo[..., 0], photo.shape[:2]),
        (photo[..., :1], (*photo.shape[:2], 1)),
        (alpha[..., 2:], (*photo.shape[:2], 2)),
        (alpha, alpha.shape),
        (tensor[None], (1, *photo.shape[:2])),
        (Image.fromarray(alpha), alpha.shape),
        (Image.fromarray(photo).convert("L"), photo.shape[:2]),
        (tmp_path / "alpha.png", alpha.shape),
    ]
    for given, shape in cases:
        restored = restore(given, method=FAST, prior=natural_small).image
        assert np.asarray(restored).shape == shape
        if shape[-1] in (2, 4):
            assert np.array_equal(np.asarray(restored)[..., -1], photo[..., 0])


def test_a_grey_image_that_is_given_colours_has_three_channels(
    natural_small: NetworkPrior, photo: Photo
) -> None:
    method = D2IR(DegradationEstimation(steps=1), stages="estimation")
    result = restore(photo[..., 0], "colorization", method, natural_small)
    assert result.image.shape == photo.shape


def test_a_result_in_a_list_is_one_short_line(natural_small: NetworkPrior, photo: Photo) -> None:
    results = restore([photo, photo], method=FAST, prior=natural_small)
    for result in results:
        assert re.fullmatch(r"<Restored: 20x27 pixels, kind GaussianBlur, .*>", repr(result))
        assert f"width_major_px {result.parameters['width_major_px']}" in repr(result)
        assert len(repr(result)) < 200


def test_a_list_comes_back_in_its_order_as_if_each_were_alone(
    natural_small: NetworkPrior, photo: Photo, tmp_path: Path
) -> None:
    Image.fromarray(photo).save(tmp_path / "a.png")
    Image.fromarray(photo[:16, :18]).save(tmp_path / "b.png")
    images: list[Any] = [tmp_path / "b.png", photo, str(tmp_path / "a.png"), photo[:16, :18, 0]]
    together = restore(images, method=FAST, prior=natural_small)
    for image, result in zip(images, together, strict=True):
        alone = restore(image, method=FAST, prior=natural_small)
        assert torch.equal(result.restoration.x0, alone.restoration.x0)
        assert result.parameters == alone.parameters
    # The noise of a file depends on its name.
    assert not torch.equal(together[1].restoration.x0, together[2].restoration.x0)
    again = restore(iter(images[:2]), method=FAST, prior=natural_small)
    assert torch.equal(again[1].restoration.x0, together[1].restoration.x0)


@pytest.mark.parametrize("batch_size", [1, 2])
def test_a_batch_is_a_list_of_images(
    natural_small: NetworkPrior, photo: Photo, batch_size: int
) -> None:
    steps: list[tuple[int, ...]] = []
    tensor = torch.from_numpy(photo).permute(2, 0, 1) / 255
    batch = torch.stack([tensor, tensor.flip(-1), tensor.flip(-2)])
    results = restore(
        batch,
        method=FAST,
        prior=natural_small,
        batch_size=batch_size,
        observer=lambda step: steps.append(tuple(step.images)),
    )
    expected = {1: [(0,), (1,), (2,)], 2: [(0, 1), (2,)]}
    assert sorted(set(steps)) == expected[batch_size]
    assert torch.stack([result.image for result in results]).shape == batch.shape
    for image, result in zip(batch, results, strict=True):
        alone = restore(image, method=FAST, prior=natural_small).image
        assert torch.allclose(result.image, alone, atol=1e-4)
    arrays = restore(np.stack([photo, photo]), "denoising", prior=natural_small)
    assert [result.image.shape for result in arrays] == [photo.shape, photo.shape]


def test_the_prior_of_a_list_is_loaded_once(
    natural_small: NetworkPrior, photo: Photo, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads = []

    def load(*args: object, **options: object) -> NetworkPrior:
        loads.append(args)
        return natural_small

    monkeypatch.setattr("d2ir_pl.api.task.load_prior", load)
    restore([photo, photo], "denoising", precision="fp32")
    assert len(loads) == 1


def test_the_modes_of_the_caller_change_nothing(natural_small: NetworkPrior, photo: Photo) -> None:
    usual = restore(photo, method=FAST, prior=natural_small).image
    with torch.inference_mode():
        assert np.array_equal(restore(photo, method=FAST, prior=natural_small).image, usual)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert np.array_equal(restore(photo, method=FAST, prior=natural_small).image, usual)


# ---- What goes wrong ----


def test_every_file_that_cannot_be_read_is_named_before_any_is_restored(
    natural_small: NetworkPrior, photo: Photo, tmp_path: Path
) -> None:
    (tmp_path / "text.png").write_text("no image")
    Image.fromarray(photo).save(tmp_path / "a.png")
    images = [tmp_path / "a.png", tmp_path / "text.png", photo.astype(np.int64), "missing.png"]
    steps: list[object] = []
    with pytest.raises(ImageError) as caught:
        restore(images, prior=natural_small, observer=steps.append)
    message = str(caught.value)
    assert message.startswith("3 of 4 images cannot be read, and none was restored: ")
    for part in ("text.png is not a PNG", "image 2: an array must be of uint8", "missing.png"):
        assert part in message
    assert not steps
    with pytest.raises(ImageError, match=r"^missing\.png cannot be read"):
        restore("missing.png")


class Refusing(Identity):
    """Refuses dark images, and fails on bright ones."""

    def init(self, y: Tensor, sigma_y: Tensor) -> Phi:
        if bool((y.mean((1, 2, 3)) < -0.9).any()):
            raise ValueError("nothing of it is visible")
        if bool((y.mean((1, 2, 3)) > 0.9).any()):
            raise RuntimeError("shapes do not match")
        return super().init(y, sigma_y)


def test_an_image_that_cannot_be_restored_costs_no_other(
    natural_small: NetworkPrior, photo: Photo
) -> None:
    images = [np.zeros_like(photo), photo, np.full_like(photo, 255)]
    with pytest.raises(RestorationError) as caught:
        restore(images, Refusing(), PosteriorMean(), natural_small)
    error = caught.value
    assert str(error).startswith(
        "2 of 3 images are not restored: image 0: nothing of it is visible; image 2: a computation "
    )
    assert [result is None for result in error.restored] == [True, False, True]
    # The place of the fault is shown, for whoever writes a degradation.
    assert "in init" in "".join(error.__notes__)
    with pytest.raises(RestorationError, match=r"^the image: nothing of it is visible"):
        restore(images[0], Refusing(), PosteriorMean(), natural_small)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        ([], "no image is given"),
        (torch.zeros(0, 3, 8, 8), "no image is given"),
        (b"bytes", r"not bytes: open it with PIL.Image.open\(io.BytesIO"),
        (io.BytesIO(), r"not BytesIO: open it with PIL.Image.open\("),
        (None, "not NoneType"),
        ([[0.5]], "image 0: an image must be a path|an image must be a path.*not list"),
        (".", r"\. is a folder: give the files in it"),
        ("*.png", r"does not exist: for a pattern give glob.glob\('\*.png'\)"),
    ],
)
def test_what_is_no_image_is_refused_with_a_remedy(image: Any, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        restore(image)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"degradation": GaussianBlur}, "not the class GaussianBlur: call it"),
        ({"degradation": D2IR()}, "degradation must be the name of a config .* not D2IR"),
        ({"method": "DPS"}, "not 'DPS': from d2ir_pl.restoration.baselines import DPS, and give"),
        ({"method": "none"}, r"method must be a method such as D2IR\(\), not 'none'$"),
        ({"degradation": "Jpeg"}, "config Jpeg .*; or from d2ir_pl.degradations import Jpeg, and"),
        ({"strength": "half"}, "strength 'half' must be a number at least 0 and at most 1"),
        ({"sigma_y": "low"}, "sigma_y 'low' must be a number at least 0 and below 1"),
        ({"seed": "x"}, "seed 'x' must be a whole number"),
        ({"num_samples": 2.5}, "num_samples 2.5 must be a whole number"),
        ({"batch_size": True}, "batch_size True must be a whole number"),
        ({"device": 3.5}, "device 3.5 must be a name such as 'cpu'"),
        ({"region": 3}, "region 3 must be a path, or a list"),
        ({"region": ["a", 1, 2, 3]}, r"region \['a', 1, 2, 3\] must be a path, or a list"),
        ({"start": 3}, "start 3 must be the path of the .json"),
        ({"observer": 3}, "observer must be a function"),
        ({"second_opinion": "x"}, "second_opinion 'x' must be True, False or None"),
        ({"prior": 3}, "prior must be a name, a path or a loaded prior, not int"),
        ({"degradation": "low_ligth"}, "did you mean low_light"),
        ({"degradation": "hdr"}, "exposures .* put them into a folder"),
        ({"degradation": "train_prior_natural"}, "no degradation and no method"),
        ({"batch_size": 0}, "batch_size 0 must be at least 1"),
        ({"num_samples": 0}, "num_samples 0 must be at least 1"),
    ],
)
def test_a_wrong_argument_is_named(photo: Photo, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        restore(photo, **arguments)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("photo.gif", r"photo.gif must end in .png, .*: name it photo.png"),
        ("missing/photo.png", "photo.png cannot be written .* choose a folder that exists"),
    ],
)
def test_a_file_that_cannot_be_written_is_one_sentence(
    natural_small: NetworkPrior, photo: Photo, tmp_path: Path, name: str, message: str
) -> None:
    result = restore(photo, "denoising", prior=natural_small)
    with pytest.raises(OutputError, match=message):
        result.save(tmp_path / name)


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
    assert result.restoration.nfe == [1]  # a photo so small shows no spectrum of its noise
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


@pytest.mark.parametrize("name", [name for name in CONFIGS if name != "hdr"])
def test_every_shipped_config_is_taken_by_its_name(name: str) -> None:
    model = contents(name)["model"]
    known = {"prior", "degradation", "method", "num_samples", "second_opinion"}
    assert model.keys() <= known
    assert model.get("prior", "natural-small") == "natural-small"
    task = Task.of(name, None, None)
    assert task.second_opinion == model.get("second_opinion", name == "auto")
    if name == "auto":
        assert (task.degradation, task.method) == (None, None)
        return
    for key, default in (("degradation", GaussianBlur), ("method", D2IR)):
        path = model.get(key, {}).get("class_path", default.__name__)
        assert type(getattr(task, key)).__name__ == path.rpartition(".")[2]
    assert task.num_samples == model.get("num_samples", 1)
    assert Task.of(name, None, 3).num_samples == 3


# ---- Devices ----


@pytest.mark.skipif(torch.cuda.is_available(), reason="it is there")
def test_a_device_that_is_not_there_is_refused_with_a_sentence(photo: Photo) -> None:
    devices: list[str | int] = [0, "cuda:7", 99]
    for device in devices:
        with pytest.raises(ValueError, match="is a GPU that is not there"):
            restore(photo, device=device)
    with pytest.raises(ValueError, match="unknown: use 'cpu'"):
        restore(photo, device="gpu")


@pytest.mark.skipif(not can_pretend(), reason="no GPU can be pretended with this PyTorch")
def test_a_gpu_may_be_given_by_its_number(photo: Photo) -> None:
    arguments: Any = {"degradation": Identity(), "method": PosteriorMean(), "precision": "fp32"}
    expected = restore(photo, device="cpu", **arguments)
    with pretended_gpu() as gpu:
        found = restore(photo, device=0, **arguments)
        assert gpu.count.kernels > 100
    assert int(np.abs(found.image.astype(int) - expected.image.astype(int)).max()) <= 1
