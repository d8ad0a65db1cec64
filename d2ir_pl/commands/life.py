"""Whether another process of this computer still does anything."""

from __future__ import annotations

import time
from pathlib import Path

PATIENCE = 30.0
"""Seconds after which a process that does nothing at all is taken for frozen."""


class Life:
    """Whether a process of this computer does anything.

    A process that is stopped, or waits for a disk that does not answer, does nothing; one that
    waits for other processes looks for them every few seconds, and that counts.

    Args:
        process: its number.
    """

    def __init__(self, process: int) -> None:
        self._folder = Path(f"/proc/{process}/task")
        self._seen: tuple[str, ...] | None = None
        self._since = self._looked = time.monotonic()

    def is_frozen(self) -> bool:
        """Whether it has done nothing for `PATIENCE`, during which this one has looked."""
        now, signs = time.monotonic(), self._signs()
        # Who has not looked was stopped too, as all processes are by Ctrl-Z.
        if signs is None or signs != self._seen or now - self._looked > PATIENCE / 2:
            self._seen, self._since = signs, now
        self._looked = now
        return now - self._since > PATIENCE

    def _signs(self) -> tuple[str, ...] | None:
        """How often each thread has run; None where the system does not tell."""
        found: list[str] = []
        try:
            for path in sorted(self._folder.glob("*/status")):
                lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
                found += [line for line in lines if "ctxt_switches" in line]
        except OSError:  # a thread has ended meanwhile
            return None
        return tuple(found) or None
