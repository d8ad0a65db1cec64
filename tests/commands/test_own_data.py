"""Data, loggers and callbacks that the command line names by their classes."""

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
import yaml
from photos import files, photo, save_all
from program import QUICK, pixels, predict, state_of, table
from torch.utils.data import DataLoader
from training_runs import TINY

from d2ir_pl.cli import main
from d2ir_pl.prediction import BatchResult, RestorationDataModule, RestorationModule

HERE = __name__


class FirstOnes(RestorationDataModule):
    """The first photos of a folder."""

    def __init__(self, folder: str, number: int = 2) -> None:
        super().__init__(folder, limit=number)


class Noise(pl.LightningDataModule):
    """Random images in [0, 1], or `top`."""

    def __init__(self, number: int = 8, top: float = 1.0) -> None:
        super().__init__()
        self.images = [top * torch.rand(3, 16, 16) for _ in range(number)]

    def train_dataloader(self) -> DataLoader[Any]:
        return DataLoader(self.images, batch_size=4)  # type: ignore[arg-type]

    def val_dataloader(self) -> DataLoader[Any]:
        return DataLoader(self.images[:2], batch_size=2)  # type: ignore[arg-type]

    predict_dataloader = val_dataloader


class Silent(pl.LightningDataModule):
    """Data without photos to restore."""


class Named(pl.LightningDataModule):
    """Photos in memory under the names of a list, the last one brightened."""

    def __init__(self, names: list[str], bright: float = 0.0) -> None:
        super().__init__()
        photos = [(photo(seed) + 1) / 2 for seed in range(len(names))]
        clean = list(photos)
        photos[-1] = photos[-1] + bright
        self.batches = [
            {"image": y, "name": name, "reference": x}
            for y, name, x in zip(photos, names, clean, strict=True)
        ]

    def predict_dataloader(self) -> DataLoader[Any]:
        return DataLoader(self.batches, batch_size=2)  # type: ignore[arg-type]


class Mine(RestorationModule):
    """A module with an argument of its own, which names the results."""

    def __init__(self, mark: str = "x", **settings: Any) -> None:
        super().__init__(**settings)
        self.mark = mark

    def predict_step(self, batch: Any, batch_idx: int = 0, dataloader_idx: int = 0) -> BatchResult:
        result = super().predict_step(batch, batch_idx, dataloader_idx)
        for image in result.results:
            image.notes.append(f"mark {self.mark} with seed {self.seed}")
        return result


def restore(output: Path, names: list[str], *options: str) -> int:
    data = ["--data", f"{HERE}.Named", "--data.names", json.dumps(names)]
    return main(["predict", *QUICK, *data, "--output", str(output), *options])


def fit(output: Path, *options: str) -> int:
    tiny = [option for option in TINY if not option.startswith("--data.")]
    return main(["fit", *tiny, "--data", f"{HERE}.Noise", "--output", str(output), *options])


def test_data_of_ones_own_are_restored_and_their_config_repeats_the_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    inputs = save_all(tmp_path / "in", ["a.png", "b.png", "c.png"])
    out = str(tmp_path / "out")
    data = ["--data", f"{HERE}.FirstOnes", "--data.folder", str(inputs)]
    assert main(["predict", *QUICK, *data, "--output", out]) == 0
    assert set(table(tmp_path / "out")) == {"a", "b"}
    assert main(["predict", "--config", f"{out}/config.yaml", "--data.number", "3"]) == 0
    assert "1 restored, 2 skipped" in capsys.readouterr().err
    assert main(["predict", *QUICK, "--data.inputs", str(inputs), "--output", out]) == 0
    assert "0 restored, 3 skipped" in capsys.readouterr().err


