"""Reading image files in processes of their own, so that a decoder that crashes costs one file.

Decoders are programs in C, and a file may end the process that decodes it, fill its memory or keep
it for ever. On Linux each file is therefore read in a copy of this process with limits, as the
workers of a DataLoader are one, which sends what it has read. Elsewhere such copies are not safe,
and files are read in the process itself.
"""

from __future__ import annotations

import ctypes
import gc
import math
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import cache
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NoReturn, TypeVar

import imagecodecs
import torch
from PIL import Image

from d2ir_pl.errors import ImageError, in_words
from d2ir_pl.image_io.photo import Photo
from d2ir_pl.image_io.photo_message import (
    MOST_TEXT,
    Header,
    header_of,
    photo_of,
    planes_of,
    refusal,
    size_message,
)
from d2ir_pl.image_io.reading import image_size, read_image
from d2ir_pl.image_io.watched import IDLE, IdleError, Patience, Watched
from d2ir_pl.schema import MAX_PIXELS
from d2ir_pl.stopping import undisturbed

BYTES_A_PIXEL = 160
"""Bytes that decoding may take for each pixel: what is read, what comes out, and copies of both."""

SPARE = 4 * 2**30
"""Further bytes of addresses, of which libraries reserve some for every processor."""

SECONDS, MEGAPIXEL_SECONDS = 120, 2
"""Seconds of computing that a file may take, and further ones for every million pixels."""

PATIENCE = 900.0
"""Seconds that a file may take on the clock."""

TRIES = 2
"""Processes that may die of a file: the first may have been ended by someone else."""

_PARENT_DEATH = 1
"""The number of PR_SET_PDEATHSIG, see prctl(2)."""

_T = TypeVar("_T")
_Take = Callable[[int], bytes]


