"""What the program says in a terminal, and what it keeps Lightning from saying there."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING

from d2ir_pl.compat import death_of_process, dying_processes

if TYPE_CHECKING:
    from rich.console import Console


def say(console: Console, text: str) -> None:
    """Print a line as it is: square brackets are no markup, and the terminal alone breaks it."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Leave out Lightning's tips and hints, which are for people who write modules."""
    for library in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(library).setLevel(logging.WARNING)
    # What a profiler has measured is what the user has asked for.
    logging.getLogger("pytorch_lightning.profilers").setLevel(logging.INFO)
    launcher = dying_processes()
    launcher.setLevel(logging.INFO)
    launcher.addFilter(_in_own_words)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="pytorch_lightning")
        warnings.filterwarnings("ignore", message=".*lightning_utilities.*")
        yield


def _in_own_words(record: logging.LogRecord) -> bool:
    """Reword what Lightning says when a process has died; as a filter it lets all lines pass."""
    text = death_of_process(record.getMessage())
    if text is not None:
        record.msg, record.args = (
            f"d2ir: {text} The run stops; finished images are kept, and the same command does the "
            "rest",
            (),
        )
    return True
