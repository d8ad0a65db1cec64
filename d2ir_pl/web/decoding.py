"""Decoding of a visitor's photo in a process of its own, with limits on memory and time."""

from __future__ import annotations

import multiprocessing
import pickle
import sys
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext, SpawnContext
from pathlib import Path

from d2ir_pl.errors import ImageError
from d2ir_pl.image_io import Photo, read_image

BYTES_A_PIXEL = 160
"""Bytes that decoding may take for each pixel: what is read, what comes out, and copies of both."""

SPARE = 400_000_000
"""Further bytes: files, tables of decoders, and what libraries load when they are used."""

SECONDS = 120
"""Seconds of computing that a photo may take."""


def decoded(path: Path, max_pixels: int) -> Photo:
    """Read a photo in a process of its own, which may fail in any way.

    Args:
        path: the file.
        max_pixels: the largest number of pixels that the photo may have.

    Raises:
        ImageError: if the photo cannot be read, is too large, or takes more memory or time than its
            pixels need.
    """
    context = _context()
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_decode, args=(path, max_pixels, sender), daemon=True)
    process.start()
    sender.close()
    try:
        found = pickle.loads(receiver.recv_bytes()) if receiver.poll(4 * SECONDS) else None
    except EOFError:  # it has been ended
        found = None
    finally:
        receiver.close()
        process.kill()
        process.join()
    if isinstance(found, Photo):
        return found
    if isinstance(found, str):
        raise ImageError(found)
    raise ImageError(
        f"{path} takes more memory or time than its pixels need, or breaks the program that reads "
        "it: export it again as a PNG file"
    )


def prepare() -> None:
    """Load what decoding needs, so that the first visitor does not wait for it."""
    context = _context()
    process = context.Process(target=_nothing, daemon=True)
    process.start()
    process.join()


def _context() -> ForkServerContext | SpawnContext:
    """How processes begin: as copies of one that has loaded the reader and holds nothing else."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    return context


def _nothing() -> None:
    """What a process does that only begins."""


def _decode(path: Path, max_pixels: int, results: Connection) -> None:
    """Send the photo, or the sentence that says why there is none."""
    _limit(max_pixels)
    try:
        # Not by the way in which PyTorch sends tensors: shared memory is scarce in containers.
        found = pickle.dumps(read_image(path, max_pixels=max_pixels))
    except ImageError as error:
        found = pickle.dumps(str(error))
    except MemoryError:
        found = pickle.dumps(f"{path} does not fit into memory; make it smaller")
    results.send_bytes(found)


def _limit(max_pixels: int) -> None:
    """Let the system refuse more memory to this process, and end it after a time."""
    if sys.platform == "win32":
        return
    import resource

    taken, used = 0, sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
    if sys.platform == "linux":
        pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[0]
        taken = int(pages) * resource.getpagesize()
    for kind, most in (
        (resource.RLIMIT_AS, taken + SPARE + BYTES_A_PIXEL * max_pixels),
        (resource.RLIMIT_CPU, int(used) + 1 + SECONDS),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(kind)
        if hard != resource.RLIM_INFINITY:
            most = min(most, hard)
        try:
            resource.setrlimit(kind, (most, most))
        except (ValueError, OSError):  # a system that knows no such limit
            continue
