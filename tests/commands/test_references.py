"""Clean images: scores against them, and degraded ones made of them."""

import json
from pathlib import Path

import numpy as np
import pytest
from photos import files, photo, psnr, save, save_all
from program import hwc, pixels, predict, state_of, table

from d2ir_pl.image_io import read_image, write_png


def test_references_give_scores(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    inputs = save_all(tmp_path / "in", ["a.png", "sub/b.png"])
    save(tmp_path / "clean" / "a.tif", 10)
    (tmp_path / "clean" / "sub").mkdir()
    write_png(tmp_path / "clean" / "sub" / "b.png", 0.9 * photo(1))
    assert predict(inputs, tmp_path / "out", "--data.references", str(tmp_path / "clean")) == 0
    rows = table(tmp_path / "out")
    for name, clean in (("a", "a.tif"), ("sub/b", "sub/b.png")):
        truth = np.round((hwc(read_image(tmp_path / "clean" / clean).pixels) + 1) * 127.5)
        restored = pixels(tmp_path / "out" / "restored" / f"{name}.png")
        assert float(rows[name]["psnr"]) == pytest.approx(psnr(restored, truth), abs=0.05)
        assert -1 <= float(rows[name]["ssim"]) <= 1
    degraded, truth = pixels(inputs / "a.png"), pixels_of(tmp_path / "clean" / "a.tif")
    assert float(rows["a"]["input_psnr"]) == pytest.approx(psnr(degraded, truth), abs=0.01)
    assert float(rows["sub/b"]["psnr"]) > float(rows["a"]["psnr"])
    mean = np.mean([float(row["psnr"]) for row in rows.values()])
    assert f"psnr {mean:.2f}" in capsys.readouterr().err


def pixels_of(path: Path) -> np.ndarray:
    return np.round((hwc(read_image(path).pixels) + 1) * 127.5)


def test_scores_that_do_not_exist_are_left_out_of_valid_json(tmp_path: Path) -> None:
    path = save(tmp_path / "in" / "tiny.png", 0, 9, 9)  # too small for SSIM; its own reference
    assert predict(path, tmp_path / "out", "--data.references", str(path.parent)) == 0
    row = table(tmp_path / "out")["tiny"]
    assert (row["ssim"], row["input_psnr"]) == ("", "")
    assert float(row["psnr"]) > 0

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    text = (tmp_path / "out" / "degradation" / "tiny.json").read_text()
    assert json.loads(text, parse_constant=refuse)["status"] == "restored"


def test_a_reference_of_another_size_fails_that_image_only(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    inputs = save_all(tmp_path / "in", ["a.png", "b.png"])
    save(tmp_path / "clean" / "a.png", 0, 12, 12)
    save(tmp_path / "clean" / "b.png", 1)
    assert predict(inputs, tmp_path / "out", "--data.references", str(tmp_path / "clean")) == 1
    assert "a.png is 12x12, not 24x32" in capsys.readouterr().err
    assert files(tmp_path / "out" / "restored") == {"b.png"}


def test_degrade_makes_inputs_and_measures_against_the_clean_images(tmp_path: Path) -> None:
    inputs = save_all(tmp_path / "in", ["a.png", "b.png", "c.png"])
    known = ["--data.degrade", "true", "--model.degradation.width", "1.5"]
    assert predict(inputs, tmp_path / "out", *known, "--data.degrade_noise", "0.03") == 0
    rows = table(tmp_path / "out")
    for name in "abc":
        clean = pixels(inputs / f"{name}.png")
        degraded = pixels(tmp_path / "out" / "degraded" / f"{name}.png")
        restored = pixels(tmp_path / "out" / "restored" / f"{name}.png")
        assert degraded.shape == clean.shape
        assert float(rows[name]["input_psnr"]) == pytest.approx(psnr(degraded, clean), abs=0.01)
        assert float(rows[name]["psnr"]) == pytest.approx(psnr(restored, clean), abs=0.05)
        record = json.loads((tmp_path / "out" / "degradation" / f"{name}.json").read_text())
        assert record["true_phi"]["width_major_px"] == pytest.approx(1.5, rel=0.02)
        assert float(rows[name]["sigma_y"]) == pytest.approx(0.03, rel=0.35)
    # The same images, degraded beforehand, are restored alike.
    again = [*known[2:], "--data.references", str(inputs)]
    assert predict(tmp_path / "out" / "degraded", tmp_path / "again", *again) == 0
    for name, row in table(tmp_path / "again").items():
        assert float(row["psnr"]) == pytest.approx(float(rows[name]["psnr"]), abs=1e-3)


def test_degrading_depends_on_the_seed_and_not_on_the_batch(tmp_path: Path) -> None:
    inputs = save_all(tmp_path / "in", ["a.png", "b.png"])
    runs = {"one": ("0", "1"), "two": ("0", "2"), "other": ("1", "2")}
    for run, (seed, batch) in runs.items():
        options = ["--data.degrade", "true", "--seed", seed, "--data.batch_size", batch]
        assert predict(inputs, tmp_path / run, *options) == 0
    degraded = {run: state_of(tmp_path / run / "degraded") for run in runs}
    for name in ("a.png", "b.png"):
        assert degraded["one"][name][0] == degraded["two"][name][0] != degraded["other"][name][0]
