"""The commands, and the help on them."""

import pytest

import d2ir_pl
from d2ir_pl import cli
from d2ir_pl.cli import main


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in cli.COMMANDS)
    assert main([]) == 2
    assert capsys.readouterr().out == shown


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"{d2ir_pl.__version__}\n"


def test_predict_help_shows_what_can_be_swapped_and_no_training(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["predict", "--help"])
    assert stop.value.code == 0
    shown = capsys.readouterr().out
    for option in ("--model.prior", "--model.degradation", "--model.method", "--data.inputs"):
        assert option in shown
    for option in ("max_epochs", "seed_everything", "gradient_clip"):
        assert option not in shown


def test_class_help_lists_the_settings_of_a_method(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["predict", "--model.method.help", "D2IR"])
    assert stop.value.code == 0
    assert "--model.method.estimation.steps" in capsys.readouterr().out
