"""What can go wrong with the files of an output folder, in one sentence; and who holds it."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from d2ir_pl.errors import OutputError, UnwritableError

MAPS = ("degradation", "degraded", "uncertainty", "interval", "filled_in")
"""Folders of pictures that say something of a restored image."""

PLACES = ("restored", *MAPS, "preview", "tensorboard")
"""Folders inside an output folder, each of which has files under the names of images."""

_OF_THE_NAME = {errno.ENAMETOOLONG, errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.EILSEQ}
_OF_THE_NAME |= {errno.ELOOP, errno.EINVAL}
"""Numbers of errors that one file has by its name, and that others are free of."""

_REMEDIES = {
    errno.EACCES: "get permission to write it",
    errno.EPERM: "get permission to write it",
    errno.EROFS: "make the disk writable",
    errno.EISDIR: "move the folder of that name away",
    errno.ENOTDIR: "move the file away that stands where a folder has to be",
    errno.EEXIST: "move the file away that stands where a folder has to be",
}


@contextmanager
def writing(root: Path, of_one_image: bool = False) -> Iterator[None]:
    """Make one sentence of an error inside: it says which file cannot be written.

    Args:
        root: the output folder.
        of_one_image: whether only files of one image are written, so that what is wrong with their
            names concerns no other.

    Raises:
        OutputError: with that sentence, in place of an OSError; an `UnwritableError` where the name
            of one file is to blame.
    """
    try:
        yield
    except OSError as error:
        where = Path(os.fsdecode(error.filename2 or error.filename or root))
        if of_one_image and error.errno in _OF_THE_NAME and not _in_the_way(where, root):
            raise UnwritableError(
                f"its results cannot be written under its name ({error.strerror}): rename the "
                "photo or its folder, or choose an --output with a shorter path"
            ) from error
        remedy = _REMEDIES.get(error.errno or 0, "make room for it")
        raise OutputError(
            f"{where} cannot be written ({error.strerror or error}): {remedy}, or choose another "
            "--output; finished images are kept"
        ) from error


def require_no_link(root: Path, path: Path) -> None:
    """Check that no folder between a root and what lies below it is a link, which leads elsewhere.

    Raises:
        OutputError: if one is.
    """
    for parent in (path, *path.parents):
        if parent == root:
            return
        # These say no of a name that is too long, which is refused where it is written.
        if os.path.islink(parent) and os.path.isdir(parent):
            raise OutputError(
                f"{parent} is a link to another folder, where nothing is written: move it away, or "
                "choose another --output"
            )


def files_below(folder: Path) -> list[Path]:
    """All files below a folder; none where there is no such folder.

    Raises:
        OutputError: if a folder cannot be listed.
    """

    def refuse(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError | NotADirectoryError):
            raise OutputError(
                f"{error.filename} cannot be listed ({error.strerror}): get permission to read it"
            )

    return [Path(at, file) for at, _, files in os.walk(folder, onerror=refuse) for file in files]


def _in_the_way(where: Path, root: Path) -> bool:
    """Whether a file stands in place of a folder for all results, such as `restored`."""
    below = where.relative_to(root).parts if where.is_relative_to(root) else ()
    return bool(below) and (root / below[0]).exists() and not (root / below[0]).is_dir()


@contextmanager
def locked(root: Path) -> Iterator[None]:
    """Hold a folder for this process; a crash releases it.

    Raises:
        OutputError: if another run holds it, or it cannot be locked.
    """
    path = root / ".lock"
    # A link would lead out of the folder, and a named pipe block for ever.
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        descriptor = os.open(path, flags, 0o666)
    except OSError as error:
        raise OutputError(
            f"{path} cannot be opened ({error.strerror}): remove it, or choose another --output"
        ) from None
    with os.fdopen(descriptor, "r+b", buffering=0) as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            raise OutputError(
                f"another run is writing to {root}: wait for it or choose another --output"
            ) from None
        except OSError as error:
            raise OutputError(
                f"--output {root} cannot be locked ({error.strerror}): choose a folder on a local "
                "disk"
            ) from None
        yield
