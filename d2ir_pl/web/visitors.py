"""Who is restoring what, and where it lies."""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from PIL import Image

from d2ir_pl.image_io import resized, srgb_picture
from d2ir_pl.web.decoding import decoded
from d2ir_pl.web.job import Job
from d2ir_pl.web.order import Order
from d2ir_pl.web.program import PageSettings

PREVIEW = 1280
"""Longest side in pixels of the picture of an uploaded photo."""

CACHE_SECONDS = (600, 3600)
"""Seconds between two looks at what was uploaded and shown, and the age at which it is deleted."""

PATIENCE = 10.0
"""Seconds that a stopped restoration has for the step that it is in."""


class Visitors:
    """The restoration of each visitor, and the folder in which it lies.

    Args:
        page: what all restorations have in common.
    """

    def __init__(self, page: PageSettings) -> None:
        self._page = page
        self._root = tempfile.TemporaryDirectory(prefix="d2ir-")
        # Gradio keeps there what is uploaded and shown, and asks for it as long as the page lives.
        self._gradio_before = os.environ.get("GRADIO_TEMP_DIR")
        os.environ["GRADIO_TEMP_DIR"] = str(Path(self._root.name) / "gradio")
        self._jobs: dict[str, Job] = {}
        self._rates: dict[str, tuple[Order, float]] = {}
        self._asked: dict[str, int] = {}
        self._shown: dict[str, threading.Event] = {}
        self._lock = threading.Lock()

    def close(self) -> None:
        """Stop all restorations and delete what was uploaded."""
        jobs = list(self._jobs.values())
        for visitor in list(self._jobs):
            self.leave(visitor)
        for job in jobs:  # one that still writes would fill the folder again
            job.wait(PATIENCE)
        self._root.cleanup()
        if self._gradio_before is None:
            os.environ.pop("GRADIO_TEMP_DIR", None)
        else:
            os.environ["GRADIO_TEMP_DIR"] = self._gradio_before

    def ask(self, visitor: str) -> int:
        """Note that a visitor asks for something, and return how often that was."""
        with self._lock:
            self._asked[visitor] = self._asked.get(visitor, 0) + 1
            return self._asked[visitor]

    def waits(self, visitor: str, asked: int) -> bool:
        """Whether a visitor has asked for nothing else since what had this number.

        What was asked for before must not be shown over what was asked for later.
        """
        with self._lock:
            return self._asked.get(visitor) == asked

    def preview(self, photo: Path) -> tuple[Image.Image, tuple[int, int]]:
        """An uploaded photo as a small picture, and its height and width.

        Raises:
            ImageError: if it cannot be read, or is too large.
        """
        found = decoded(photo, self._page.max_pixels)
        height, width = found.size
        scale = min(1.0, PREVIEW / max(height, width))
        size = max(1, round(scale * height)), max(1, round(scale * width))
        return srgb_picture(resized(found.pixels, size), found), (height, width)

    def seconds(self, pixels: int) -> float | None:
        """About how long so many pixels take to restore; None where that is not known."""
        return self._page.seconds(pixels)

    def begin(self, visitor: str, order: Order) -> Job:
        """Make a new restoration in place of a visitor's old one."""
        self.clear(visitor)
        tried, rate = self._rates.get(visitor, (order, None))
        if replace(tried, extent=order.extent) != order:
            rate = None
        for name in self._forgotten():
            self.leave(name)
        job = Job(order, Path(tempfile.mkdtemp(dir=self._root.name)), self._page, rate)
        with self._lock:
            self._jobs[visitor] = job
        return job

    @contextmanager
    def showing(self, visitor: str) -> Iterator[None]:
        """Note that restorations of a visitor are shown inside."""
        with self._lock:
            shown = self._shown[visitor] = threading.Event()
        try:
            yield
        finally:
            shown.set()
            with self._lock:
                if self._shown.get(visitor) is shown:
                    del self._shown[visitor]

    def stop(self, visitor: str) -> bool:
        """End a visitor's restoration; return False if it has come to its own end before.

        A restoration that waits for its turn, or that the page has stopped already, counts as
        stopped.
        """
        with self._lock:
            job, shown = self._jobs.get(visitor), self._shown.get(visitor)
        if job is None:
            return True
        job.stop()
        # Behind the last picture of it, which would be shown over the answer.
        if shown is not None:
            shown.wait(PATIENCE)
        return not job.ended

    def leave(self, visitor: str) -> None:
        """Forget a visitor."""
        self.clear(visitor)
        with self._lock:
            self._asked.pop(visitor, None)
            self._rates.pop(visitor, None)

    def clear(self, visitor: str) -> None:
        """Stop a visitor's restoration, and delete it."""
        with self._lock:
            job = self._jobs.pop(visitor, None)
            if job is not None and job.rate is not None:
                self._rates[visitor] = job.order, job.rate
        if job is not None:
            job.discard()

    def _forgotten(self) -> list[str]:
        """The visitors with an old result, of whose leaving the page was never told."""
        now = time.monotonic()
        with self._lock:
            return [
                visitor
                for visitor, job in self._jobs.items()
                if not job.running and now - job.begun > CACHE_SECONDS[1]
            ]
