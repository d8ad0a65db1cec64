"""Download one file and verify it, resuming where an earlier transfer stopped."""

import fcntl
import hashlib
import http.client
import os
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import BinaryIO

from d2ir_pl.errors import DownloadError, in_words
from d2ir_pl.priors.addresses import SCHEMES, Pace, answered, in_brief, opener

Progress = Callable[[int, int], None]
"""A function that is called with the bytes done and the bytes in all."""

Problem = Callable[[Path], str | None]
"""A function that says what is wrong with a file, as a phrase that follows its name, or None."""

_TIMEOUT_S = 30.0
_RETRY_PAUSES_S = (1.0, 3.0)  # three attempts in all
_CHUNK_BYTES = 1 << 20


class _InterruptedError(Exception):
    """The network or the server failed in a way that another attempt may cure."""


class _CompleteError(Exception):
    """The server has no bytes beyond those that are here."""


@dataclass(frozen=True)
class RemoteFile:
    """A published file.

    Attributes:
        url: http(s) address of the file.
        size: number of bytes; None to believe what the server announces.
        sha256: digest in lowercase hexadecimal; None where none is published.
    """

    url: str
    size: int | None = None
    sha256: str | None = None


def no_problem(_path: Path) -> None:
    """Accept any content."""


def cache_dir() -> Path:
    """The folder of downloaded files.

    It is `$D2IR_CACHE`, else `$XDG_CACHE_HOME/d2ir_pl`, else `~/.cache/d2ir_pl`.
    """
    if own := os.environ.get("D2IR_CACHE"):
        return Path(own).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "d2ir_pl"


def download(
    remote: RemoteFile,
    destination: Path,
    *,
    progress: Progress | None = None,
    problem: Problem = no_problem,
) -> Path:
    """Bring `remote` to `destination`, unless it is already there.

    Bytes go to `<destination>.part`, which survives a failed transfer and is continued by the
    next call. An existing destination is replaced only by a verified file.

    Args:
        remote: address of the file, with its size and hash as far as they are known.
        destination: path of the file to write; missing parent folders are created.
        progress: function that is called at the start of each attempt, where the bytes done are
            those that an earlier one has left, and after each piece received.
        problem: function that looks for what is wrong with a file that has no published hash.

    Returns:
        `destination`.

    Raises:
        DownloadError: the file could not be fetched, verified or written, or another process
            is downloading it.
    """
    if not remote.url.lower().startswith(SCHEMES):
        raise DownloadError(f"{remote.url} cannot be downloaded: use an http or https address")
    try:
        if _matches(destination, remote, problem):
            return destination
        destination.parent.mkdir(parents=True, exist_ok=True)
        with _locked(destination):
            # Another process may have finished between the first look and the lock.
            if not _matches(destination, remote, problem):
                part = destination.with_name(destination.name + ".part")
                _fetch(remote, part, progress or (lambda _done, _size: None))
                _verify(remote, part, problem)
                os.replace(part, destination)
    except OSError as error:  # from the file system: those of the network do not leave _fetch
        raise DownloadError(
            f"{remote.url} cannot be stored as {error.filename or destination} "
            f"({error.strerror or error}): free some space there, or choose a folder that you can "
            "write to"
        ) from error
    return destination


@contextmanager
def _locked(destination: Path) -> Iterator[None]:
    """Keep other processes from downloading the same file.

    Raises:
        DownloadError: if one of them does.
    """
    # The lock file stays behind: if it were removed, one process could lock the removed file
    # while another locks its successor.
    with destination.with_name(destination.name + ".lock").open("wb") as lock:
        try:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):  # POSIX allows either for a lock held elsewhere
            raise DownloadError(
                f"another process is downloading {destination}: run again once it has finished"
            ) from None
        yield


def _fetch(remote: RemoteFile, part: Path, progress: Progress) -> None:
    """Download a file, in several attempts if the network fails."""
    for pause in (*_RETRY_PAUSES_S, None):
        try:
            return _attempt(remote, part, progress)
        except _InterruptedError as error:
            if pause is None:
                kept = _size(part)
                resume = f" to resume from the {kept} bytes kept in {part}" if kept else ""
                of_all = "" if remote.size is None else f" of {remote.size}"
                raise DownloadError(
                    f"the download of {remote.url} stopped at {kept}{of_all} bytes ({error}): "
                    f"check the network connection and run again{resume}"
                ) from error
            time.sleep(pause)


