"""`completion`: a script that lets a shell complete commands, options, configs and files."""

from __future__ import annotations

import argparse
import importlib
from typing import Any

from jsonargparse import ArgumentParser

from d2ir_pl.commands.arguments import INPUTS
from d2ir_pl.commands.classes import CLASSES, chosen_classes, known_classes
from d2ir_pl.commands.compare import compare_runs_parser
from d2ir_pl.commands.fit import TrainingCLI
from d2ir_pl.commands.pages import PAGES
from d2ir_pl.commands.parser import CommandCLI
from d2ir_pl.commands.plain import PlainParser
from d2ir_pl.commands.predict import RestorationCLI
from d2ir_pl.commands.priors import export_parser, inspect_parser
from d2ir_pl.commands.propose import propose_parser
from d2ir_pl.commands.report import report_parser
from d2ir_pl.commands.serve import serve_parser
from d2ir_pl.compat import actions_with_values, options_with_choices
from d2ir_pl.errors import UsageError
from d2ir_pl.priors.published import PUBLISHED
from d2ir_pl.shipped.files import config_names

SHELLS = ("bash", "zsh", "fish")
"""Shells that a script can be written for."""

_PLAIN = {
    "propose": propose_parser,
    "compare": compare_runs_parser,
    "report": report_parser,
    "serve": serve_parser,
    "export-prior": export_parser,
    "inspect-prior": inspect_parser,
}
"""Commands whose parser is argparse's."""


def completion_parser() -> PlainParser:
    """The options of the command."""
    parser = PlainParser(
        "completion",
        description="Print a script with which a shell completes commands, options, names of "
        "configs and files when Tab is pressed. Save it where the shell looks for such scripts: "
        "~/.local/share/bash-completion/completions/d2ir for bash, _d2ir in a folder of $fpath for "
        "zsh, ~/.config/fish/completions/d2ir.fish for fish.",
    )
    parser.add_argument("shell", choices=SHELLS, help="the shell that reads the script")
    return parser


def completion(arguments: list[str]) -> int:
    """Print the script for a shell."""
    shell = completion_parser().parse_args(arguments).shell
    try:
        import shtab
    except ImportError:
        raise UsageError("completion needs shtab: install it with pip install shtab") from None
    # Its annotation knows a text alone; its documentation, a text for each shell.
    preamble: Any = _preamble()
    print(shtab.complete(_program(shtab.FILE), shell, preamble=preamble))
    return 0


def _program(file: Any) -> argparse.ArgumentParser:
    """All commands with their options, as argparse knows them.

    Args:
        file: how shtab is told that a file is completed.
    """
    program = argparse.ArgumentParser("d2ir")
    program.add_argument("--version", action="store_true")
    commands = program.add_subparsers()
    for cls in (RestorationCLI, TrainingCLI):
        _add_options(commands.add_parser(cls.command, help=cls.about), cls, file)
    for name, make in {**_PLAIN, "completion": completion_parser}.items():
        made = make()
        for action in actions_with_values(made):
            if action.type is not None or action.dest in ("prior", "photo"):
                action.complete = file  # type: ignore[attr-defined]
        commands.add_parser(name, parents=[made], add_help=False, help=made.description)
    fetch = commands.add_parser("download", help="fetch a published prior")
    fetch.add_argument("name", choices=list(PUBLISHED))
    on_help = commands.add_parser("help", help="show what a command takes")
    on_help.add_argument("name", choices=[*PAGES, *_PLAIN, "download", "completion"])
    return program


def _add_options(parser: argparse.ArgumentParser, cls: type[CommandCLI], file: Any) -> None:
    """Add the options of a command, those of every class that can be chosen among them."""
    parser.add_argument("photo", nargs="*").complete = file  # type: ignore[attr-defined]
    options = options_with_choices(cls.option_parser())
    if cls is RestorationCLI:
        importlib.import_module("d2ir_pl.restoration.baselines")  # a class is known once imported
        for key, base in CLASSES.items():
            options[f"--{key}"] = ["auto", *known_classes(key)]
            for chosen in chosen_classes(base):
                inner = ArgumentParser()
                inner.add_class_arguments(chosen, key)
                options = {**options_with_choices(inner), **options}
    for name, choices in options.items():
        if name in ("-h", "--help") or not name.startswith("--") or name.endswith("+"):
            continue
        action = parser.add_argument(name, choices=choices or None)
        if name == "--config":
            action.complete = dict.fromkeys(SHELLS, "_d2ir_config")  # type: ignore[attr-defined]
            action.complete["fish"] = "(_d2ir_config)"  # type: ignore[attr-defined]
        elif name.removeprefix("--") in cls.path_options | {INPUTS}:
            action.complete = file  # type: ignore[attr-defined]


def _preamble() -> dict[str, str]:
    """Functions that complete the name of a shipped config, or a file."""
    names = " ".join(config_names())
    return {
        "bash": f'_d2ir_config() {{ compgen -W "{names}" -- "$1"; compgen -f -- "$1"; }}',
        "zsh": f"_d2ir_config() {{ _alternative 'configs:config:({names})' 'files:file:_files' }}",
        "fish": f"function _d2ir_config; string split ' ' '{names}'; __fish_complete_path; end",
    }
