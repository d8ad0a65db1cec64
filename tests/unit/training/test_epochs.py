"""Epochs of a training: how long they are, and that stopping and going on keeps their count."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import pytorch_lightning as pl
import torch
from training_runs import averaged, data, fit

from d2ir_pl.training.epochs import ResumedEpoch
from d2ir_pl.training.module import PriorTrainingModule

BATCHES = {
    "single": ["--data.batch_size=2", "--trainer.val_check_interval=4"],
    "summed": [
        "--data.batch_size=1",
        "--trainer.accumulate_grad_batches=2",
        "--trainer.val_check_interval=9",
    ],
}
"""Options with which five photographs make three optimiser steps."""

SAME = ["--model.decay_steps=0", "--model.unet.dropout=0.2"]
"""Without a decay, which depends on the last step, a run that is stopped can be compared."""


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """Step, epoch, batch and levels of every batch that is trained on, and ends of epochs."""
    found: list[tuple[Any, ...]] = []

    def began(
        self: ResumedEpoch, trainer: pl.Trainer, module: pl.LightningModule, batch: Any, index: int
    ) -> None:
        found.append((trainer.global_step, trainer.current_epoch, index, *batch.u.tolist()))

    def ended(self: ResumedEpoch, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        found.append((trainer.global_step, trainer.current_epoch, "end"))

    monkeypatch.setattr(ResumedEpoch, "on_train_batch_start", began)
    monkeypatch.setattr(ResumedEpoch, "on_train_epoch_end", ended)
    return found


def trained_on(seen: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    return [event for event in seen if event[2] != "end"]


@pytest.mark.parametrize(("batches", "stop"), [("single", 3), ("single", 4), ("summed", 4)])
def test_a_resumed_run_goes_on_in_the_epoch_where_it_stopped(
    photographs: Path, tmp_path: Path, seen: list[tuple[Any, ...]], batches: str, stop: int
) -> None:
    options = [*SAME, *BATCHES[batches]]
    assert fit(photographs, tmp_path / "whole", *options, "--trainer.max_steps=7") == 0
    whole = trained_on(seen)
    assert [event[1] for event in whole] == sorted(event[0] // 3 for event in whole)
    seen.clear()
    assert fit(photographs, tmp_path / "parts", *options, f"--trainer.max_steps={stop}") == 0
    resume = ["--trainer.max_steps=7", "--ckpt_path", "last"]
    assert fit(photographs, tmp_path / "parts", *options, *resume) == 0
    assert trained_on(seen) == whole
    one, other = averaged(tmp_path / "whole"), averaged(tmp_path / "parts")
    assert all(torch.equal(value, other[name]) for name, value in one.items())


def test_an_interrupted_run_goes_on_in_the_epoch_where_it_stopped(
    photographs: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    seen: list[tuple[Any, ...]],
) -> None:
    options = [*SAME, *BATCHES["single"], "--trainer.max_steps=-1", "--trainer.max_epochs=2"]
    step = PriorTrainingModule.training_step

    def interrupted(self: PriorTrainingModule, batch: Any, batch_idx: int) -> torch.Tensor:
        if self.global_step == 2:
            raise KeyboardInterrupt
        return step(self, batch, batch_idx)

    with monkeypatch.context() as patch:
        patch.setattr(PriorTrainingModule, "training_step", interrupted)
        assert fit(photographs, tmp_path, *options) == 130
    seen.clear()
    assert fit(photographs, tmp_path, *options, "--ckpt_path=last") == 0
    assert [event[:3] for event in seen] == [
        *[(2, 0, 2), (3, 0, "end")],
        *[(3, 1, 0), (4, 1, 1), (5, 1, 2), (6, 1, "end")],
    ]


def test_epochs_end_a_training_and_are_told(
    photographs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--data.batch_size=2", "--trainer.val_check_interval=5", "--trainer.max_epochs=2"]
    assert fit(photographs, tmp_path, *options, "--trainer.enable_progress_bar=true") == 0
    bar, error = capsys.readouterr()
    assert "Epoch 2/2" in bar
    assert "Epoch 0" not in bar
    assert "an epoch is 3 steps" in error
    assert "epoch 2, step 5 of 6: " in error  # the end is known from the epochs
    assert "trained 6 steps" in error
    state = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert state["optimizer_states"][0]["param_groups"][0]["lr"] == 0  # it has fallen to 0
    again = ["--ckpt_path=last", "--trainer.max_epochs=1"]
    assert fit(photographs, tmp_path, *options[:2], *again) == 2
    assert "--trainer.max_epochs 1 is less than the 2 epochs" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("batch_size", "world", "accumulated", "length"),
    [(1, 1, 1, 5), (2, 1, 1, 3), (5, 1, 1, 1), (64, 1, 1, 1), (1, 2, 1, 3), (1, 1, 3, 6)],
)
def test_an_epoch_is_a_patch_a_photograph_in_whole_steps(
    photographs: Path, batch_size: int, world: int, accumulated: int, length: int
) -> None:
    module = data(photographs, batch_size=batch_size)
    trainer = SimpleNamespace(
        global_rank=0, world_size=world, accumulate_grad_batches=accumulated, global_step=0
    )
    module.trainer = cast(pl.Trainer, trainer)
    assert len(module.train_dataloader()) == module.epoch_length() == length
    patches = length * batch_size * world
    assert patches >= 5 > patches - batch_size * world * accumulated
