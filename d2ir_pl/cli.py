"""The command line: which commands there are, and one sentence for what goes wrong in them."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Callable, Sequence

import d2ir_pl
from d2ir_pl.commands import priors
from d2ir_pl.commands.compare import compare_runs
from d2ir_pl.commands.fit import fit
from d2ir_pl.commands.predict import predict
from d2ir_pl.commands.propose import propose
from d2ir_pl.commands.report import report
from d2ir_pl.commands.serve import serve
from d2ir_pl.errors import UserError

COMMANDS: dict[str, tuple[Callable[[list[str]], int], str]] = {
    "predict": (predict, "restore degraded photos"),
    "propose": (propose, "say what happened to a photo, as a config that restores it"),
    "compare": (compare_runs, "compare the results of runs, image by image"),
    "report": (report, "show the results of a run on one page"),
    "serve": (serve, "a page in the browser that restores photos"),
    "fit": (fit, "train a prior on your own photographs"),
    "download": (priors.download, "fetch a published prior"),
    "export-prior": (priors.export, "make a prior of a training checkpoint"),
    "inspect-prior": (priors.inspect, "tell what a prior is and how it was made"),
}

REMEDIES = {
    "predict": "finished images are kept, and the same command does the rest",
    "fit": "the last step is kept, and --ckpt_path last goes on from it",
}
"""What a user who has stopped a command may do."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status. Errors of use are one sentence on stderr."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if not arguments or arguments[0] in ("-h", "--help"):
        print("usage: d2ir COMMAND [OPTIONS]\n\ncommands:")
        for name, (_, about) in COMMANDS.items():
            print(f"  {name:14s} {about}")
        print("\n'd2ir COMMAND --help' lists the options of a command.")
        return 0 if arguments else 2
    if arguments[0] == "--version":
        print(d2ir_pl.__version__)
        return 0
    name, rest = arguments[0], arguments[1:]
    if name not in COMMANDS:
        near = difflib.get_close_matches(name, COMMANDS, 1)
        hint = f"did you mean {near[0]}?" if near else f"use one of {', '.join(COMMANDS)}"
        return _fail(f"{name!r} is not a command: {hint}")
    try:
        return COMMANDS[name][0](rest)
    except UserError as error:
        return _fail(str(error))
    except KeyboardInterrupt:
        return _fail(f"stopped; {REMEDIES.get(name, 'run the same command again')}", 130)


def _fail(message: str, status: int = 2) -> int:
    print(f"d2ir: {message}", file=sys.stderr)
    return status
