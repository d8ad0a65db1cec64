"""Who is restoring what, and where it lies."""

from __future__ import annotations

import os
import tempfile
import threading
import time
from pathlib import Path

from PIL import Image

from d2ir_pl.commands.predict import parse_options
from d2ir_pl.console import quiet
from d2ir_pl.web.job import Job, Order

CACHE_SECONDS = (600, 3600)
"""How often what was uploaded and shown is looked through, and the age at which it is deleted."""


class Visitors:
    """The restoration of each visitor, and the folder in which it lies.

    Args:
        options: of `predict`, for all restorations.
        max_pixels: the most pixels of a photo.
    """

    def __init__(self, options: list[str], max_pixels: int) -> None:
        self._options = options
        self._max_pixels = max_pixels
        self._root = tempfile.TemporaryDirectory(prefix="d2ir-")
        # Where Gradio, imported after this, keeps what is uploaded and shown.
        os.environ["GRADIO_TEMP_DIR"] = str(Path(self._root.name) / "gradio")
        self._jobs: dict[str, Job] = {}
        self._lock = threading.Lock()

    def try_options(self) -> None:
        """Raise what is wrong with the options before anyone comes."""
        photo = Path(self._root.name) / "example.png"
        Image.new("RGB", (64, 64)).save(photo)
        with quiet():
            parse_options(["--data.inputs", str(photo), *self._options])

    def close(self) -> None:
        """Stop all restorations and delete what was uploaded."""
        for visitor in list(self._jobs):
            self.leave(visitor)
        self._root.cleanup()

    def begin(self, visitor: str, order: Order) -> Job:
        """A new restoration in place of a visitor's old one."""
        self.leave(visitor)
        with self._lock:  # of those whose leaving was never told
            now = time.monotonic()
            old = [
                name
                for name, job in self._jobs.items()
                if not job.running and now - job.begun > CACHE_SECONDS[1]
            ]
        for name in old:
            self.leave(name)
        folder = Path(tempfile.mkdtemp(dir=self._root.name))
        with self._lock:
            self._jobs[visitor] = Job(order, folder, self._options, self._max_pixels)
        return self._jobs[visitor]

    def stop(self, visitor: str) -> bool:
        """End a visitor's restoration; whether there was one to end."""
        with self._lock:
            job = self._jobs.get(visitor)
        if job is None or not job.running:
            return False
        job.stop()
        return True

    def leave(self, visitor: str) -> None:
        """Forget a visitor."""
        with self._lock:
            job = self._jobs.pop(visitor, None)
        if job is not None:
            job.discard()
