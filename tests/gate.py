"""A gate that holds restorations of the page, so that no test depends on how long they take."""

import inspect
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from d2ir_pl.restoration import Observer, Step
from d2ir_pl.web import job
from d2ir_pl.web.program import restore_file

LIMIT = 300.0
"""Seconds after which something hangs; nothing that a test waits for takes nearly as long."""


class Gate:
    """Holds every restoration at its first step until it is opened, or the restoration is stopped.

    Attributes:
        events: what happened, in order: `begin NAME` and `end NAME` for the photo of each run.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.events: list[str] = []
        self._opened = threading.Event()
        monkeypatch.setattr(job, "restore_file", self._restore_file)

    def wait_for(self, events: list[str]) -> None:
        """Wait until exactly these events have happened."""
        hangs = time.monotonic() + LIMIT
        while len(self.events) < len(events) and time.monotonic() < hangs:
            time.sleep(0.02)
        assert self.events == events

    def open(self) -> None:
        """Let restorations pass."""
        self._opened.set()

    def close(self) -> None:
        """Hold restorations from now on."""
        self._opened.clear()

    def _restore_file(self, file: Path, *arguments: Any, **named: Any) -> None:
        call = inspect.signature(restore_file).bind(file, *arguments, **named)
        call.arguments["observer"] = self._held(call.arguments["observer"])
        self.events.append(f"begin {file.name}")
        try:
            restore_file(*call.args, **call.kwargs)
        finally:
            self.events.append(f"end {file.name}")

    def _held(self, observer: Observer) -> Observer:
        def observe(step: Step) -> None:
            observer(step)
            hangs = time.monotonic() + LIMIT
            while not self._opened.wait(0.02):
                # The step is reported again: that ends a restoration which has been stopped.
                observer(step)
                assert time.monotonic() < hangs, "nobody has opened the gate"

        return observe
