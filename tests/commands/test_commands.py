"""The commands, and the help on them."""

import os
import subprocess
import sys

import pytest
from repository import ROOT

import d2ir_pl
from d2ir_pl import cli
from d2ir_pl.cli import main
from d2ir_pl.commands.fit import TrainingCLI
from d2ir_pl.commands.pages import PAGES, configs_page, page
from d2ir_pl.commands.parser import CommandCLI
from d2ir_pl.commands.predict import RestorationCLI
from d2ir_pl.compat import option_names
from d2ir_pl.shipped.files import config_names


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in cli.COMMANDS)
    assert main([]) == 2
    assert capsys.readouterr().out == shown


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"{d2ir_pl.__version__}\n"


@pytest.mark.parametrize(
    "arguments",
    [["predict", "--help", "all"], ["predict", "--help=all"], ["help", "predict", "all"]],
    ids=" ".join,
)
def test_the_whole_help_shows_what_can_be_swapped_and_no_training(
    arguments: list[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
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


# ---- Help on a page ----


@pytest.mark.parametrize("command", PAGES)
def test_every_way_to_ask_for_help_shows_the_same_page(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = page(command) + "\n"
    for arguments in (["help", command], [command, "-h"], [command, "--seed", "1", "--help"]):
        assert main(arguments) == 0
        assert capsys.readouterr().out == expected
    # In a terminal of 80 columns; that of `predict`, which people need most, is one screen.
    assert len(page(command, 79).splitlines()) <= (27 if command == "predict" else 60)


@pytest.mark.parametrize("width", [40, 60, 79, 100])
def test_a_page_fits_the_terminal(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(width + 1))
    for command in PAGES:
        examples = [f"  d2ir {command} {example}" for example in PAGES[command].examples]
        lines = page(command).splitlines()
        assert set(examples) <= set(lines)
        assert all(len(line) <= width for line in lines if line not in examples)


def test_every_config_is_on_a_page() -> None:
    words = {word.strip(",") for command in PAGES for word in configs_page(command).split()}
    assert set(config_names()) <= words


def test_all_configs_are_shown_where_they_are_asked_for(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for arguments in (["predict", "--help", "configs"], ["help", "predict", "configs"]):
        assert main(arguments) == 0
        assert capsys.readouterr().out == configs_page("predict") + "\n"


def test_the_configs_of_the_short_page_exist() -> None:
    named = {name for names, _ in PAGES["predict"].configs for name in names.split(", ")}
    assert named <= set(config_names())


@pytest.mark.parametrize("cls", [RestorationCLI, TrainingCLI])
def test_every_option_of_a_page_is_one(cls: type[CommandCLI]) -> None:
    names = {name.split()[0] for name, _ in PAGES[cls.command].options} - {"PHOTO..."}
    assert names <= set(option_names(cls.option_parser()))


def test_the_help_calls_the_program_as_the_user_did() -> None:
    for called, shown in (
        ([str(ROOT / "cli.py")], "python cli.py"),
        (["-m", "d2ir_pl"], "python -m d2ir_pl"),
    ):
        for command in ("predict", "compare"):
            run = subprocess.run(
                [sys.executable, *called, command, "--help"],
                capture_output=True,
                text=True,
                cwd=ROOT,
                env={**os.environ, "COLUMNS": "200"},
            )
            assert run.stdout.startswith(f"usage: {shown} {command} ")


def test_help_on_what_is_no_command_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["help", "predcit"]) == 2
    assert "'predcit' is not a command: did you mean predict?" in capsys.readouterr().err


def test_a_page_that_starts_slowly_says_so_at_once_in_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for terminal in (True, False):
        monkeypatch.setattr(sys.stderr, "isatty", lambda terminal=terminal: terminal)
        assert main(["serve", "--port", "0"]) == 2
        said = capsys.readouterr().err
        assert said.startswith("The page starts") == terminal
        assert said.endswith("d2ir: --port 0 must lie between 1 and 65535\n")
