"""How the program was called, for its help."""

from __future__ import annotations

import sys
from pathlib import Path


def program() -> str:
    """What a user types before the name of a command."""
    called = Path(sys.argv[0])
    if called.name == "cli.py":
        return "python cli.py"
    return "python -m d2ir_pl" if called.parts[-2:] == ("d2ir_pl", "__main__.py") else "d2ir"
