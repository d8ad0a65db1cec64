"""The parser of commands that need neither Lightning nor YAML files."""

from __future__ import annotations

import argparse
from typing import NoReturn

from d2ir_pl.errors import UsageError


class PlainParser(argparse.ArgumentParser):
    """Parses the options of a command; what is wrong with them is a `UsageError`."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see '{self.prog} --help'")
