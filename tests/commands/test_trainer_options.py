"""Which of the trainer's options are offered, whatever a later Lightning adds to them."""

import inspect
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
from photos import save_all

from d2ir_pl.commands.fit import TrainingCLI, parse_training_options
from d2ir_pl.commands.parser import CommandCLI
from d2ir_pl.commands.predict import RestorationCLI

SIGNATURE = inspect.signature(pl.Trainer).parameters


@pytest.mark.parametrize("cli", [RestorationCLI, TrainingCLI])
def test_lightning_has_what_is_offered(cli: type[CommandCLI]) -> None:
    assert cli.trainer_options <= SIGNATURE.keys()
    assert "precision" not in cli.trainer_options  # it has a type and help of its own


def test_predict_offers_these_and_no_others(parse: Any) -> None:
    offered = parse().config.trainer.as_dict().keys()
    assert offered == RestorationCLI.trainer_options | {"precision"}


def test_fit_offers_these_and_no_others(tmp_path: Path) -> None:
    save_all(tmp_path, ["a.png", "b.png"], 70, 70)
    offered = parse_training_options(
        ["--data.inputs", str(tmp_path), "--trainer.accelerator", "cpu"]
    ).config.trainer.as_dict()
    assert offered.keys() == TrainingCLI.trainer_options | {"precision"}
