"""The command line: which commands there are, and one sentence for what goes wrong in them."""

from __future__ import annotations

import difflib
import importlib
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import d2ir_pl
from d2ir_pl.commands.loading import loading
from d2ir_pl.commands.pages import PAGES, asked_help, configs_page, page
from d2ir_pl.commands.program import program
from d2ir_pl.console import plain
from d2ir_pl.errors import TerminatedError, UserError, of_a_name, of_the_system
from d2ir_pl.stopping import KEPT, Ending, is_child, stoppable


@dataclass(frozen=True)
class Command:
    """A command of `d2ir`. Its module is imported when the command is run, and not before.

    Attributes:
        module: file of `d2ir_pl.commands` that has the command.
        function: function of that module; it takes the arguments and returns the exit status.
        about: half a sentence for the list of commands.
        remedy: what a user who has stopped the command may do.
        opening: what is said at once in a terminal, where nothing else is for some seconds.
    """

    module: str
    function: str
    about: str
    remedy: str = "run the same command again"
    opening: str = ""

    def __call__(self, arguments: list[str]) -> int:
        if self.opening and sys.stderr.isatty() and not {"-h", "--help"} & set(arguments):
            print(self.opening, file=sys.stderr, flush=True)
        with stoppable(Ending()):
            with loading(f"stopped; {self.remedy}"):
                module = importlib.import_module(f"d2ir_pl.commands.{self.module}")
            status: int = getattr(module, self.function)(arguments)
            return status


COMMANDS = {
    "predict": Command(
        "foreword",
        "predict",
        "restore degraded photos",
        KEPT,
    ),
    "propose": Command(
        "propose", "propose", "say what happened to a photo, as a config that restores it"
    ),
    "compare": Command("compare", "compare_runs", "compare the results of runs, image by image"),
    "report": Command("report", "report", "show the results of a run on one page"),
    "serve": Command(
        "serve",
        "serve",
        "a page in the browser that restores photos",
        opening="The page starts, which takes some seconds.",
    ),
    "fit": Command(
        "fit",
        "fit",
        "train a prior on your own photographs",
        "the last checkpoint is kept, and --ckpt_path last goes on from it",
    ),
    "download": Command("priors", "download", "fetch a published prior"),
    "export-prior": Command("priors", "export", "make a prior of a training checkpoint"),
    "inspect-prior": Command("priors", "inspect", "tell what a prior is and how it was made"),
    "completion": Command(
        "completion", "completion", "print a script for Tab in bash, zsh or fish"
    ),
}


_ELSEWHERE = {
    **dict.fromkeys(("restore", "run", "test", "infer", "enhance", "deblur", "denoise"), "predict"),
    **dict.fromkeys(("train", "finetune", "fine-tune"), "fit"),
    **dict.fromkeys(("web", "gui", "ui", "app"), "serve"),
    "diff": "compare",
    "export": "export-prior",
}
"""What other programs call what a command does."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status. Errors of use are one sentence on stderr."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if arguments[:1] == ["help"]:
        arguments = [*arguments[1:2], "--help", *arguments[2:]]
    if not arguments or arguments[0] in ("-h", "--help"):
        return _show(_commands(), 0 if arguments else 2)
    if arguments[0] == "--version":
        print(d2ir_pl.__version__)
        return 0
    name, rest = arguments[0], arguments[1:]
    if name not in COMMANDS:
        near = _ELSEWHERE.get(name) or next(iter(difflib.get_close_matches(name, COMMANDS, 1)), "")
        hint = f"did you mean {near}?" if near else f"use one of {', '.join(COMMANDS)}"
        return _fail(f"{name!r} is not a command: {hint}")
    asked = asked_help(rest) if name in PAGES else None
    if asked in ("page", "configs"):
        return _show(page(name) if asked == "page" else configs_page(name))
    try:
        return COMMANDS[name](["--help"] if asked else rest)
    except UserError as error:
        return _fail(str(error))
    except (OSError, MemoryError, ValueError) as error:
        sentence = of_a_name(error) or of_the_system(error)
        if sentence is None:
            raise
        return _fail(sentence)
    except (KeyboardInterrupt, TerminatedError) as error:
        status = 130 if isinstance(error, KeyboardInterrupt) else 143
        return status if is_child() else _fail(f"stopped; {COMMANDS[name].remedy}", status)


def _commands() -> str:
    lines = [f"  {name:14s} {command.about}" for name, command in COMMANDS.items()]
    usage = f"usage: {program()} COMMAND [OPTIONS]"
    return "\n".join(
        [usage, "", "commands:", *lines, "", f"'{program()} help COMMAND' shows what one takes."]
    )


def _show(text: str, status: int = 0) -> int:
    """Print help, of which a reader such as `head` may want the beginning alone."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return status


def _fail(message: str, status: int = 2) -> int:
    print(f"d2ir: {plain(message)}", file=sys.stderr)
    return status