def read_apart(path: str | os.PathLike[str], *, max_pixels: int = MAX_PIXELS) -> Photo:
    """The same as `read_image`, where a decoder may crash.

    Args:
        path: file to read.
        max_pixels: largest number of pixels H * W, checked before decoding.

    Raises:
        ImageError: if the file cannot be read, or ends the processes that read it.
    """

    def send(file: Path, sender: Connection) -> None:
        limit(SPARE, SECONDS)
        size = min(max_pixels, math.prod(image_size(file)))
        limit(SPARE + BYTES_A_PIXEL * size, SECONDS + MEGAPIXEL_SECONDS * size // 1_000_000)
        photo = read_image(file, max_pixels=max_pixels)
        for part in (header_of(photo), *planes_of(photo)):
            sender.send_bytes(part)

    try:
        (found,) = _each([Path(path)], send, _photo)
    except _NoProcessError:
        return read_image(path, max_pixels=max_pixels)
    if isinstance(found, ImageError):
        raise found
    return found


def sizes_apart(paths: Sequence[Path]) -> Iterator[tuple[int, int] | ImageError]:
    """What `image_size` returns or raises for each of some files, where a decoder may crash."""

    def send(file: Path, sender: Connection) -> None:
        limit(SPARE, SECONDS)
        sender.send_bytes(size_message(image_size(file)))

    done = 0
    with suppress(_NoProcessError):
        for found in _each(paths, send, lambda header, _: (header.height, header.width)):
            done += 1
            yield found
    for path in paths[done:]:
        try:
            yield image_size(path)
        except ImageError as error:
            yield error


def limit(memory: int, seconds: int, for_good: bool = False) -> None:
    """Let the system refuse more memory to this process, and end it after a time of computing.

    Args:
        memory: bytes beside what it has.
        seconds: seconds beside what it has computed, at most one more.
        for_good: whether the process may not allow itself more later.
    """
    if sys.platform == "win32":
        return
    import resource

    taken, used = 0, sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
    if sys.platform == "linux":
        pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[0]
        taken = int(pages) * resource.getpagesize()
    for kind, most in (
        (resource.RLIMIT_AS, taken + memory),
        (resource.RLIMIT_CPU, int(used) + 1 + seconds),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(kind)
        if hard != resource.RLIM_INFINITY:
            most = min(most, hard)
        with suppress(ValueError, OSError):  # a system that knows no such limit
            resource.setrlimit(kind, (most, most if for_good else hard))


class _NoProcessError(Exception):
    """No process can be had."""


def _photo(header: Header, take: _Take) -> Photo:
    return photo_of(header, [take(size) if size else b"" for size in header.sizes])


def _each(
    paths: Sequence[Path],
    send: Callable[[Path, Connection], None],
    receive: Callable[[Header, _Take], _T],
) -> Iterator[_T | ImageError]:
    """What becomes of each file in a process, and of the rest in another one where that dies.

    Args:
        paths: the files.
        send: function that sends what it reads of a file, beginning with a header.
        receive: function that makes something of the header and of what follows it.

    Raises:
        _NoProcessError: if there is none.
    """
    done = tried = 0
    patience = Patience(IDLE, PATIENCE)
    while done < len(paths):
        process, receiver = _started(paths[done:], send)
        take = Watched(process, receiver, patience).take
        try:
            while done < len(paths):
                header = Header.read(take(MOST_TEXT))
                found = ImageError(header.refused) if header.refused else receive(header, take)
                done, tried = done + 1, 0
                yield found
                patience.renew()
        except IdleError:
            patience.idle *= 2
        except TimeoutError:
            tried = TRIES
        # It has died, or sends what no reader sends.
        except (EOFError, OSError, ValueError):
            tried += 1
        finally:
            receiver.close()
            out_of_time = _ended(process) == signal.SIGXCPU
        if tried >= TRIES or (tried and out_of_time):
            done, tried = done + 1, 0
            yield ImageError(
                f"{paths[done - 1]} takes more memory or time than its pixels need, or breaks the "
                "program that reads it: export it again as a PNG file"
            )
            patience.renew()


@cache
def _load() -> None:
    """Load what most files are read with: copies need not, and no thread does it meanwhile."""
    Image.preinit()
    _ = imagecodecs.png_decode  # which loads its part of the library


def _ended(process: int) -> int:
    """End a process where it has not ended, and return the number of the signal that did."""
    with suppress(ChildProcessError, ProcessLookupError):
        os.kill(process, signal.SIGKILL)
        return os.waitpid(process, 0)[1] & 127
    return 0


def _started(
    paths: Sequence[Path], send: Callable[[Path, Connection], None]
) -> tuple[int, Connection]:
    """A copy of this process that reads files: its number, and what receives from it."""
    if sys.platform != "linux":
        raise _NoProcessError
    _load()
    reading, writing = os.pipe()
    # What this process does on a signal is not for the copy to do.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _signals())
    try:
        with undisturbed():
            process = os.fork()
        if not process:
            _serve(paths, send, Connection(writing, readable=False))
    except OSError as error:  # the system has no room for another process
        os.close(reading)
        raise _NoProcessError from error
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        os.close(writing)
    return process, Connection(reading, writable=False)


def _signals() -> tuple[signal.Signals, ...]:
    """The signals that this process may do something on."""
    assert sys.platform != "win32"
    return signal.SIGINT, signal.SIGTERM, signal.SIGUSR1


def _serve(
    paths: Sequence[Path], send: Callable[[Path, Connection], None], sender: Connection
) -> NoReturn:
    """What the copy does: it sends what it reads, and ends without cleaning up for the original."""
    try:
        gc.disable()
        for number in _signals():
            signal.signal(number, signal.SIG_IGN if number == signal.SIGINT else signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _signals())
        with suppress(Exception):
            ctypes.CDLL(None).prctl(_PARENT_DEATH, signal.SIGKILL)
        torch.set_num_threads(1)  # a copy has none of the threads of the original
        for path in paths:
            try:
                send(path, sender)
            except ImageError as error:
                sender.send_bytes(refusal(str(error)))
            except Exception as error:
                reason = f"{path} cannot be read ({in_words(error)}): export it again as a PNG file"
                sender.send_bytes(refusal(reason))
    except BaseException:
        os._exit(1)
    os._exit(0)
