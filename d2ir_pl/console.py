"""What the program says in a terminal, and what it keeps Lightning from saying there."""

from __future__ import annotations

import contextlib
import logging
import unicodedata
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING

from d2ir_pl.compat import quiet_event_writers

if TYPE_CHECKING:
    from rich.console import Console


def plain(text: str) -> str:
    r"""Write out what a terminal takes for commands, which names and metadata of files may hold.

    Control characters, and those that turn the direction of writing, become `\x1b` and so on; line
    breaks and tabs stay.

    Args:
        text: any text.
    """
    return "".join(_plain_character(character) for character in text)


def _plain_character(character: str) -> str:
    if character in "\n\t" or not (_is_control(character) or character in _DIRECTIONS):
        return character
    return character.encode("unicode_escape", "backslashreplace").decode("ascii")


def _is_control(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")


_DIRECTIONS = frozenset(map(chr, (*range(0x202A, 0x202F), *range(0x2066, 0x206A))))


def say(console: Console, text: str) -> None:
    """Print a line as it is: square brackets are no markup, and the terminal alone breaks it."""
    console.print(plain(text), markup=False, highlight=False, soft_wrap=True)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Leave out Lightning's tips and hints, which are for people who write modules."""
    for library in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(library).setLevel(logging.WARNING)
    # What a profiler has measured is what the user has asked for.
    logging.getLogger("pytorch_lightning.profilers").setLevel(logging.INFO)
    with warnings.catch_warnings(), quiet_event_writers():
        warnings.filterwarnings("ignore", module="pytorch_lightning")
        warnings.filterwarnings("ignore", message=".*lightning_utilities.*")
        yield
