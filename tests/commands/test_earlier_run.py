"""Runs that start from what an earlier run, or another program, has estimated."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from photos import save, save_all
from program import QUICK, pixels, predict, state_of, table

from d2ir_pl.cli import main

PHOTOS = ["a.png", "b.png", "c.png"]
KNOWN_ERROR = ("--model.method.model_error", "0.02")
"""Of the kernel; looking for it would take evaluations of its own."""


def record(folder: Path, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "degradation" / f"{name}.json").read_text())
    return found


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three photos under `in`, and their results under `out`, by a free kernel."""
    root = tmp_path_factory.mktemp("earlier")
    save_all(root / "in", PHOTOS)
    assert predict(root / "in", root / "out", "--config", "blind_deblur_kernel") == 0
    return root


def test_phi_is_that_of_the_earlier_run_and_is_not_estimated(earlier: Path, tmp_path: Path) -> None:
    options = ["--config", "blind_deblur_kernel", *KNOWN_ERROR]
    options += ["--model.start", str(earlier / "out")]
    inputs, out = earlier / "in", tmp_path / "out"
    assert predict(inputs, out, *options, "--data.batch_size", "3", "--seed", "1") == 0
    for name in "abc":
        then, now = record(earlier / "out", name), record(out, name)
        assert now["degradation"] == then["degradation"]
        assert now["phi"] == then["phi"]
        assert now["phi_change"] == []
        assert now["start"] == str(earlier / "out" / "degradation" / f"{name}.json")
        assert any(now["start"] in reason for reason in now["reasons"])
    assert f"start: {earlier / 'out'}" in (out / "config.yaml").read_text()
    alone = tmp_path / "alone"
    assert predict(inputs / "b.png", alone, *options, "--seed", "1") == 0
    difference = pixels(alone / "restored/b.png").astype(int) - pixels(out / "restored/b.png")
    assert abs(difference).max() <= 1


def test_the_record_of_one_photo_starts_all_others(earlier: Path, tmp_path: Path) -> None:
    file = earlier / "out" / "degradation" / "b.json"
    save(tmp_path / "in" / "larger.png", 9, 30, 40)
    options = ["--config", "blind_deblur_kernel", *KNOWN_ERROR, "--model.start", str(file)]
    assert predict(tmp_path / "in", tmp_path / "out", *options) == 0
    then, now = record(earlier / "out", "b"), record(tmp_path / "out", "larger")
    assert now["degradation"] == then["degradation"]
    # The same kernel in the other way.
    options = ["--config", "deblur", "--model.degradation.kernel", str(file)]
    assert predict(tmp_path / "in", tmp_path / "kernel", *options) == 0
    kernels = [torch.tensor(record(tmp_path / n, "larger")["phi"]["kernel"]) for n in ("kernel",)]
    assert torch.allclose(kernels[0], torch.tensor(then["phi"]["kernel"]), rtol=1e-5, atol=1e-9)


def test_auto_takes_the_degradation_from_there(earlier: Path, tmp_path: Path) -> None:
    options = ("--config", "auto", "--model.start", str(earlier / "out"))
    inputs = ["--data.inputs", str(earlier / "in" / "a.png"), "--output", str(tmp_path)]
    assert main(["predict", *inputs, *options, *QUICK[-4:]]) == 0
    now = record(tmp_path, "a")
    assert now["degradation"] == record(earlier / "out", "a")["degradation"]
    assert now["reasons"][0].startswith("taken for: Blur, as in ")


