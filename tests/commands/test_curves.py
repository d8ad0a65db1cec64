"""What a run writes for TensorBoard."""

import io
import json
import math
import shutil
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from forks import Programs
from photos import save, save_all
from PIL import Image
from program import QUICK, accumulate, pixels, predict, table

from d2ir_pl.diffusion.calibration import Calibration, Widths
from d2ir_pl.priors.calibrations import calibration_file
from d2ir_pl.priors.download import file_sha256
from d2ir_pl.priors.registry import prior_file


@pytest.fixture(scope="module")
def events(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("events")
    save_all(root / "in", ["a.png", "sub/b.png"])
    options = [
        *("--model.method.estimation.steps", "7"),
        *("--model.method.latent.discrepancy", "0"),
        *("--data.references", str(root / "in"), "--data.batch_size", "2"),
    ]
    assert predict(root / "in", root / "out", *options) == 0
    return root / "out"


@pytest.mark.parametrize("name", ["a", "sub/b"])
def test_curves_of_every_step_are_logged(events: Path, name: str) -> None:
    log = accumulate(events / "tensorboard" / name)
    record = json.loads((events / "degradation" / f"{name}.json").read_text())
    assert set(log.Tags()["scalars"]) == {
        *("estimation/loss", "estimation/residual_over_sigma", "estimation/phi_change"),
        *("latent/loss", "latent/residual_over_sigma", "latent/x_T_rms"),
        *("estimation/assumed_error", "latent/assumed_error"),
        *("score/psnr", "score/ssim", "score/reblur_psnr", "score/residual_over_sigma"),
        *("score/sharpness", "score/nfe", "score/seconds"),
    }
    curve = log.Scalars("estimation/loss")
    assert [point.step for point in curve] == list(range(7))
    np.testing.assert_allclose([p.value for p in curve], record["losses"]["estimation"], rtol=1e-5)
    np.testing.assert_allclose(
        [p.value for p in log.Scalars("estimation/residual_over_sigma")],
        np.sqrt(record["losses"]["estimation"]) / record["sigma_y"],
        rtol=1e-4,
    )
    noise = math.hypot(record["sigma_y"], record["model_error"])
    assert [p.value for p in log.Scalars("estimation/assumed_error")] == pytest.approx([noise] * 7)
    moved = log.Scalars("estimation/phi_change")
    assert [point.step for point in moved] == list(range(1, 7))
    np.testing.assert_allclose([p.value for p in moved], record["phi_change"], rtol=1e-5)
    latent = [p.value for p in log.Scalars("latent/loss")]
    assert len(latent) == 3
    recorded = np.asarray(record["losses"]["latent"], dtype=np.float32)
    assert np.isin(np.asarray(latent, dtype=np.float32), recorded).all()
    assert all(0 < p.value < 3 for p in log.Scalars("latent/x_T_rms"))
    assert log.Scalars("score/psnr")[0].value == pytest.approx(record["psnr"], rel=1e-5)


@pytest.mark.parametrize("name", ["a", "sub/b"])
def test_pictures_along_the_way_are_logged(events: Path, name: str) -> None:
    log = accumulate(events / "tensorboard" / name)
    assert set(log.Tags()["images"]) == {
        *("estimation/x0", "estimation/degradation", "latent/x0", "latent/degradation"),
        *("degradation", "input | restored | reference"),
    }
    for tag in ("estimation/x0", "estimation/degradation"):
        assert [picture.step for picture in log.Images(tag)] == [0, 5, 6]
    (row,) = log.Images("input | restored | reference")
    drawn = np.asarray(Image.open(io.BytesIO(row.encoded_image_string))).astype(float)
    assert drawn.shape == (24, 3 * 32, 3)
    clean = pixels(events.parent / "in" / f"{name}.png")
    restored = pixels(events / "restored" / f"{name}.png")
    for i, expected in enumerate((clean, restored, clean)):
        assert np.abs(drawn[:, 32 * i : 32 * (i + 1)] - expected).max() <= 1
    (kernel,) = log.Images("degradation")
    assert (kernel.height, kernel.width) == (168, 168)


def test_several_samples_give_a_map_of_their_deviation(tmp_path: Path) -> None:
    save(tmp_path / "in" / "a.png")
    several = ["--model.num_samples", "3", "--model.method.estimation.temperature", "1"]
    assert predict(tmp_path / "in", tmp_path / "out", *several) == 0
    drawn = pixels(tmp_path / "out" / "uncertainty" / "a.png")
    assert drawn.shape == (24, 32)
    assert drawn.dtype == np.uint16
    row = table(tmp_path / "out")["a"]
    assert row["num_samples"] == "3"
    # White is a standard deviation of 0.1.
    deviation = drawn / 65535 * 0.1
    assert float(row["std"]) == pytest.approx(np.sqrt(np.square(deviation).mean()), rel=1e-2)
    log = accumulate(tmp_path / "out" / "tensorboard" / "a")
    assert "uncertainty" in log.Tags()["images"]
    assert [point.step for point in log.Scalars("estimation/loss")] == [0, 1]
    assert predict(tmp_path / "in", tmp_path / "out", "--overwrite", "true") == 0
    assert not (tmp_path / "out" / "uncertainty" / "a.png").exists()


def test_intervals_are_written_where_the_prior_is_calibrated(tmp_path: Path) -> None:
    save(tmp_path / "in" / "a.png")
    weights = tmp_path / "own.safetensors"
    shutil.copyfile(prior_file("natural-small"), weights)
    own = "GaussianBlur by D2IR, 2 steps at temperature 0.3"
    measured = Widths(2, 0.9, 0.02, 0.02, 24, [0.01, 0.1], [3.0, 4.0])
    calibration = Calibration(file_sha256(weights), 0.9, 0.002, "photographs", {own: [measured]})
    calibration_file(weights).write_text(json.dumps(asdict(calibration)))
    options = ["--model.prior", str(weights), "--model.num_samples", "2"]
    assert predict(tmp_path / "in", tmp_path / "out", *options) == 0
    row = table(tmp_path / "out")["a"]
    assert row["interval_level"] == "0.9"
    # White is a half-width of the whole range.
    half = pixels(tmp_path / "out" / "interval" / "a.png") / 65535
    assert half.shape == (24, 32)
    assert 2 * half.mean() == pytest.approx(float(row["interval_width"]), abs=1e-4)
    deviation = pixels(tmp_path / "out" / "uncertainty" / "a.png") / 65535 * 0.1
    assert half.min() >= 3 * 0.002 - 1e-4
    assert half.max() <= 4 * (deviation.max() + 0.0021)
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "90% of all pixels are no further from the truth" in page
    # Of another number of steps nothing is known, and what was known is no longer there.
    more = [*options, "--model.method.estimation.steps", "3", "--overwrite", "true"]
    assert predict(tmp_path / "in", tmp_path / "out", *more) == 0
    assert not (tmp_path / "out" / "interval" / "a.png").exists()
    record = json.loads((tmp_path / "out" / "degradation" / "a.json").read_text())
    assert any("it has no intervals: the prior is not calibrated for" in n for n in record["notes"])


def test_tensorboard_can_be_switched_off(tmp_path: Path) -> None:
    save(tmp_path / "a.png")
    assert predict(tmp_path / "a.png", tmp_path / "out", "--tensorboard", "false") == 0
    assert not (tmp_path / "out" / "tensorboard").exists()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="limits the size of files")
