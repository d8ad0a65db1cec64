"""Photos that are measured ahead, and together, are restored as those that are measured alone."""

import json
import multiprocessing
import os
import shutil
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
from photos import photo, save_all
from program import pixels, predict
from torch.utils.data import DataLoader

from d2ir_pl.batches import restoring
from d2ir_pl.batches.ahead import Ahead
from d2ir_pl.image_io.pictures import as_picture
from d2ir_pl.prediction import module as modules
from d2ir_pl.prediction.data import RestorationDataModule

QUIET = ("--report", "false", "--tensorboard", "false")
NAMES = ("a", "b", "c", "d")


def mixed(folder: Path) -> Path:
    """Photos of one size, of which the last two are JPEGs."""
    save_all(folder, ("a.png", "b.png"), 48, 64)
    for seed, name in enumerate(NAMES[2:], 2):
        as_picture(photo(seed, 48, 64)).save(folder / f"{name}.jpg", quality=30)
    return folder


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("alone")
    assert predict(mixed(folder / "in"), folder / "out", *QUIET, "--config", "auto") == 0
    return folder


@pytest.mark.parametrize("options", [("2", "1"), ("4", "0"), ("4", "2")], ids="batch {0}".format)
def test_neither_batches_nor_what_is_read_ahead_change_a_result(
    tmp_path: Path, alone: Path, options: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    together: list[int] = []
    usual = restoring.restore_batch

    def restore_batch(attempts: Any, observations: Any, *others: Any, **named: Any) -> Any:
        together.append(len(observations))
        return usual(attempts, observations, *others, **named)

    monkeypatch.setattr("d2ir_pl.prediction.module.restore_batch", restore_batch)
    size, workers = options
    more = ("--data.batch_size", size, "--data.num_workers", workers)
    assert predict(alone / "in", tmp_path / "out", *QUIET, "--config", "auto", *more) == 0
    assert sum(together) == len(NAMES) > len(together)  # some are restored together
    for name in NAMES:
        ours, theirs = (
            pixels(folder / "restored" / f"{name}.png")
            for folder in (tmp_path / "out", alone / "out")
        )
        assert np.abs(ours.astype(int) - theirs).max() <= 1, name


def test_worker_processes_read_off_the_photos_what_the_settings_ask(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[bytes] = []
    found: list[Ahead | None] = []
    loader = RestorationDataModule.predict_dataloader

    def loaded(data: RestorationDataModule) -> Any:
        found.append(data.ahead)
        return loader(data)

    monkeypatch.setattr("d2ir_pl.prediction.module.take_over", taken.append)
    monkeypatch.setattr(RestorationDataModule, "predict_dataloader", loaded)
    save_all(tmp_path / "in", ("a.png", "b.png"))
    workers = ("--data.num_workers", "1", "--model.sigma_y", "0.1", "--seed", "3")
    assert predict(tmp_path / "in", tmp_path / "out", *QUIET, *workers) == 0
    assert all(len(own) > 100 for own in taken)
    assert len(taken) == 2
    (ahead,) = found
    assert ahead is not None
    assert (ahead.sigma_y, ahead.seed, ahead.second_opinion) == (0.1, 3, False)


@pytest.mark.parametrize(
    ("device", "batches", "free", "workers"),
    [("cpu", 9, 2**40, 0), ("gpu", 1, 2**40, 0), ("gpu", 9, 2**26, 0), ("gpu", 9, 2**40, 3)],
)
def test_processes_read_ahead_where_a_gpu_would_wait(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    device: str,
    batches: int,
    free: int,
    workers: int,
) -> None:
    save_all(tmp_path, ("a.png",))
    data = RestorationDataModule(str(tmp_path))
    accelerator = pl.accelerators.CPUAccelerator() if device == "cpu" else object()
    data.trainer = SimpleNamespace(accelerator=accelerator, num_devices=2)  # type: ignore[assignment]
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
    assert data._workers(batches) == workers


def test_a_worker_that_dies_costs_no_photo_and_changes_none(
    tmp_path: Path, alone: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    usual = modules.RestorationModule.predict_step
    # One of PyTorch's own leaves a handler of signals behind.
    assert list(DataLoader(range(2), num_workers=1))  # type: ignore[arg-type]

    def killing(module: Any, *arguments: Any) -> Any:
        for child in multiprocessing.active_children():
            os.kill(child.pid or 0, signal.SIGKILL)
        return usual(module, *arguments)

    monkeypatch.setattr(modules.RestorationModule, "predict_step", killing)
    workers = ("--data.num_workers", "1", "--config", "auto")
    assert predict(alone / "in", tmp_path / "out", *QUIET, *workers) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert said.count("a process that reads photos ahead has ended") == 1
    for name in NAMES:
        ours, theirs = (
            (folder / "restored" / f"{name}.png").read_bytes()
            for folder in (tmp_path / "out", alone / "out")
        )
        assert ours == theirs, name
        record = json.loads((tmp_path / "out" / "degradation" / f"{name}.json").read_text())
        assert not any("failed" in note for note in record["notes"])