def test_whatever_data_yield_is_restored_as_the_file_of_that_name_is(tmp_path: Path) -> None:
    save_all(tmp_path / "in", ["a.png", "sub/b.png"])
    assert restore(tmp_path / "out", ["a.png", "sub/b.png"]) == 0
    assert predict(tmp_path / "in", tmp_path / "files") == 0
    for name in ("a", "sub/b"):
        made = pixels(tmp_path / "out" / "restored" / f"{name}.png")
        expected = pixels(tmp_path / "files" / "restored" / f"{name}.png")
        # The file had 8 bits.
        assert abs(made.astype(int) - expected.astype(int)).max() <= 8
    found = table(tmp_path / "out")
    assert {row["status"] for row in found.values()} == {"restored"}
    assert all(float(row["psnr"]) > 20 for row in found.values())
    assert "sub/b" in (tmp_path / "out/report.html").read_text(encoding="utf-8")


def test_a_module_of_ones_own_takes_its_options_and_its_config_repeats_the_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    inputs = save_all(tmp_path / "in", ["a.png"])
    out = tmp_path / "out"
    own = ["--model", f"{HERE}.Mine", "--model.mark", "seven", "--seed", "3"]
    assert predict(inputs, out, "--config", "deblur_defocus", *own) == 0
    assert "mark seven with seed 3" in capsys.readouterr().err
    settings = yaml.safe_load((out / "config.yaml").read_text(encoding="utf-8"))["model"]
    assert settings["class_path"] == f"{HERE}.Mine"
    assert settings["init_args"]["degradation"]["class_path"].endswith("DefocusBlur")
    again = ["predict", "--config", str(out / "config.yaml")]
    assert main(again) == 0
    assert "1 skipped" in capsys.readouterr().err
    assert main([*again, "--model.mark", "eight"]) == 2
    assert "made with other settings" in capsys.readouterr().err
    assert main([*again, "--model.mark", "eight", "--overwrite", "true"]) == 0
    assert "mark eight with seed 3" in capsys.readouterr().err


def test_names_stay_in_the_folder_and_a_bad_image_ends_no_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "deep" / "out"
    names = ["../x", "/a.png", "a.jpg", "a.png", "", "a.png/b", "bright"]
    assert restore(out, names, "--data.bright", "1") == 1
    said = capsys.readouterr().err
    assert "6 restored, 1 failed" in said
    assert "failed: bright: image has values from" in said
    assert {p.name for p in (tmp_path / "deep").iterdir()} == {"out"}
    assert set(table(out)) == {"%2E%2E/x", "a", "a.jpg", "a.png", "unnamed", "a%2Epng/b", "bright"}
    assert len(files(out / "restored")) == 6