def test_a_photo_whose_curves_found_no_room_is_not_complete(
    tmp_path: Path, programs: Programs
) -> None:
    inputs = save_all(tmp_path / "in", ["a.png", "b.png"])
    where = ["--data.inputs", str(inputs), "--output", str(tmp_path / "out"), "--report", "false"]
    script = tmp_path / "limited.py"

    def run(most_bytes: int) -> "subprocess.CompletedProcess[str]":
        limit = f"resource.setrlimit(resource.RLIMIT_FSIZE, ({most_bytes},) * 2)"
        start = "from d2ir_pl.cli import main; sys.exit(main())"
        script.write_text(f"import resource, sys; {limit}; {start}")
        return programs.run([script, "predict", *where, *QUICK], timeout=300)

    full = run(6000)
    (events,) = (tmp_path / "out" / "tensorboard" / "a").iterdir()
    assert events.stat().st_size == 6000
    assert full.returncode == 2
    (line,) = full.stderr.splitlines()
    assert "cannot be written (File too large): make room for it" in line
    assert not (tmp_path / "out" / "restored").exists()
    assert run(10**7).returncode == 0
    for name in "ab":
        assert (tmp_path / "out" / "restored" / f"{name}.png").exists()
        assert accumulate(tmp_path / "out" / "tensorboard" / name).Scalars("estimation/loss")
