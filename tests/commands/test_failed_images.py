"""Images that cannot be restored: they are named, and cost no other image."""

import json
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from photos import files, photo, save, save_all
from program import pixels, predict, state_of, table
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor

from d2ir_pl.image_io import write_png
from d2ir_pl.priors.network import NetworkPrior
from d2ir_pl.restoration import D2IR, Problem, Restoration


def test_broken_files_are_named_and_the_others_finished(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    inputs = save_all(tmp_path / "in", ["a.png", "b.png", "c.png", "d.png"])
    whole = (inputs / "b.png").read_bytes()
    (inputs / "b.png").write_bytes(whole[: len(whole) // 2])
    (inputs / "c.png").write_text("no image")
    assert predict(inputs, tmp_path / "out", "--data.batch_size", "4") == 1
    error = capsys.readouterr().err
    assert "2 restored, 2 failed" in error
    assert error.count("failed: b: ") == 1
    assert "b.png is damaged, truncated" in error
    assert "c.png is not a PNG" in error
    assert "Traceback" not in error
    assert files(tmp_path / "out" / "restored") == {"a.png", "d.png"}
    rows = table(tmp_path / "out")
    assert {name: row["status"] for name, row in rows.items()} == {
        **dict.fromkeys("ad", "restored"),
        **dict.fromkeys("bc", "failed"),
    }
    assert "truncated" in rows["b"]["reason"]

    (inputs / "b.png").write_bytes(whole)
    (inputs / "c.png").unlink()
    before = state_of(tmp_path / "out" / "restored")
    assert predict(inputs, tmp_path / "out") == 0
    after = state_of(tmp_path / "out" / "restored")
    assert set(after) == {"a.png", "b.png", "d.png"}
    assert before.items() <= after.items()


def test_an_image_that_the_method_refuses_does_not_stop_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    inputs = save_all(tmp_path / "in", ["a.png", "c.png"])
    save(inputs / "b.png", 9, 8, 8)
    restore = D2IR.restore

    def refuse(self: D2IR, problem: Problem, *rest: Any) -> Restoration:
        if problem.y.shape[-1] < 16:
            raise ValueError("8 pixels are too few: give a larger photo")
        return restore(self, problem, *rest)

    monkeypatch.setattr(D2IR, "restore", refuse)
    assert predict(inputs, tmp_path / "out") == 1
    assert "failed: b: 8 pixels are too few: give a larger photo" in capsys.readouterr().err
    assert files(tmp_path / "out" / "restored") == {"a.png", "c.png"}


def diverge_above(monkeypatch: pytest.MonkeyPatch, lr: float) -> None:
    """The network returns NaN for bright images of methods whose steps are larger than `lr`."""
    network, restore, prepared = NetworkPrior.predict_eps, D2IR.restore, D2IR.prepared
    current: list[float] = []

    def watched(self: D2IR, *arguments: Any) -> Restoration:
        current[:] = [self.latent.lr]
        return restore(self, *arguments)

    def watched_before(self: D2IR, *arguments: Any) -> Problem:
        current[:] = [self.latent.lr]
        return prepared(self, *arguments)

    def broken(self: NetworkPrior, x_t: Tensor, t: int) -> Tensor:
        eps = network(self, x_t, t)
        bright = x_t.mean((1, 2, 3), keepdim=True) > 0.5
        return torch.where(bright & (current[0] > lr), torch.nan, eps)

    monkeypatch.setattr(D2IR, "restore", watched)
    monkeypatch.setattr(D2IR, "prepared", watched_before)
    monkeypatch.setattr(NetworkPrior, "predict_eps", broken)


def dark_bright_dark(folder: Path) -> Path:
    save_all(folder, ["a.png", "c.png"])
    write_png(folder / "b.png", 0.8 + 0.1 * photo(5))
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    "degradation", ["Blur", "GaussianBlur", "MotionBlur", "d2ir_pl.degradations.Light"]
)
def test_nan_in_any_degradation_costs_no_neighbour(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, degradation: str
) -> None:
    inputs = dark_bright_dark(tmp_path / "in")
    diverge_above(monkeypatch, 0.0)
    options = ("--data.batch_size", "3", "--model.degradation", degradation)
    assert predict(inputs, tmp_path / "out", *options) == 1
    assert files(tmp_path / "out" / "restored") >= {"a.png", "c.png"}


def test_one_mask_that_is_missing_costs_no_neighbour(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    inputs = save_all(tmp_path / "in", ["a.png", "b.png", "c.png"])
    masks = save_all(tmp_path / "masks", ["a.png", "c.png"])
    for path in masks.iterdir():
        write_png(
            path, torch.where(photo(5).mean(0, keepdim=True) > 0, 1.0, -1.0).expand(3, -1, -1)
        )
    mask = ("--model.degradation", "Mask", "--model.degradation.source", str(masks))
    options = ("--data.batch_size", "3", "--data.degrade", "true", *mask)
    assert predict(inputs, tmp_path / "out", *options) == 1
    assert "failed: b: " in capsys.readouterr().err
    assert files(tmp_path / "out" / "restored") == {"a.png", "c.png"}


def test_an_image_that_diverges_is_restored_once_more_and_its_neighbours_are_untouched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    inputs = dark_bright_dark(tmp_path / "in")
    batch = ("--data.batch_size", "3", "--model.method.latent.discrepancy", "0")
    assert predict(inputs, tmp_path / "before", *batch) == 0
    capsys.readouterr()
    diverge_above(monkeypatch, 0.005)
    assert predict(inputs, tmp_path / "out", *batch) == 0
    assert capsys.readouterr().err.count("(the restoration diverged at first: restored with") == 1
    for name in ("a.png", "c.png"):
        before, after = (tmp_path / run / "restored" / name for run in ("before", "out"))
        assert before.read_bytes() == after.read_bytes()
    record = json.loads((tmp_path / "out" / "degradation" / "b.json").read_text())
    assert record["notes"] == [
        "the restoration diverged at first: restored with a tenth of the step sizes"
    ]
    assert all(np.isfinite(record["losses"]["estimation"]))
    assert len(record["phi_change"]) == len(record["losses"]["estimation"]) - 1
    # Of the two attempts, the curves are those of the second.
    run = EventAccumulator(str(tmp_path / "out" / "tensorboard" / "b"))
    run.Reload()
    losses = [event.value for event in run.Scalars("estimation/loss")]
    assert losses == pytest.approx(record["losses"]["estimation"], rel=1e-4)


def test_an_image_that_diverges_twice_is_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    inputs = dark_bright_dark(tmp_path / "in")
    diverge_above(monkeypatch, 0.0)
    assert predict(inputs, tmp_path / "out", "--data.batch_size", "3") == 1
    assert "failed: b: the restoration diverged, with a tenth of" in capsys.readouterr().err
    assert files(tmp_path / "out" / "restored") == {"a.png", "c.png"}
    assert {name: row["status"] for name, row in table(tmp_path / "out").items()} == {
        "a": "restored",
        "b": "failed",
        "c": "restored",
    }


def test_a_batch_that_memory_does_not_hold_is_halved_then_tiled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    inputs = save_all(tmp_path / "in", [*"abcd"], height=40, width=64)
    for path in inputs.iterdir():
        path.rename(path.with_suffix(".png"))
    network = NetworkPrior.predict_eps
    shapes: list[tuple[int, ...]] = []

    def small(self: NetworkPrior, x_t: Tensor, t: int) -> Tensor:
        shapes.append(tuple(x_t.shape))
        if x_t.numel() > 3 * 64 * 64:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return network(self, x_t, t)

    monkeypatch.setattr(NetworkPrior, "predict_eps", small)
    options = ("--data.batch_size", "4", "--model.tile", "128")
    assert predict(inputs, tmp_path / "out", *options) == 0
    assert files(tmp_path / "out" / "restored") == {"a.png", "b.png", "c.png", "d.png"}
    sizes = [shape[0] for shape in shapes if shape[0] > 1]
    assert sizes == [4, 2]
    shown = capsys.readouterr().err
    assert shown.count("(memory ran out: restored 1 at a time, on tiles of 64 pixels)") == 4
    record = json.loads((tmp_path / "out" / "degradation" / "d.json").read_text())
    assert record["tile"] == 64
    assert len(record["phi_change"]) == 1, "only those of the attempt that fitted"


@pytest.mark.parametrize("size", [(1, 1), (1, 30), (3, 5), (64, 9)])
def test_tiny_and_thin_photos_are_restored(tmp_path: Path, size: tuple[int, int]) -> None:
    save(tmp_path / "a.png", 0, *size)
    assert predict(tmp_path / "a.png", tmp_path / "out") == 0
    assert pixels(tmp_path / "out" / "restored" / "a.png").shape == (*size, 3)


def test_an_interrupted_run_is_continued_by_the_same_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    inputs = save_all(tmp_path / "in", ["a.png", "b.png"])
    restore, calls = D2IR.restore, []

    def interrupt(self: D2IR, *arguments: Any) -> Restoration:
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return restore(self, *arguments)

    handler = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(D2IR, "restore", interrupt)
    try:
        assert predict(inputs, tmp_path / "out") == 130
    finally:
        signal.signal(signal.SIGINT, handler)
    assert "finished images are kept, and the same command does the rest" in capsys.readouterr().err
    first = state_of(tmp_path / "out" / "restored")
    assert set(first) == {"a.png"}
    assert predict(inputs, tmp_path / "out") == 0
    assert first.items() <= state_of(tmp_path / "out" / "restored").items()
    assert set(table(tmp_path / "out")) == {"a", "b"}


def test_a_process_that_waits_for_a_dead_one_says_so_in_a_sentence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def alone(*arguments: Any, **options: Any) -> None:
        raise RuntimeError("[pair.cc:553] Connection closed by peer [127.0.0.1]:2000. GLHF!")

    monkeypatch.setattr(pl.Trainer, "predict", alone)
    assert predict(save_all(tmp_path / "in", ["a.png"]), tmp_path / "out") == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith("d2ir: another process has died: the run stops;")
    assert "GLHF" not in error


def test_photos_that_fail_for_the_same_reason_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    (tmp_path / "in").mkdir()
    for number in range(5):
        (tmp_path / "in" / f"IMG_{number}.HEIC").write_bytes(b"\0\0\0\x18ftypheic")
    assert predict(tmp_path / "in", tmp_path / "out") == 1
    lines = [x for x in capsys.readouterr().err.splitlines() if x.startswith("failed")]
    assert len(lines) == 1
    assert "5 photos (IMG_0.HEIC, IMG_1.HEIC, IMG_2.HEIC, ...): each is a HEIC photo" in lines[0]
    assert "pip install 'd2ir_pl[photos]'" in lines[0]


def test_films_beside_photos_are_named_and_cost_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    inputs = save_all(tmp_path / "in", ["a.png"])
    for name in ("IMG_1.MOV", "deep/clip.mp4", "notes.txt", ".hidden.mov", "Thumbs.db"):
        (inputs / name).parent.mkdir(exist_ok=True)
        (inputs / name).write_bytes(b"no photo")
    assert predict(inputs, tmp_path / "out") == 0
    said = capsys.readouterr().err.splitlines()
    assert said[-1] == "left out: 2 files of kinds that are not read (IMG_1.MOV, clip.mp4)"
    assert predict(inputs / "a.png", tmp_path / "other") == 0
    assert "left out" not in capsys.readouterr().err
