"""What comes from another process, which may die, or wait for ever for something it never gets."""

from __future__ import annotations

import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

IDLE = 10.0
"""Seconds that a process may neither send nor compute at first, see `Watched`."""

_LOOK = 1.0
"""Seconds after which it is looked at what a process does that sends nothing, at most."""


class IdleError(Exception):
    """A process neither sends nor computes."""


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
        idle: seconds that it may neither send nor compute.
        deadline: when it has to have sent something, by the clock of `time.monotonic`.
    """

    process: int
    receiver: Connection
    idle: float
    deadline: float

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
        before, since = ("", ""), time.monotonic()
        while not self.receiver.poll(min(_LOOK, self.idle / 2)):
            now, does = time.monotonic(), _activity(self.process)
            # Another process may have been copied with this one's end of the pipe.
            if does[0] == "Z" and not self.receiver.poll():
                raise EOFError
            if now > self.deadline:
                raise TimeoutError
            if does[0] != "S" or does != before:
                before, since = does, now
            elif now - since > self.idle:
                raise IdleError
        return self.receiver.recv_bytes(most)


def _activity(process: int) -> tuple[str, str]:
    """The state of a process as proc(5) has it, and how long it has computed; empty if unknown."""
    try:
        stat = Path(f"/proc/{process}/stat").read_bytes().rpartition(b")")[2].decode().split()
    except OSError:
        return "", ""
    return stat[0], f"{stat[11]} {stat[12]}"
