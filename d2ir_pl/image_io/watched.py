"""What comes from another process, which may die, or wait for ever for something it never gets."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

IDLE = 10.0
"""Seconds that a process may neither send nor compute at first, see `Watched`."""

Activity = tuple[tuple[str, str, str], ...]
"""The number, the state and the computing time of a process and of each that it has started."""

_LOOK = 1.0
"""Seconds after which it is looked at what a process does that sends nothing, at most."""


class IdleError(Exception):
    """A process neither sends nor computes."""


class Patience:
    """How long a file may take, however many processes try it one after the other.

    Args:
        idle: seconds that a process may neither send nor compute at first.
        most: seconds in which something has to be sent of a file.

    Attributes:
        idle: seconds that the present process may.
        deadline: when something has to have been sent, by the clock of `time.monotonic`.
    """

    def __init__(self, idle: float, most: float) -> None:
        self._first, self._most = idle, most
        self.renew()

    def renew(self) -> None:
        """Begin with another file."""
        self.idle, self.deadline = self._first, time.monotonic() + self._most


@dataclass
class Watched:
    """Takes what a process sends.

    A copy of a program has the locks that other threads held when it was made, such as that of a
    module which they were importing, and waits for ever where it needs one. Such a copy sends
    nothing and does not compute. One that waits for a slow disk looks the same, so the next one
    should be given more time.

    Attributes:
        process: number of the process.
        receiver: what receives from it.
        patience: how long is waited for it.
    """

    process: int
    receiver: Connection
    patience: Patience

    def take(self, most: int) -> bytes:
        """Wait for the next message.

        Args:
            most: bytes that it may have.

        Raises:
            IdleError: if the process was idle for too long.
            TimeoutError: at the deadline.
            EOFError: if the process has ended.
            OSError: if the message is longer.
        """
        before, since = ("", "", ""), time.monotonic()
        while not self.receiver.poll(min(_LOOK, self.patience.idle / 2)):
            now, does = time.monotonic(), _activity(self.process)
            # Another process may have been copied with this one's end of the pipe.
            if does[1] == "Z" and not self.receiver.poll():
                raise EOFError
            if now > self.patience.deadline:
                raise TimeoutError
            if does[1] != "S" or does != before:
                before, since = does, now
            elif now - since > self.patience.idle:
                raise IdleError
        return self.receiver.recv_bytes(most)


class Asleep:
    """Whether processes, and those that they have started, have long done nothing at all."""

    def __init__(self, processes: Iterable[int]) -> None:
        self._processes = tuple(processes)
        self._before: Activity = ()
        self._since = time.monotonic()

    def for_longer_than(self, seconds: float) -> bool:
        """Whether they have neither computed nor begun anything for so long, as far as was seen."""
        found = tuple(
            _activity(number) for process in self._processes for number in _with_children(process)
        )
        if found != self._before or any(state != "S" for _, state, _ in found):
            self._before, self._since = found, time.monotonic()
        return time.monotonic() - self._since > seconds


def _with_children(process: int) -> Iterator[int]:
    """A process, and those that it and they have started, see proc(5)."""
    yield process
    with suppress(OSError):
        for task in Path(f"/proc/{process}/task").iterdir():
            for child in (task / "children").read_text(encoding="ascii").split():
                yield from _with_children(int(child))


def _activity(process: int) -> tuple[str, str, str]:
    """The number of a process, its state as proc(5) has it, and how long it has computed.

    State and time are empty if unknown.
    """
    try:
        stat = Path(f"/proc/{process}/stat").read_bytes().rpartition(b")")[2].decode().split()
    except OSError:
        return str(process), "", ""
    return str(process), stat[0], f"{stat[11]} {stat[12]}"