def test_a_photo_without_a_start_fails_alone_and_says_why(
    earlier: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save(tmp_path / "in" / "a.png", 77)
    (tmp_path / "in" / "b.png").write_bytes((earlier / "in" / "b.png").read_bytes())
    save(tmp_path / "in" / "new.png", 78)
    options = ["--config", "blind_deblur_kernel", *KNOWN_ERROR]
    options += ["--model.start", str(earlier / "out")]
    assert predict(tmp_path / "in", tmp_path / "out", *options) == 1
    rows = table(tmp_path / "out")
    assert rows["b"]["status"] == "restored"
    assert "a.json is about another file of that name" in rows["a"]["reason"]
    assert "has no result for new" in rows["new"]["reason"]
    assert "1 restored, 2 failed" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ((), "tells of Blur, not of GaussianBlur: choose the same degradation, or auto"),
        (
            ("--config", "blind_deblur_kernel", "--model.degradation.kernel_size", "9"),
            "tells of Blur with kernel_size 101, not 9: set the same",
        ),
    ],
)
def test_a_start_of_another_family_is_a_sentence_for_each_photo(
    earlier: Path, tmp_path: Path, options: tuple[str, ...], expected: str
) -> None:
    start = ("--model.start", str(earlier / "out"))
    assert predict(earlier / "in", tmp_path, *options, *start) == 1
    assert all(expected in row["reason"] for row in table(tmp_path).values())


@pytest.mark.parametrize(
    ("start", "expected"),
    [
        ("missing", "--model.start missing does not exist: give the --output of an earlier run"),
        ("empty", "--model.start empty holds no results"),
        ("other.json", "--model.start other.json holds no record of a restored photo"),
    ],
)
def test_a_start_that_is_none_is_one_sentence(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    start: str,
    expected: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "photo.png")
    (tmp_path / "empty").mkdir()
    (tmp_path / "other.json").write_text("{}")
    assert predict("photo.png", Path("out"), "--model.start", start) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert expected in line


def test_a_second_run_is_complete_until_the_start_changes(
    earlier: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start, out = tmp_path / "start" / "degradation", tmp_path / "out"
    start.mkdir(parents=True)
    for name in "abc":
        text = (earlier / "out" / "degradation" / f"{name}.json").read_text()
        (start / f"{name}.json").write_text(text)
    options = ["--config", "blind_deblur_kernel", *KNOWN_ERROR]
    options += ["--model.start", str(start.parent)]
    assert predict(earlier / "in" / "a.png", out, *options) == 0
    (start.parent / "report.html").write_text("made anew")
    before = state_of(out / "restored")
    assert predict(earlier / "in" / "a.png", out, *options) == 0
    assert state_of(out / "restored") == before
    assert "1 skipped (complete already)" in capsys.readouterr().err
    changed = json.loads((start / "a.json").read_text())
    changed["degradation"] = json.loads((start / "b.json").read_text())["degradation"]
    (start / "a.json").write_text(json.dumps(changed))
    assert predict(earlier / "in" / "a.png", out, *options) == 2
    assert "made with other settings" in capsys.readouterr().err


@pytest.mark.parametrize("config", ["low_light", "old_photo"])
def test_another_family_starts_from_itself(tmp_path: Path, config: str) -> None:
    save(tmp_path / "a.png", 3)
    options = ("--config", config, "--model.method.stages", "estimation")
    first, second = tmp_path / "first", tmp_path / "second"
    assert predict(tmp_path / "a.png", first, *options) == 0
    again = ("--model.start", str(first), "--model.num_samples", "2")
    assert predict(tmp_path / "a.png", second, *options, *again) == 0
    assert record(second, "a")["degradation"] == record(first, "a")["degradation"]


def test_stage_2_goes_on_from_the_image_of_the_earlier_run(earlier: Path, tmp_path: Path) -> None:
    options = ["--config", "blind_deblur_kernel", "--model.method.stages", "latent"]
    # Where an image has explained the photo far enough, nothing is left to do.
    options += ["--model.method.latent.discrepancy", "100", "--data.batch_size", "2"]
    options += KNOWN_ERROR
    start = ("--model.start", str(earlier / "out"))
    assert predict(earlier / "in", tmp_path / "from image", *options, *start) == 0
    assert predict(earlier / "in", tmp_path / "from photo", *options) == 0
    for name in PHOTOS:
        then = pixels(earlier / "out" / "restored" / name)
        assert (pixels(tmp_path / "from image" / "restored" / name) == then).all()
        assert (pixels(tmp_path / "from photo" / "restored" / name) != then).any()
    assert record(tmp_path / "from image", "a")["nfe"] == 0