def test_two_runs_of_yielded_photos_are_not_mixed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    limit = ["--trainer.limit_predict_batches", "1"]
    assert restore(out, ["a", "b", "c"], *limit) == 0
    said = capsys.readouterr().err
    assert "restored 2/2: b" in said
    assert "--trainer.limit_predict_batches 1 left out" in said
    before = state_of(out / "restored")
    assert restore(out, ["a", "b", "c"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "holds results of 2 images" in line
    assert "--overwrite true" in line
    assert state_of(out / "restored") == before
    assert restore(out, ["c", "d", "e"], "--overwrite", "true") == 0
    assert set(table(out)) == {"c", "d", "e"}
    assert files(out / "restored") == {"c.png", "d.png", "e.png"}


def test_a_prior_is_trained_on_data_of_ones_own(tmp_path: Path) -> None:
    logger = ["--trainer.logger=CSVLogger", f"--trainer.logger.save_dir={tmp_path}"]
    logger += ["--trainer.logger.name=logs", "--trainer.logger.version="]
    steps = ["--trainer.max_steps=4", "--trainer.val_check_interval=2"]
    assert fit(tmp_path / "out", *steps, *logger, "--trainer.enable_checkpointing=false") == 0
    lines = (tmp_path / "logs/metrics.csv").read_text().splitlines()
    assert "train/loss" in lines[0]
    assert "val/loss_t005" in lines[0]
    settings = yaml.safe_load((tmp_path / "logs/hparams.yaml").read_text())
    assert settings["data.number"] == 8
    bare = {name for name in settings if "." not in name}
    assert bare == {"data", "seed", "checkpoint_minutes"}
    assert not {name for name in files(tmp_path / "out") if "ckpt" in name or "tfevents" in name}


def test_images_in_other_units_are_refused_in_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fit(tmp_path / "out", "--data.top", "255", "--trainer.fast_dev_run", "true") == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert "scale them to [0, 1]" in last


@pytest.fixture
def lightning(monkeypatch: pytest.MonkeyPatch) -> None:
    """A class of one's own that derives from the package `lightning`, which is not installed."""
    base = type("Callback", (), {"__module__": "lightning.pytorch.callbacks.callback"})
    module = ModuleType("theirs")
    setattr(module, "Mine", type("Mine", (base,), {"__module__": "theirs"}))  # noqa: B010
    monkeypatch.setitem(sys.modules, "theirs", module)


MISTAKES = [
    (["--trainer.callbacks", "lightning.pytorch.callbacks.Timer"], "do not mix"),
    (["--trainer.callbacks", "theirs.Mine"], "do not mix with pytorch_lightning"),
    (
        ["--trainer.logger+=lightning.pytorch.loggers.CSVLogger"],
        "name pytorch_lightning.loggers.CSVLogger",
    ),
    (["--config", "trainer: {logger: {class_path: lightning.pytorch.X}}"], "do not mix"),
    (["--trainer.callbacks", "EarlyStoping"], "--trainer.callbacks EarlyStoping is unknown: give"),
    (["--trainer.logger", "CSVLogger"], "--trainer.logger.save_dir is missing"),
    (["--trainer.logger", "nowhere.Mine"], "cannot be imported: there is no module nowhere"),
    (["--trainer.callbacks", f"{HERE}.Noise"], "Noise is no Callback: derive it"),
    (["--data", f"{HERE}.Nothing"], f"--data {HERE}.Nothing is unknown: {HERE} has no Nothing"),
    (["--data", f"{HERE}.Noise", "--data.numbr", "3"], "--data.numbr is not an option of Noise"),
    (
        ["--model.method", "nowhere.Mine"],
        "--model.method nowhere.Mine cannot be imported: there is",
    ),
    (["--model.degradation", f"{HERE}.Nothing"], f"--model.degradation {HERE}.Nothing is unknown"),
    (["--model.degradation", f"{HERE}.Noise"], "Noise is no Degradation: derive it"),
    (
        ["--config", "model: {method: {class_path: nowhere.Mine}}"],
        "--model.method nowhere.Mine cannot be imported",
    ),
    (
        ["--config", "model: {degradation: {class_path: Compose, init_args: {parts: [no.X]}}}"],
        "--model.degradation no.X cannot be imported",
    ),
    (["--data", f"{HERE}.Silent"], "Silent has no predict_dataloader"),
    (["--model", f"{HERE}.Nothing"], f"--model {HERE}.Nothing is unknown"),
    (["--model", f"{HERE}.Noise"], "Noise is no RestorationModule: derive it"),
    (["--model", "Mine"], "--model Mine is unknown: give the import path"),
    (["--config", "model: {class_path: nowhere.M}"], "--model nowhere.M cannot be imported"),
    (["--model", f"{HERE}.Mine", "--model.marc", "3"], "did you mean --model.mark?"),
    (
        ["--trainer.limit_predict_batches", "x"],
        "--trainer.limit_predict_batches x must be a number",
    ),
]


@pytest.mark.usefixtures("lightning")
@pytest.mark.parametrize(("options", "expected"), MISTAKES, ids=lambda o: " ".join(o)[:40])
def test_a_class_that_cannot_be_used_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], expected: str
) -> None:
    if options[0] == "--config":
        (tmp_path / "own.yaml").write_text(options[1])
        options = ["--config", str(tmp_path / "own.yaml")]
    inputs = save_all(tmp_path / "in", ["a.png"])
    where = [] if options[0] == "--data" else ["--data.inputs", str(inputs)]
    assert main(["predict", *options, *QUICK, "--output", str(tmp_path / "out"), *where]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert expected in line
    assert "Expected" not in line
    assert "<class" not in line
    assert not (tmp_path / "out").exists()
