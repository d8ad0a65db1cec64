"""The processes that a command starts on this computer: none is waited for in vain, none is left.

Lightning starts the command once more for each further device, and by itself would wait for a
process that never comes, and answer the death of one by killing itself.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from subprocess import Popen, TimeoutExpired

import pytorch_lightning as pl
import torch

from d2ir_pl import compat
from d2ir_pl.commands.life import Life
from d2ir_pl.errors import ProcessError, UsageError
from d2ir_pl.stopping import ASKED, PARENT, asked_of, end, was_asked

PULSE = 2.0
"""Seconds between two looks at the other processes."""

MEETING = 300.0
"""Seconds within which processes that all do something have to find each other."""

LEAVING = 20.0
"""Seconds that processes have to end by themselves."""

STATUS = 2
"""The exit status of a run that ends because of another process."""


@contextmanager
def together(trainer: pl.Trainer, kept: str) -> Iterator[None]:
    """Watch over the processes of a run while they work inside, and see that they end.

    A process that has died, or does nothing for half a minute, ends the run of all, from their
    beginning on; the children of one that has died end as well.

    Args:
        trainer: trainer of the run.
        kept: end of the sentence about a lost process: what is kept, and how to go on.

    Raises:
        UsageError: if the port where processes meet is in use.
        ProcessError: if the connection to another one is lost.
    """
    started_by = os.environ.get(PARENT, str(os.getpid()))
    environment = getattr(trainer.strategy, "cluster_environment", None)
    if trainer.world_size == 1:
        work: AbstractContextManager[None] = nullcontext()
    elif started_by != str(os.getpid()):
        work = _with_parent(Child(int(started_by), trainer.world_size, kept))
    elif environment is None or environment.creates_processes_externally:
        work = nullcontext()  # torchrun or SLURM have started all of them, and look after them
    else:
        work = _with_children(trainer, kept)
    try:
        with work:
            yield
    except RuntimeError as error:
        if not compat.lost_connection(error):
            raise
        raise ProcessError(
            f"the processes of the run do not reach each other any more: it stops; {kept}"
        ) from None


@contextmanager
def _with_children(trainer: pl.Trainer, kept: str) -> Iterator[None]:
    """Watch over the processes that are started inside, and end them behind it."""
    _require_free_port()
    os.environ[PARENT] = str(os.getpid())
    parent = Parent(trainer, kept)
    failed = True
    try:
        with compat.unobserved_processes(), _watching(parent.watch):
            yield
        failed = False
    except (ProcessError, RuntimeError) as error:
        if not _of_another(error):
            raise
        if number := asked_of(parent.children, 2 * PULSE):
            end(number)
        if sentence := parent.lost():
            raise ProcessError(sentence) from None
        raise
    finally:
        parent.end(failed)
        del os.environ[PARENT]


@contextmanager
def _with_parent(child: Child) -> Iterator[None]:
    """Watch over the process that has started this one, while it works inside."""
    try:
        with _watching(child.watch):
            yield
    except (ProcessError, RuntimeError) as error:
        if _of_another(error) and child.is_alone():
            raise ProcessError(child.sentence) from None
        raise


def _of_another(error: ProcessError | RuntimeError) -> bool:
    """Whether an error is that another process is gone."""
    return isinstance(error, ProcessError) or compat.lost_connection(error)


@contextmanager
def _watching(watch: Callable[[threading.Event], None]) -> Iterator[None]:
    """Call a function in a thread inside, which returns when it is told to."""
    stopped = threading.Event()
    threading.Thread(target=watch, args=[stopped], daemon=True).start()
    try:
        yield
    finally:
        stopped.set()


class Parent:
    """The process that has started the others.

    Args:
        trainer: trainer of the run.
        kept: as `together` takes it.
    """

    def __init__(self, trainer: pl.Trainer, kept: str) -> None:
        self._trainer = trainer
        self._kept = kept
        self._begun = time.monotonic()

    @property
    def children(self) -> list[Popen[bytes]]:
        """The processes that are started until now, in the order of their ranks."""
        return compat.started_processes(self._trainer)

    def watch(self, stopped: threading.Event) -> None:
        """Look at the children until it is told to stop, and end the run where one is lost."""
        lives: dict[int, Life] = {}
        started, met = 0.0, False
        while not stopped.wait(PULSE):
            children = self.children
            started = started or (time.monotonic() if children else 0.0)
            met = met or torch.distributed.is_initialized()
            if started and not met and time.monotonic() - started > self._patience(started):
                self._stop(f"the processes have not found each other: {self._kept}", stopped)
            for rank, child in enumerate(children, self._first_rank):
                life = lives.setdefault(child.pid, Life(child.pid))
                code = child.poll()
                if code in ASKED:
                    self._follow(ASKED[code], met, stopped)
                elif code:
                    self._stop(self._sentence(rank, _how(code)), stopped)
                elif code is None and life.is_frozen():
                    self._stop(self._sentence(rank, "does not answer"), stopped)

    def lost(self) -> str | None:
        """The sentence about a child that is gone; None where that is not known of any.

        Those that end because they miss another one do so with `STATUS`.
        """
        codes = {rank: child.poll() for rank, child in enumerate(self.children, self._first_rank)}
        gone = {rank: code for rank, code in codes.items() if code and code != STATUS}
        for rank, code in sorted(gone.items(), key=lambda item: item[1]):  # signals come first
            return self._sentence(rank, _how(code))
        return None

    def end(self, failed: bool) -> None:
        """Wait for the children to end, and kill those that do not; at once where the run failed.

        Args:
            failed: whether there is nothing that they could still do.
        """
        give_up = time.monotonic() + (0 if failed else LEAVING)
        for child in self.children:
            try:
                child.wait(max(0.0, give_up - time.monotonic()))
            except TimeoutExpired:
                child.kill()
                child.wait()

    @property
    def _first_rank(self) -> int:
        return int(self._trainer.global_rank) + 1

    def _patience(self, started: float) -> float:
        """Seconds that children may take for what this process has done before it started them."""
        return MEETING + 3 * (started - self._begun)

    def _sentence(self, rank: int, what: str) -> str:
        number = f"process {rank + 1} of {self._trainer.world_size} (rank {rank})"
        return f"{number} {what}: the run stops; {self._kept}"

    def _follow(self, number: int, met: bool, stopped: threading.Event) -> None:
        """End as a child has, which was asked to: most often all of them are asked at once."""
        if stopped.wait(2 * PULSE):
            return
        if not was_asked():
            os.kill(os.getpid(), number)
        # Who waits for others may hear of no signal; who has heard may have something to write.
        if not stopped.wait(LEAVING if met else 2 * PULSE) and not (met and was_asked()):
            self._stop(f"stopped; {self._kept}", stopped, 128 + number)

    def _stop(self, sentence: str, stopped: threading.Event, status: int = STATUS) -> None:
        if stopped.is_set():
            return
        for child in self.children:
            child.kill()
        _exit(sentence, status)


class Child:
    """A process that another one has started.

    Args:
        parent: number of the process that has started it.
        world_size: number of processes of the run.
        kept: as `together` takes it.

    Attributes:
        sentence: what is said where it is lost.
    """

    def __init__(self, parent: int, world_size: int, kept: str) -> None:
        self._parent = parent
        self.sentence = f"process 1 of {world_size} (rank 0) has died: the run stops; {kept}"

    def watch(self, stopped: threading.Event) -> None:
        """Look at the parent until it is told to stop, and end where it is lost."""
        life = Life(self._parent)
        while not stopped.wait(PULSE):
            if (os.getppid() != self._parent or life.is_frozen()) and not stopped.is_set():
                _exit(self.sentence)

    def is_alone(self) -> bool:
        """Whether the parent has ended, or ends now."""
        give_up = time.monotonic() + PULSE
        while os.getppid() == self._parent:
            if time.monotonic() > give_up:
                return False
            time.sleep(PULSE / 20)
        return True


def _require_free_port() -> None:
    """Check that the port which the user has chosen for processes to meet is free."""
    port = os.environ.get("MASTER_PORT", "")
    if not port.isdecimal() or not 0 < int(port) < 65536:
        return
    try:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("", int(port)))
    except OSError as error:
        raise UsageError(
            f"the processes cannot meet at port {port} ({error.strerror}): set MASTER_PORT to one "
            "that is free, or leave it out"
        ) from None


def _how(code: int) -> str:
    """How a process has ended."""
    return f"was killed by signal {-code}" if code < 0 else f"has ended with status {code}"


def _exit(sentence: str, status: int = STATUS) -> None:
    print(f"d2ir: {sentence}", file=sys.stderr, flush=True)
    os._exit(status)  # the main thread may be waiting for the lost process
