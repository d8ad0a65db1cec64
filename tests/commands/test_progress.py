"""What a run says in a terminal and elsewhere."""

import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from photos import save, save_all
from program import QUICK, predict, table
from rich.console import Console
from rich.progress import Progress, TaskID

from d2ir_pl.commands.predict import predict as predict_command


def test_a_line_an_image_where_there_is_no_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    inputs = save_all(tmp_path / "in", ["a.png", "b [1].png"])
    assert predict(inputs, tmp_path / "out", "--data.references", str(inputs)) == 0
    out, error = capsys.readouterr()
    assert out == ""
    lines = error.splitlines()
    assert lines[0].startswith("restored 1/2: a in ")
    assert lines[1].startswith("restored 2/2: b [1] in ")
    assert "dB" in lines[1]
    assert lines[2] == f"2 restored, 0 failed; results in {tmp_path / 'out'}"


def test_without_progress_only_the_summary_is_left(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    inputs = save_all(tmp_path / "in", ["a.png", "b.png"])
    assert predict(inputs, tmp_path / "out", "--progress", "none") == 0
    assert capsys.readouterr().err == f"2 restored, 0 failed; results in {tmp_path / 'out'}\n"


def test_the_summary_tells_new_from_old_and_has_the_means_of_all(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    inputs = save_all(tmp_path / "in", ["a.png", "b.png"])
    clean = ["--data.references", str(save_all(tmp_path / "clean", [f"{n}.png" for n in "bacd"]))]
    assert predict(inputs, tmp_path / "out", *clean, "--progress", "none") == 0
    assert "mean input_psnr " in capsys.readouterr().err
    save(inputs / "c.png", 5)
    (inputs / "d.png").write_text("no image")
    assert predict(inputs, tmp_path / "out", *clean, "--progress", "none") == 1
    first, scores, *failed = capsys.readouterr().err.splitlines()
    counts = "1 restored, 2 skipped (complete already), 1 failed"
    assert first == f"{counts}; results in {tmp_path / 'out'}"
    rows = [row for row in table(tmp_path / "out").values() if row["status"] == "restored"]
    mean = np.mean([float(row["psnr"]) for row in rows])
    assert scores.startswith("mean of all 3, those skipped included: input_psnr ")
    assert f", psnr {mean:.2f}, " in scores
    assert len(failed) == 1
    assert failed[0].startswith("failed: d: ")


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What is drawn on a terminal, where every step is drawn and none depends on a clock."""
    drawn = io.StringIO()
    console = Console(file=drawn, force_terminal=True, width=150)
    monkeypatch.setattr("d2ir_pl.commands.predict.Console", lambda **options: console)
    update = Progress.update

    def at_once(self: Progress, task: TaskID, **options: Any) -> None:
        update(self, task, refresh=True, **options)

    monkeypatch.setattr(Progress, "update", at_once)
    return drawn


def test_a_terminal_shows_image_and_step(tmp_path: Path, screen: io.StringIO) -> None:
    inputs = save_all(tmp_path / "in", ["a.png", "b.png"])
    assert predict(inputs, tmp_path / "out") == 0
    shown = screen.getvalue()
    for name in ("image 1 of 2 (a)", "image 2 of 2 (b)"):
        for step in ("1/2", "2/2"):
            assert f"{name}, step {step}" in shown
    assert shown.endswith(f"results in {tmp_path / 'out'}\n")


def test_a_terminal_counts_samples(tmp_path: Path, screen: io.StringIO) -> None:
    inputs = save_all(tmp_path / "in", ["a.png"])
    assert predict(inputs, tmp_path / "out", "--model.num_samples", "2") == 0
    for sample in ("1/2", "2/2"):
        assert f"image 1 of 1 (a), restoration {sample}, step " in screen.getvalue()


def test_a_line_a_minute_says_what_is_left_where_there_is_no_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("d2ir_pl.prediction.callbacks.progress.EVERY", 0.0)
    inputs = save_all(tmp_path / "in", ["a.png", "b.png"])
    assert predict(inputs, tmp_path / "out") == 0
    lines = [line for line in capsys.readouterr().err.splitlines() if line.endswith(" left")]
    shares = [int(line.partition("%")[0]) for line in lines]
    assert len(lines) >= 4
    assert shares == sorted(shares)
    assert all(re.fullmatch(r"\d+% done, about \d+ (s|min) left", line) for line in lines)


def test_a_large_photo_is_announced_with_the_time_that_it_takes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("d2ir_pl.prediction.run.LARGE", 24 * 32)
    for names, what in ((["a.png"], "the photo has"), (["a.png", "b.png"], "2 photos have")):
        inputs = save_all(tmp_path / f"in{len(names)}", names)
        assert predict(inputs, tmp_path / f"out{len(names)}") == 0
        first = capsys.readouterr().err.splitlines()[0]
        assert re.fullmatch(rf"{what} 0 megapixels: about \d+ s on this computer", first)


@pytest.mark.parametrize(("told", "again"), [(1, False), (0.9, False), (0.5, True), (0, True)])
def test_what_was_told_is_told_again_only_where_it_is_another_time(
    told: float,
    again: bool,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("d2ir_pl.prediction.run.LARGE", 24 * 32)
    arguments = [str(save(tmp_path / "a.png")), "--output", str(tmp_path / "out")]
    assert predict_command([*arguments, *QUICK], round(24 * 32 * told)) == 0
    assert ("megapixels" in capsys.readouterr().err) == again


@pytest.mark.parametrize("looked", [True, False])
def test_what_is_left_is_told_by_pixels_and_not_by_photos(
    looked: bool,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("d2ir_pl.prediction.callbacks.progress.EVERY", 0.0)
    if looked:  # into the headers, because it takes long; the sizes of the files say it otherwise
        monkeypatch.setattr("d2ir_pl.prediction.run.LARGE", 24 * 32)
    save(tmp_path / "in" / "a.png", 0, 24, 24)
    save(tmp_path / "in" / "b.png", 1, 72, 72)
    (tmp_path / "in" / "c.png").write_text("no image")
    assert predict(tmp_path / "in", tmp_path / "out") == 1
    said = capsys.readouterr().err
    small = [int(n) for n in re.findall(r"(\d+)% done", said.partition("restored 1/3: a")[0])]
    assert max(small) == pytest.approx(9, abs=3)  # most of a tenth
    shares = [int(n) for n in re.findall(r"(\d+)% done", said)]
    assert shares == sorted(shares)
    assert shares[-1] > 85
