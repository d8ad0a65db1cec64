"""`report`: a page with the results of a run."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

from d2ir_pl.commands.plain import PlainParser
from d2ir_pl.console import plain
from d2ir_pl.reports.page import DETAILED, write_report
from d2ir_pl.results.folder import ResultFolder


def report_parser() -> PlainParser:
    """The options of the command."""
    parser = PlainParser("report", description="Show all results of a run on one page.")
    parser.add_argument("results", type=Path, help="the --output of 'd2ir predict'")
    parser.add_argument(
        "--photos", type=int, default=DETAILED, help="how many are shown with all their pictures"
    )
    return parser


def report(arguments: list[str]) -> int:
    """Write `report.html` into a folder of results."""
    options = report_parser().parse_args(arguments)
    folder = ResultFolder(options.results)
    print(plain(str(write_report(folder, options.photos))))
    say_damaged([folder])
    return 0


def say_damaged(folders: Iterable[ResultFolder]) -> None:
    """Say on stderr which records of folders are left out, as they cannot be read."""
    for folder in folders:
        for name, reason in folder.damaged().items():
            line = f"d2ir: {folder.json(name)} {reason}: it is left out"
            print(plain(line), file=sys.stderr)
