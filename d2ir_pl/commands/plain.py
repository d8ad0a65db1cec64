"""The parser of commands that need neither Lightning nor YAML files."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from typing import Any, NoReturn

from d2ir_pl.commands.program import program
from d2ir_pl.compat import option_names
from d2ir_pl.errors import UsageError


class PlainParser(argparse.ArgumentParser):
    """Parses the options of a command; what is wrong with them is a `UsageError`.

    Args:
        command: name of the command.
        description: sentences for its help.
    """

    def __init__(self, command: str, description: str) -> None:
        super().__init__(f"{program()} {command}", description=description)

    def parse_args(self, args: Sequence[str], namespace: Any = None) -> Any:  # type: ignore[override]
        """Parse options, among which a file whose name begins with a hyphen is a file."""
        known = option_names(self)
        files = [a.startswith("-") and a not in known and os.path.lexists(a) for a in args]
        named = [f"./{a}" if file else a for a, file in zip(args, files, strict=True)]
        return super().parse_args(named, namespace)

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see '{self.prog} --help'")
