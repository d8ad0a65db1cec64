"""Libraries for kinds of photos that not everyone has, which are an extra of the package."""

from __future__ import annotations

import importlib
from typing import Any

from d2ir_pl.image_io.photo import RefusedError

REMEDY = "pip install 'd2ir_pl[photos]'"
"""How to install them."""


def library(name: str, kind: str) -> Any:
    """A module of the extra.

    Args:
        name: name of the module.
        kind: what it reads, such as `HEIC`.

    Raises:
        RefusedError: if it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError:
        raise RefusedError(
            f"is a {kind} photo, which needs {name.replace('_', '-')}: {REMEDY}"
        ) from None