def _attempt(remote: RemoteFile, part: Path, progress: Progress) -> None:
    """Download what is missing of a file.

    Raises:
        _InterruptedError: if the network or the server fails.
        DownloadError: if another attempt would not help.
    """
    done = _size(part)
    if remote.size is not None:
        if 0 < done == remote.size:
            return
        _require_space(remote.size - done, part)
        done = done if done < remote.size else 0
    try:
        response, done = _open(remote.url, done)
    except _CompleteError:
        _expected_size(remote, done)
        return
    with response:
        # The size is checked before the part is opened, which may empty it: a login page must not
        # cost what is there.
        size = _expected_size(remote, None if response.length is None else done + response.length)
        _require_space(size - done, part)
        with part.open("ab" if done else "wb") as file:
            _receive(response, file, done, size, progress)
            file.flush()
            os.fsync(file.fileno())


def _expected_size(remote: RemoteFile, offered: int | None) -> int:
    """The size of a file in bytes, by what is published and what the server offers."""
    size = offered if remote.size is None else remote.size
    if size is None:
        raise DownloadError(
            f"{remote.url} does not say how long the file is, so that a broken transfer would go "
            "unnoticed: download it in a browser"
        )
    if offered not in (None, size):
        raise DownloadError(
            f"{remote.url} offers {offered} bytes instead of {size}: check that the address still "
            "leads to the file and not to a login page"
        )
    return size


def _receive(
    response: http.client.HTTPResponse, file: BinaryIO, done: int, size: int, progress: Progress
) -> None:
    progress(done, size)
    pace = Pace(done)
    while done < size:
        if slow := pace.too_slow(done):
            raise _InterruptedError(slow)
        try:
            # With read instead of read1, what arrives before a timeout would be lost in a buffer.
            chunk = response.read1(_CHUNK_BYTES)
        except (OSError, http.client.HTTPException) as error:
            raise _InterruptedError(in_brief(error)) from error
        if not chunk:
            raise _InterruptedError("connection closed early")
        file.write(chunk)
        done += len(chunk)
        progress(done, size)


def _open(url: str, offset: int) -> tuple[http.client.HTTPResponse, int]:
    """The response, and the offset in the file at which its body really starts."""
    try:
        # Some servers refuse urllib's own name.
        request = urllib.request.Request(url, headers={"User-Agent": "d2ir_pl"})
        if offset:
            request.add_header("Range", f"bytes={offset}-")
        response = answered(lambda: opener().open(request, timeout=_TIMEOUT_S))
    except urllib.error.HTTPError as error:
        error.close()
        if offset and error.code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            if error.headers.get("Content-Range") == f"bytes */{offset}":
                raise _CompleteError from None
            return _open(url, 0)
        reason = in_brief(error.reason)
        if error.code >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise _InterruptedError(f"HTTP {error.code} {reason}") from error
        raise DownloadError(
            f"{url} answered HTTP {error.code} {reason}: check the address, and that you "
            "have access to it"
        ) from error
    except (http.client.InvalidURL, ValueError) as error:
        if isinstance(error, DownloadError):
            raise
        raise DownloadError(
            f"{url} leads to no usable address ({in_words(error)}): check it"
        ) from None
    except (OSError, http.client.HTTPException) as error:
        raise _InterruptedError(in_brief(getattr(error, "reason", error))) from error
    if response.status != HTTPStatus.PARTIAL_CONTENT:
        return response, 0
    if offset and not response.headers.get("Content-Range", "").startswith(f"bytes {offset}-"):
        response.close()
        return _open(url, 0)
    return response, offset


def _require_space(missing: int, part: Path) -> None:
    free = shutil.disk_usage(part.parent).free
    if free < missing:
        raise DownloadError(
            f"{part.parent} has {free} bytes free, but the download needs {missing} more: free "
            "some space or choose another folder"
        )


def _verify(remote: RemoteFile, part: Path, problem: Problem) -> None:
    """Delete a file that is not what it should be.

    Raises:
        DownloadError: if it is not.
    """
    if remote.sha256 is None:
        wrong = problem(part)
    else:
        actual, expected = file_sha256(part), remote.sha256
        wrong = None if actual == expected else f"has SHA-256 {actual} instead of {expected}"
    if wrong is not None:
        part.unlink()
        raise DownloadError(
            f"what arrived from {remote.url} {wrong} and was deleted: run again to download it "
            "afresh, or check the address"
        )


def _matches(path: Path, remote: RemoteFile, problem: Problem) -> bool:
    """Whether a file is there, and is what it should be."""
    if not path.is_file() or remote.size not in (None, _size(path)):
        return False
    if remote.sha256 is None:
        return problem(path) is None
    return file_sha256(path) == remote.sha256


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def file_sha256(path: Path) -> str:
    """SHA-256 of a file in lowercase hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
