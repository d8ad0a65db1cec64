"""How a program ends that is asked to: by Ctrl-C (SIGINT), by the system (SIGTERM), or by SLURM.

The handlers here raise in the main thread, wherever it is. Python drops what is raised in some
places, such as finalizers, so each handler knows that it was called: `require_unasked` raises
again. Where several processes run, one that a signal has ended tells it by its exit status.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, NoReturn

from d2ir_pl.errors import TerminatedError

PARENT = "D2IR_PARENT"
"""Variable of the environment by which a process knows which one has started it."""

KEPT = "finished images are kept, and the same command does the rest"
"""What became of a run of `predict` that was stopped."""

ASKED = {
    **{128 + signal.SIGINT: signal.SIGINT, -signal.SIGINT: signal.SIGINT},
    **{128 + signal.SIGTERM: signal.SIGTERM, -signal.SIGTERM: signal.SIGTERM},
}
"""The exit statuses of processes that a signal has asked to end, and the signal."""

_REQUEUE = getattr(signal, "SIGUSR1", None)
"""The signal by which SLURM tells that a job is about to end, where it was asked to."""


def end(number: int) -> NoReturn:
    """Raise what ends the program after a signal.

    Raises:
        KeyboardInterrupt: for SIGINT.
        TerminatedError: for any other signal.
    """
    raise KeyboardInterrupt if number == signal.SIGINT else TerminatedError


class Ending:
    """A handler of signals that ends the program at once, by what `end` raises.

    Attributes:
        asked: the signal that has come; 0 for none.
    """

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self, number: int, frame: FrameType | None = None) -> None:
        del frame
        self.note(number)
        end(self.asked)

    def note(self, number: int) -> None:
        """Remember a signal, and have SLURM start the job again if it is the one for that."""
        if number == _REQUEUE and not self.asked:
            _requeue()
        self.asked = signal.SIGTERM if number == _REQUEUE else number

    def require_unasked(self) -> None:
        """Raise once more what Python may have dropped.

        Raises:
            KeyboardInterrupt, TerminatedError: if a signal has come.
        """
        if self.asked:
            end(self.asked)


class EndingBetween(Ending):
    """A handler of signals that ends the program where it asks for it, and at once at the second.

    Args:
        said: what is printed at the first.
    """

    def __init__(self, said: str) -> None:
        super().__init__()
        self._said = said

    def __call__(self, number: int, frame: FrameType | None = None) -> None:
        if self.asked and number == signal.SIGINT:
            super().__call__(number, frame)
        elif not self.asked:
            self.note(number)
            if not is_child():
                print(f"d2ir: {self._said}", file=sys.stderr, flush=True)


def is_child() -> bool:
    """Whether this process was started by another one of the same run, which speaks for it."""
    return os.environ.get(PARENT, str(os.getpid())) != str(os.getpid())


def was_asked() -> bool:
    """Whether a handler of this module has been called, and is in place."""
    return any(
        isinstance(handler, Ending) and handler.asked
        for handler in map(signal.getsignal, _numbers())
    )


@contextmanager
def stoppable(handler: Ending) -> Iterator[Ending]:
    """Let a handler take the signals that ask the program to end, in the main thread.

    Args:
        handler: what is called.
    """
    before = _taken(handler)
    hook = sys.unraisablehook

    def quiet(unraisable: Any) -> None:
        if not isinstance(unraisable.exc_value, KeyboardInterrupt | TerminatedError):
            hook(unraisable)

    sys.unraisablehook = quiet
    try:
        yield handler
    finally:
        sys.unraisablehook = hook
        _put_back(before)


def take_over(handler: Ending) -> None:
    """Let a handler take the signals until the trainer or `stoppable` puts back those of before."""
    _taken(handler)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Hold back the signals that ask the program to end, and hand them on behind it.

    What a handler raises while the process is being copied would be dropped.
    """
    came: list[int] = []
    before = _taken(lambda number, _: came.append(number))
    try:
        yield
    finally:
        _put_back(before)
        for number in came:
            signal.raise_signal(number)


@contextmanager
def ending_at_once(message: str) -> Iterator[None]:
    """End the program at once inside, where modules are imported and nothing is held.

    Libraries that are imported halfway answer what is raised in them with errors of their own.

    Args:
        message: what is said then.
    """

    def at_once(number: int, _: FrameType | None) -> None:
        asked = Ending()
        asked.note(number)
        if not is_child():
            print(f"d2ir: {message}", file=sys.stderr, flush=True)
        os._exit(128 + asked.asked)

    before = _taken(at_once)
    try:
        yield
    finally:
        _put_back(before)


def asked_of(processes: Sequence[subprocess.Popen[bytes]], seconds: float) -> int:
    """The signal that has asked one of some processes to end; 0 if none was asked.

    Args:
        processes: they are waited for.
        seconds: how long, at most.
    """
    for process in processes:
        with suppress(subprocess.TimeoutExpired):
            if number := ASKED.get(process.wait(seconds)):
                return number
    return 0


def _numbers() -> list[signal.Signals]:
    """The signals that ask this program to end."""
    interactive = os.environ.get("SLURM_JOB_NAME") in ("bash", "interactive")
    batch = "SLURM_JOB_ID" in os.environ and not interactive
    slurm = [_REQUEUE] if _REQUEUE is not None and batch else []
    return [signal.SIGINT, signal.SIGTERM, *slurm]


def _taken(handler: Callable[[int, FrameType | None], None]) -> dict[signal.Signals, Any]:
    """Let a handler take the signals, if this is the main thread; return the handlers of before."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    # Who starts a program may have it ignore a signal; and not all handlers are set from Python.
    numbers = [n for n in _numbers() if signal.getsignal(n) not in (None, signal.SIG_IGN)]
    return {number: signal.signal(number, handler) for number in numbers}


def _put_back(before: Mapping[signal.Signals, Any]) -> None:
    for number, handler in before.items():
        signal.signal(number, handler)


def _requeue() -> None:
    """Have SLURM start the job again, by the first of its processes."""
    if is_child() or os.environ.get("SLURM_PROCID", "0") != "0":
        return
    job = os.environ.get("SLURM_JOB_ID", "")
    if array := os.environ.get("SLURM_ARRAY_JOB_ID"):
        job = f"{array}_{os.environ.get('SLURM_ARRAY_TASK_ID', '')}"
    with suppress(OSError):  # nothing is lost where there is no such program
        subprocess.run(["scontrol", "requeue", job], check=False)
