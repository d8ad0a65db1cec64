"""Scores without a reference: what changes them, and what does not."""

import os
import sys
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
import torch
from photos import photo, save_all
from program import predict, table
from torch import Tensor

from d2ir_pl.cli import main
from d2ir_pl.degradations import GaussianBlur
from d2ir_pl.image_io import read_image
from d2ir_pl.results.blind_metrics import brisque, sharpness


def blurred(x: Tensor, width: float) -> Tensor:
    family = GaussianBlur(21, border="reflect", width=width)
    y: Tensor = family(x, family.init(x, torch.ones(len(x))))
    return y


def scene() -> Tensor:
    return photo(0, 64, 64)[None]


def test_blur_lowers_the_sharpness_and_more_blur_more() -> None:
    values = [float(sharpness(blurred(scene(), width))) for width in (0.4, 0.8, 1.5, 3.0)]
    assert values == sorted(values, reverse=True)
    assert 0 <= values[-1] < values[0] - 0.1 < 1


def test_brightness_and_contrast_do_not_change_it() -> None:
    x = 0.5 * scene()
    assert float(sharpness(0.6 * x + 0.2)) == pytest.approx(float(sharpness(x)), abs=1e-4)


def test_a_blur_along_one_direction_is_seen() -> None:
    x = scene()
    across = torch.nn.functional.avg_pool2d(x, (1, 9), stride=1, padding=(0, 4))
    assert float(sharpness(across)) < float(sharpness(x)) - 0.05
    assert float(sharpness(across)) == pytest.approx(float(sharpness(across.mT)), abs=1e-5)


def test_it_is_that_of_the_library_of_images_up_to_its_gradient() -> None:
    """scikit-image takes Sobel's gradients in place of differences."""
    measure = pytest.importorskip("skimage.measure")
    ours, theirs = [], []
    for width in (0.5, 1.0, 2.0, 4.0):
        x = blurred(scene(), width)
        grey = ((x[0] + 1) / 2).permute(1, 2, 0).numpy()
        ours.append(1 - float(sharpness(x)))
        theirs.append(float(measure.blur_effect(grey, h_size=9, channel_axis=-1)))
    assert ours == pytest.approx(theirs, abs=0.15)


def test_flat_and_tiny_images_have_no_sharpness() -> None:
    assert float(sharpness(torch.zeros(1, 3, 32, 32))) == 0
    assert bool(sharpness(torch.zeros(2, 3, 8, 40)).isnan().all())
    assert brisque(torch.zeros(1, 3, 16, 16)) is None


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, float]]:
    """A library in place of PIQ, whose score is the mean; the extremes of what it was asked."""
    seen: list[tuple[float, float]] = []

    def judged(x: Tensor, data_range: float, reduction: str) -> Tensor:
        assert (data_range, reduction) == (1.0, "none")
        seen.append((float(x.min()), float(x.max())))
        return 100 * x.mean((1, 2, 3))[:, None]

    monkeypatch.setitem(sys.modules, "piq", SimpleNamespace(brisque=judged))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    return seen


def weights_fetched(folder: Path) -> None:
    (folder / "hub" / "checkpoints").mkdir(parents=True)
    (folder / "hub" / "checkpoints" / "brisque_svm_weights.pt").touch()


def test_brisque_is_asked_for_intensities_where_its_weights_are(
    tmp_path: Path, stand_in: list[tuple[float, float]], monkeypatch: pytest.MonkeyPatch
) -> None:
    x = torch.linspace(-1.2, 1, 2 * 3 * 32 * 32).view(2, 3, 32, 32)
    assert brisque(x) is None  # nothing is downloaded
    with monkeypatch.context() as others:
        others.setattr(os, "stat", Mock(side_effect=PermissionError))
        assert brisque(x) is None  # the cache is someone else's
    weights_fetched(tmp_path)
    values = brisque(x)
    assert values is not None
    assert values.shape == (2,)
    assert stand_in == [(0.0, 1.0)]


@pytest.mark.usefixtures("stand_in")
def test_its_number_is_in_the_table_the_page_and_the_comparison(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights_fetched(tmp_path)
    inputs = save_all(tmp_path / "in", ["a.png"], 40, 40)
    for name, seed in (("one", "0"), ("two", "1")):
        assert predict(inputs, tmp_path / name, "--report", "true", "--seed", seed) == 0
    row = table(tmp_path / "one")["a"]
    restored = read_image(tmp_path / "one" / "restored" / "a.png").pixels
    assert float(row["brisque"]) == pytest.approx(50 * float(restored.mean() + 1), abs=0.1)
    before = 50 * float(read_image(inputs / "a.png").pixels.mean() + 1)
    assert float(row["input_brisque"]) == pytest.approx(before, abs=0.1)
    page = (tmp_path / "one" / "report.html").read_text(encoding="utf-8")
    shown = f"{float(row['brisque']):.1f}, before {before:.1f}"
    assert f"BRISQUE</dt><dd>{shown}" in page
    capsys.readouterr()
    assert main(["compare", str(tmp_path / "one"), str(tmp_path / "two")]) == 0
    assert "BRISQUE" in capsys.readouterr().out


def test_brisque_prefers_a_photo_to_its_blurred_and_its_noisy_copy() -> None:
    pytest.importorskip("piq", exc_type=ImportError)
    x = torch.nn.functional.interpolate(scene(), (128, 128), mode="bicubic").clamp(-1, 1)
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    values = brisque(torch.cat([x, blurred(x, 3.0), (x + 0.4 * noise).clamp(-1, 1)]))
    if values is None:
        pytest.skip("the weights of BRISQUE are not in torch's hub cache")
    assert float(values[0]) < float(values[1:].min())
