"""The seconds of a start, in which a command imports what it needs."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

from d2ir_pl.stopping import ending_at_once


@contextmanager
def loading(stopped: str) -> Iterator[None]:
    """Imports happen without a search for garbage, which they make none of.

    The search would take a fifth of their time. It looks at nothing that was imported afterwards
    either. Ctrl-C ends the program at once meanwhile.

    Args:
        stopped: what is said if it does.
    """
    searches = gc.isenabled()
    gc.disable()
    try:
        with ending_at_once(stopped):
            yield
    finally:
        if searches:
            gc.freeze()
            gc.enable()
