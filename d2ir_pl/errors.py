"""Errors that a user can mend. The message of each is one sentence that names the remedy."""

from __future__ import annotations

import errno
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any


class UserError(ValueError):
    """Something that the user gave cannot be used; the message says what, and how to mend it."""


class UsageError(UserError):
    """An option of the command line is wrong."""


class InputError(UserError):
    """The input files cannot be used."""


class ImageError(UserError):
    """A file cannot be read as an image, or an image in memory is of a wrong kind."""


class OutputError(UserError):
    """The output folder cannot be used."""


class UnwritableError(OutputError):
    """The results of one image cannot be written, and those of others can."""


class PriorError(UserError):
    """A prior cannot be loaded."""


class DeviceError(UserError):
    """The device that is computed on has failed, and computes nothing more for this process."""


class DownloadError(UserError):
    """A file cannot be downloaded, or is not what it should be."""


class TrainingError(UserError):
    """Training cannot begin or go on."""


class RestorationError(UserError):
    """Some of the images given to `restore` could not be restored.

    Attributes:
        restored: what became of each image, in the order in which they were given: its `Restored`,
            or None.
    """

    def __init__(self, message: str, restored: Sequence[Any] = ()) -> None:
        super().__init__(message)
        self.restored = restored


class TerminatedError(BaseException):
    """The system has asked the program to end. It is no Exception, so that nothing stands it."""


class ProcessError(UserError):
    """Another process of the run has died."""


_OF_THE_SYSTEM = frozenset(
    getattr(errno, name, -1)
    for name in (
        *("ENOSPC", "EDQUOT", "EIO", "EROFS", "ESTALE", "EMFILE", "ENFILE", "ENOMEM", "EAGAIN"),
        *("EACCES", "EPERM", "EFBIG"),
    )
)
"""Errors that come of the state of a computer, and not of what a program asks of it."""


_OF_A_NAME = frozenset({errno.ENAMETOOLONG, errno.ELOOP})
_NUL = ("embedded null byte", "embedded null character")


def of_a_name(error: BaseException) -> str | None:
    """The sentence about an error that comes of what a file was called; None for another one."""
    if str(error) in _NUL:
        return "no file can have a name with a NUL character in it: give another name"
    if isinstance(error, OSError) and error.errno in _OF_A_NAME:
        name = f"{str(error.filename)[:60]}..." if error.filename is not None else "a name"
        return f"{name} cannot be a file's name ({error.strerror}): give another one"
    return None


def of_the_system(error: BaseException) -> str | None:
    """The sentence about an error that comes of the state of the computer; None for another one.

    Args:
        error: one that nothing in the program has expected at its place.
    """
    if isinstance(error, MemoryError):
        return "memory ran out: close other programs, or make the photos or the batches smaller"
    if not isinstance(error, OSError) or error.errno not in _OF_THE_SYSTEM:
        return None
    where = f" for {error.filename}" if error.filename is not None else ""
    return (
        f"the system has refused what is needed{where} ({error.strerror}): see to that, and run "
        "the same command again"
    )


def in_words(error: BaseException) -> str:
    """An error as part of a sentence, on one line and not too long.

    Raises:
        DeviceError: if the error is none of a photo: after one of CUDA's own, every further
            computation of the process fails.
    """
    if isinstance(error, MemoryError):
        return "memory ran out"
    text = str(error)
    if isinstance(error, RuntimeError) and "CUDA error" in text and "out of memory" not in text:
        line = text.partition("\n")[0]
        raise DeviceError(
            f"the GPU has failed ({line:.120}): what is restored is kept, and the same command "
            "restores the rest; if it fails again, restart the computer or use another GPU"
        ) from error
    return " ".join(f"{error!r:.200}".split())


@contextmanager
def naming(setting: str) -> Iterator[None]:
    """Begin the message of a ValueError raised inside with the setting that is to blame.

    Args:
        setting: the setting, such as `estimation`; a colon follows it.

    Raises:
        ValueError: the same one, a `UserError` where it was one, with the longer message.
    """
    try:
        yield
    except UserError as error:
        raise type(error)(f"{setting}: {error}") from None
    except ValueError as error:
        raise ValueError(f"{setting}: {error}") from None


def require(
    name: str,
    value: float,
    low: float = -math.inf,
    high: float = math.inf,
    *,
    above: float = -math.inf,
    below: float = math.inf,
    remedy: str = "",
) -> None:
    """Check that a number lies in its range.

    The command line puts the option before the message, so that `steps` becomes
    `--model.method.steps`.

    Args:
        name: name of the parameter, as its constructor calls it, such as `steps`.
        value: number that was given for it.
        low: least value that is allowed.
        high: greatest value that is allowed.
        above: bound that the value must exceed.
        below: bound that the value must stay under.
        remedy: end of the sentence, such as `such as 0.03`.

    Raises:
        ValueError: if the value is outside the range, or is not a number.
    """
    try:
        if low <= value <= high and above < value < below:
            return
        shown, kind = str(value), ""
    except (TypeError, ValueError, RuntimeError):  # from Python, anything may be given
        shown, kind = f"{value!r:.60}", "a number "
    bounds = [
        f"{text} {bound:g}"
        for text, bound in (
            ("at least", low),
            ("above", above),
            ("at most", high),
            ("below", below),
        )
        if math.isfinite(bound)
    ]
    end = f", {remedy}" if remedy else ""
    raise ValueError(f"{name} {shown} must be {kind}{' and '.join(bounds)}{end}")
