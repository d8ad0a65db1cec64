"""What a run does in a folder that holds results already."""

from pathlib import Path

import pytest
from photos import files, save
from program import NAMES, predict, state_of, table


def test_a_second_run_skips_everything_and_touches_nothing(
    finished_copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = finished_copy / "out"
    kept = [out / "restored", out / "degradation", *(out / "tensorboard" / n for n in NAMES)]
    before = [state_of(folder) for folder in kept]
    rows = table(out)
    assert predict(finished_copy / "in", out, "--data.batch_size", "3") == 0
    assert [state_of(folder) for folder in kept] == before
    assert table(out) == rows
    error = capsys.readouterr().err
    assert "7 of 7 images are complete: skipped" in error
    assert f"0 restored, 7 skipped (complete already), 0 failed; results in {out}" in error


def test_a_second_run_does_what_is_missing_and_lists_all(finished_copy: Path) -> None:
    out = finished_copy / "out"
    lost = out / "restored" / "colour.png"
    expected = state_of(out / "restored")
    lost.unlink()
    save(finished_copy / "in" / "grey.png", 30, grey=True)  # a changed input
    save(finished_copy / "in" / "new.png", 31)
    assert predict(finished_copy / "in", out) == 0
    after = state_of(out / "restored")
    assert after["colour.png"][0] == expected["colour.png"][0]
    changed = {name for name in after if after[name] != expected.get(name)}
    assert changed == {"colour.png", "grey.png", "new.png"}
    assert after["grey.png"][0] != expected["grey.png"][0]
    assert set(table(out)) == NAMES | {"new"}


def test_a_limit_that_leaves_out_everything_is_told_and_the_same_command_does_the_rest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save(tmp_path / "in" / "a.png")
    out = tmp_path / "out"
    assert predict(tmp_path / "in", out, "--trainer.limit_predict_batches", "0") == 0
    error = capsys.readouterr().err
    assert "0 restored, 0 failed" in error
    assert "--trainer.limit_predict_batches 0 left out 1 image" in error
    assert predict(tmp_path / "in", out) == 0
    assert set(table(out)) == {"a"}


@pytest.mark.parametrize(
    "change",
    [
        ("--seed", "1"),
        ("--model.method.estimation.steps", "3"),
        ("--model.sigma_y", "0.1"),
        ("--trainer.precision", "bf16-mixed"),
        ("--data.degrade", "true"),
    ],
)
def test_other_settings_are_refused_in_one_sentence(
    finished_copy: Path, capsys: pytest.CaptureFixture[str], change: tuple[str, str]
) -> None:
    before = state_of(finished_copy / "out")
    assert predict(finished_copy / "in", finished_copy / "out", *change) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "holds 7 results made with other settings" in line
    assert "--overwrite true" in line
    before.pop(".lock")
    after = state_of(finished_copy / "out")
    after.pop(".lock")
    assert after == before


def test_overwrite_replaces_results_of_other_settings(finished_copy: Path) -> None:
    out = finished_copy / "out"
    before = state_of(out / "restored")
    assert predict(finished_copy / "in", out, "--seed", "1", "--overwrite", "true") == 0
    after = state_of(out / "restored")
    assert set(after) == set(before)
    assert all(after[name][0] != before[name][0] for name in before)
    assert {row["seed"] for row in table(out).values()} == {"1"}
    runs = [name.rpartition("/")[0] for name in files(out / "tensorboard")]
    assert len(runs) == len(set(runs)), "a run holds the curves of two restorations"


def test_without_overwrite_nothing_else_in_the_folder_is_touched(tmp_path: Path) -> None:
    save(tmp_path / "a.png")
    (tmp_path / "out" / "restored").mkdir(parents=True)
    (tmp_path / "out" / "restored" / "mine.png").write_text("mine")
    (tmp_path / "out" / "notes.txt").write_text("mine")
    assert predict(tmp_path / "a.png", tmp_path / "out", "--tensorboard", "false") == 0
    assert (tmp_path / "out" / "restored" / "mine.png").read_text() == "mine"
    assert (tmp_path / "out" / "notes.txt").read_text() == "mine"
    assert not (tmp_path / "out" / "tensorboard").exists()
