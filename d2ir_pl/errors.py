"""Errors that a user can mend. The message of each is one sentence that names the remedy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class UserError(ValueError):
    """Something that the user gave cannot be used; the message says what, and how to mend it."""


class UsageError(UserError):
    """An option of the command line is wrong."""


class InputError(UserError):
    """The input files cannot be used."""


class ImageError(UserError):
    """A file cannot be read as an image."""


class OutputError(UserError):
    """The output folder cannot be used."""


class PriorError(UserError):
    """A prior cannot be loaded."""


class DownloadError(UserError):
    """A file cannot be downloaded, or is not what it should be."""


class TrainingError(UserError):
    """Training cannot begin or go on."""


@contextmanager
def naming(setting: str) -> Iterator[None]:
    """Begin the message of a ValueError raised inside with the setting that is to blame."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{setting}: {error}") from None
