"""`compare`: what a change of method or settings has done to the results."""

from __future__ import annotations

from pathlib import Path

from d2ir_pl.commands.plain import PlainParser
from d2ir_pl.commands.report import say_damaged
from d2ir_pl.reports.comparison import compare
from d2ir_pl.reports.table import print_comparisons


def compare_runs_parser() -> PlainParser:
    """The options of the command."""
    parser = PlainParser(
        "compare",
        description="Compare results, image by image: one run with others, or all runs in a "
        "folder with those of the same path in others.",
    )
    parser.add_argument("base", type=Path, help="the --output of a run, or a folder of several")
    parser.add_argument("new", type=Path, nargs="+", help="the same of a changed method or setting")
    parser.add_argument(
        "--markdown", action="store_true", help="a table in Markdown, for a pull request"
    )
    parser.add_argument(
        "--output", type=Path, help="folder for pictures: a TensorBoard run an image"
    )
    return parser


def compare_runs(arguments: list[str]) -> int:
    """Print a table of base against new: a row for each task, and each folder of new results."""
    options = compare_runs_parser().parse_args(arguments)
    found = {new: compare(options.base, new) for new in options.new}
    print_comparisons(options.base, found, options.markdown)
    folders = [run for tasks in found.values() for task in tasks for run in (task.base, task.new)]
    say_damaged({folder.root: folder for folder in folders}.values())
    if options.output is not None:
        # Imported here because it needs PyTorch, without which the table is there at once.
        from d2ir_pl.reports.tensorboard import write_pictures

        write_pictures(options.output, found)
        print(f"\npictures: tensorboard --logdir {options.output}")
    return 0
