"""Curves and scores go to every logger of the trainer, whichever they are."""

import csv
import json
import logging
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
import yaml
from photos import files, save_all
from program import accumulate, predict, state_of, table
from pytorch_lightning.loggers import CSVLogger, Logger

from d2ir_pl.prediction.callbacks import TrajectoryLogger, event_files
from d2ir_pl.prediction.data import RestorationDataModule
from d2ir_pl.prediction.module import RestorationModule
from d2ir_pl.restoration.baselines import DDRM

Rows = list[dict[str, str]]


def rows(folder: Path) -> Rows:
    """The rows of a CSVLogger, each without its empty cells."""
    with (folder / "metrics.csv").open(newline="", encoding="utf-8") as file:
        return [{k: v for k, v in row.items() if v} for row in csv.DictReader(file)]


def curve(found: Rows, name: str, tag: str) -> list[float]:
    """The values of a curve of one image."""
    return [float(row[tag]) for row in found if row.get("name") == name and tag in row]


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with two loggers at once, in `csv` and `board`, and its results in `out`."""
    root = tmp_path_factory.mktemp("logged")
    save_all(root / "in", ["a.png", "sub/größer (2).png"])
    options = ["--data.references", str(root / "in"), "--data.batch_size", "2"]
    for name, folder in (("CSVLogger", "csv"), ("TensorBoardLogger", "board")):
        options += [f"--trainer.logger+={name}", f"--trainer.logger.save_dir={root}"]
        options += [f"--trainer.logger.name={folder}", "--trainer.logger.version="]
    assert predict(root / "in", root / "out", *options) == 0
    return root


@pytest.mark.parametrize("name", ["a", "sub/größer (2)"])
def test_a_csv_file_has_the_curves_and_scores_of_every_image(logged: Path, name: str) -> None:
    found = rows(logged / "csv")
    record = json.loads((logged / f"out/degradation/{name}.json").read_text(encoding="utf-8"))
    assert curve(found, name, "estimation/step") == [0, 1]
    assert curve(found, name, "estimation/loss") == pytest.approx(record["losses"]["estimation"])
    assert curve(found, name, "score/psnr") == [pytest.approx(record["psnr"])]
    assert len({row["image"] for row in found if row.get("name") == name}) == 1


def test_the_columns_are_the_same_for_all_images_and_the_steps_count_rows(logged: Path) -> None:
    found = rows(logged / "csv")
    assert [int(row["step"]) for row in found] == list(range(len(found)))
    assert not any("größer" in column for row in found for column in row)
    means = [row for row in found if "mean/psnr" in row]
    scores = [float(row["score/psnr"]) for row in found if "score/psnr" in row]
    assert [float(row["mean/psnr"]) for row in means] == [pytest.approx(sum(scores) / 2)]


@pytest.mark.parametrize("name", ["a", "sub/größer (2)"])
def test_a_board_that_is_named_gets_a_run_with_pictures_for_every_image(
    logged: Path, name: str
) -> None:
    tags = accumulate(logged / "board" / name).Tags()
    assert "estimation/x0" in tags["images"]
    assert {"estimation/loss", "score/psnr"} <= set(tags["scalars"])
    assert not (logged / "out" / "tensorboard").exists()


def test_pictures_of_a_large_photo_are_made_smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_files, "LONGEST", 24)
    large, small = torch.rand(2, 3, 48, 36), torch.rand(3, 24, 9)
    assert event_files._no_longer(large).shape == (2, 3, 24, 18)
    assert event_files._no_longer(small) is small


def once_and_plain(settings: dict[str, Any]) -> bool:
    """Whether settings are plain values, each under the one name that its option has."""
    whole = all(name == "seed" or "." in name for name in settings)
    return whole and all(isinstance(value, str | int | float) for value in settings.values())


def test_every_logger_has_the_settings_once_and_config_yaml_names_the_loggers(
    logged: Path,
) -> None:
    for folder in ("csv", "board"):
        settings = yaml.safe_load((logged / folder / "hparams.yaml").read_text(encoding="utf-8"))
        assert settings["model.method.estimation.steps"] == 2
        assert settings["data.batch_size"] == 2
        assert once_and_plain(settings)
        assert "trainer.logger" not in settings
    config = (logged / "out/config.yaml").read_text(encoding="utf-8")
    assert "CSVLogger" in config
    assert "TensorBoardLogger" in config


def test_loggers_and_limits_are_not_other_settings_and_a_full_run_does_the_rest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    logging.getLogger("pytorch_lightning.profilers").addHandler(caplog.handler)
    inputs = save_all(tmp_path / "in", ["a.png", "b.png", "c.png"])
    logger = ["--trainer.logger", "CSVLogger", "--trainer.logger.save_dir", str(tmp_path / "logs")]
    out, quick = tmp_path / "out", ("--report", "false", "--model.method.stages", "estimation")
    assert predict(inputs, out, *quick, *logger, "--trainer.limit_predict_batches", "1") == 0
    said = capsys.readouterr().err
    assert "1 restored, 0 failed" in said
    assert "--trainer.limit_predict_batches 1 left out 2 images" in said
    before = state_of(out / "restored")
    assert set(before) == {"a.png"}
    assert predict(inputs, out, *quick, "--trainer.fast_dev_run", "true") == 0
    assert "--trainer.fast_dev_run left out 1 image;" in capsys.readouterr().err
    assert set(table(out)) == {"a", "b"}
    assert predict(inputs, out, *quick, "--trainer.profiler", "simple") == 0
    said = capsys.readouterr().err
    assert "predict_step" in caplog.text, "what the profiler has measured"
    assert "1 restored, 2 skipped" in said
    assert "left out" not in said
    after = state_of(out / "restored")
    assert set(after) == {"a.png", "b.png", "c.png"}
    assert before.items() <= after.items()


def test_false_writes_no_curves_and_true_writes_them_where_they_always_are(tmp_path: Path) -> None:
    inputs = save_all(tmp_path / "in", ["a.png"])
    for value, expected in (("false", False), ("true", True)):
        out = tmp_path / value
        quick = ["--trainer.fast_dev_run", "true", "--trainer.logger", value]
        assert predict(inputs, out, *quick) == 0
        assert (out / "tensorboard" / "a").exists() is expected
    assert not (tmp_path / "lightning_logs").exists()


def test_a_plain_trainer_logs_where_the_user_adds_the_callback(tmp_path: Path) -> None:
    inputs = save_all(tmp_path / "in", ["a.png", "b.png"])
    callback = TrajectoryLogger()
    trainer = pl.Trainer(
        accelerator="cpu",
        logger=CSVLogger(tmp_path, "csv", ""),
        callbacks=[callback],
        enable_progress_bar=False,
    )
    module = RestorationModule(method=DDRM(steps=2))
    trainer.predict(module, RestorationDataModule(str(inputs)), return_predictions=False)
    found = rows(tmp_path / "csv")
    assert [row["name"] for row in found] == ["a"] * 3 + ["b"] * 3
    assert len(curve(found, "b", "estimation/residual_over_sigma")) == 2
    assert callback.steps == len(found)


class Refusing(Logger):
    """A logger whose service does not know the user."""

    name, version = "refusing", 0

    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        raise AssertionError

    def log_hyperparams(self, params: Any) -> None:
        raise PermissionError("no key for the service")


def test_a_logger_that_cannot_begin_is_one_sentence_before_any_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    inputs = save_all(tmp_path / "in", ["a.png"])
    option = f"--trainer.logger={Refusing.__module__}.Refusing"
    assert predict(inputs, tmp_path / "out", option) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line == "d2ir: --trainer.logger Refusing cannot begin: no key for the service"
    assert not (tmp_path / "out/restored").exists()


@pytest.mark.slow
def test_weights_and_biases_get_curves_scores_settings_and_pictures_offline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = pytest.importorskip("wandb.sdk.wandb_run")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    seen: list[dict[str, Any]] = []
    told: dict[str, Any] = {}
    log = runs.Run.log

    def heard(self: Any, data: dict[str, Any], *arguments: Any, **named: Any) -> None:
        seen.append(data)
        log(self, data, *arguments, **named)

    monkeypatch.setattr(runs.Run, "log", heard)
    configs = pytest.importorskip("wandb.sdk.wandb_config")
    monkeypatch.setattr(configs.Config, "update", lambda _, new, **__: told.update(new))
    inputs = save_all(tmp_path / "in", ["a.png", "b.png"])
    options = ["--trainer.logger", "WandbLogger", "--trainer.logger.save_dir", str(tmp_path)]
    assert predict(inputs, tmp_path / "out", *options, "--trainer.logger.offline", "true") == 0
    assert [row["name"] for row in seen if "estimation/loss" in row] == ["a", "a", "b", "b"]
    assert [row["name"] for row in seen if "score/nfe" in row] == ["a", "b"]
    assert any("mean/nfe" in row for row in seen)
    assert told["data.batch_size"] == 1
    assert once_and_plain(told)
    kept = files(tmp_path / "wandb")
    assert any(name.endswith(".wandb") for name in kept)
    assert sum("media/images/input" in name for name in kept) == 2
