"""Decoding of a visitor's photo in a process of its own, with limits on memory and time."""

from __future__ import annotations

import multiprocessing
import threading
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext, SpawnContext
from pathlib import Path

from d2ir_pl.errors import ImageError
from d2ir_pl.image_io import Photo, read_image
from d2ir_pl.image_io.apart import BYTES_A_PIXEL, limit
from d2ir_pl.image_io.photo_message import (
    MOST_TEXT,
    Header,
    header_of,
    photo_of,
    planes_of,
    refusal,
)

SPARE = 400_000_000
"""Further bytes: files, tables of decoders, and what libraries load when they are used."""

SECONDS = 120
"""Seconds of computing that a photo may take."""

PATIENCE = 480.0
"""Seconds that a photo may take, waiting for its turn on a busy computer included."""


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
    late = threading.Timer(PATIENCE, process.kill)
    late.start()
    try:
        return _received(receiver, max_pixels)
    except ImageError:
        raise
    # It has been ended, or sends what no reader sends.
    except (EOFError, OSError, ValueError):
        raise ImageError(
            f"{path} takes more memory or time than its pixels need, or breaks the program that "
            "reads it: export it again as a PNG file"
        ) from None
    finally:
        late.cancel()
        receiver.close()
        process.kill()
        process.join()


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


def _received(receiver: Connection, max_pixels: int) -> Photo:
    """The photo that a process sends.

    Raises:
        ImageError: if it refuses the photo.
        EOFError, OSError, ValueError: if it sends no photo.
    """
    header = Header.read(receiver.recv_bytes(MOST_TEXT))
    if header.refused:
        raise ImageError(header.refused)
    if header.height * header.width > max_pixels:
        raise ValueError("has too many pixels")
    parts = [receiver.recv_bytes(size) if size else b"" for size in header.sizes]
    return photo_of(header, parts)


def _nothing() -> None:
    """What a process does that only begins."""


def _decode(path: Path, max_pixels: int, results: Connection) -> None:
    """Send the photo, or the sentence that says why there is none."""
    limit(SPARE + BYTES_A_PIXEL * max_pixels, SECONDS, for_good=True)
    try:
        photo = read_image(path, max_pixels=max_pixels)
        header = header_of(photo)
    except ImageError as error:
        results.send_bytes(refusal(str(error)))
    except MemoryError:
        results.send_bytes(refusal(f"{path} does not fit into memory; make it smaller"))
    else:
        results.send_bytes(header)
        for plane in planes_of(photo):
            results.send_bytes(plane)
