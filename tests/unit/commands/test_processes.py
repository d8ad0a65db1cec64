"""Processes that belong together: one that is lost is noticed, and none is left."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl

from d2ir_pl import compat
from d2ir_pl.commands import life as lives
from d2ir_pl.commands import processes
from d2ir_pl.commands.life import Life
from d2ir_pl.commands.processes import Child, Parent, together
from d2ir_pl.errors import ProcessError, TerminatedError, UsageError
from d2ir_pl.stopping import PARENT, Ending, stoppable

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")

PATIENT = 60.0


class Ended(BaseException):
    """Stands for the end of this process."""


@pytest.fixture(autouse=True)
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    found: list[str] = []

    def end(sentence: str, status: int = processes.STATUS) -> None:
        found.append(sentence if status == 2 else f"{sentence}, {status}")
        raise Ended

    monkeypatch.setattr(processes, "_exit", end)
    monkeypatch.setattr(processes, "PULSE", 0.02)
    monkeypatch.setattr(lives, "PATIENCE", 1.0)
    return found


def busy(code: str = "while True: time.sleep(0.05)") -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-c", f"import time\n{code}"])


@pytest.fixture
def child() -> Iterator["subprocess.Popen[bytes]"]:
    process = busy()
    yield process
    process.kill()
    process.wait()


def watched(parent: Parent, seconds: float = PATIENT) -> None:
    """Watch until the end, or for some seconds."""
    stopped = threading.Event()
    threading.Timer(seconds, stopped.set).start()
    try:
        parent.watch(stopped)
    except Ended:
        return
    finally:
        stopped.set()


@pytest.fixture
def parent(child: Any, monkeypatch: pytest.MonkeyPatch) -> Parent:
    trainer = pl.Trainer(accelerator="cpu", devices=1, logger=False)
    monkeypatch.setattr(compat, "started_processes", lambda _: [child])
    return Parent(trainer, "results are kept")


def test_living_children_are_left_alone(parent: Parent, child: Any, said: list[str]) -> None:
    watched(parent, 2.5)
    assert said == []
    assert child.poll() is None


def test_a_killed_child_ends_the_run(parent: Parent, child: Any, said: list[str]) -> None:
    child.kill()
    watched(parent)
    assert said == [
        "process 2 of 1 (rank 1) was killed by signal 9: the run stops; results are kept"
    ]


def test_a_frozen_child_ends_the_run_and_is_killed(
    parent: Parent, child: Any, said: list[str]
) -> None:
    child.send_signal(signal.SIGSTOP)
    watched(parent)
    assert said == ["process 2 of 1 (rank 1) does not answer: the run stops; results are kept"]
    assert child.wait(PATIENT) == -signal.SIGKILL


def test_children_that_never_meet_end_the_run(
    parent: Parent, child: Any, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "MEETING", 0.3)
    monkeypatch.setattr(parent, "_begun", time.monotonic())
    watched(parent)
    assert said == ["the processes have not found each other: results are kept"]


def test_a_child_that_was_asked_to_end_is_followed(
    parent: Parent, child: Any, said: list[str]
) -> None:
    asked = threading.Event()
    before = signal.signal(signal.SIGTERM, lambda *_: asked.set())
    try:
        child.terminate()
        child.wait(PATIENT)
        stopped = threading.Event()
        thread = threading.Thread(target=parent.watch, args=[stopped])
        thread.start()
        assert asked.wait(PATIENT)
        stopped.set()
        thread.join(PATIENT)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert said == []


ENDS = {signal.SIGINT: KeyboardInterrupt, signal.SIGTERM: TerminatedError}


@pytest.mark.parametrize("number", ENDS)
def test_who_waits_for_a_child_that_was_asked_to_end_ends_nevertheless(
    parent: Parent, said: list[str], number: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the main thread does in the libraries' own code, where no handler is called."""
    asked = busy(f"raise SystemExit({128 + number})")
    asked.wait(PATIENT)
    monkeypatch.setattr(compat, "started_processes", lambda _: [asked])
    monkeypatch.setattr(processes, "PULSE", 0.5)
    thread = threading.Thread(target=watched, args=[parent])
    with stoppable(Ending()):
        thread.start()
        with pytest.raises(ENDS[number]):
            threading.Event().wait(PATIENT)
    thread.join(PATIENT)
    assert said == [f"stopped; results are kept, {128 + number}"]


@pytest.mark.parametrize("error", [RuntimeError("Connection reset by peer"), ProcessError("lost")])
@pytest.mark.parametrize("number", ENDS)
def test_a_connection_that_is_lost_to_who_was_asked_to_end_is_no_error(
    number: signal.Signals, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "PULSE", PATIENT)
    trainer = pl.Trainer(accelerator="cpu", devices=2, logger=False)
    asked = busy(f"raise SystemExit({128 + number})")
    monkeypatch.setattr(compat, "started_processes", lambda _: [asked])
    with pytest.raises(ENDS[number]), together(trainer, ""):
        raise error


@pytest.mark.parametrize("error", [RuntimeError("Connection reset by peer"), ProcessError("lost")])
def test_who_loses_a_connection_names_the_child_that_is_gone(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = pl.Trainer(accelerator="cpu", devices=4, logger=False)
    # One is killed, one misses it, and one has not yet noticed.
    killed, missing, living = busy(), busy(f"raise SystemExit({processes.STATUS})"), busy()
    missing.wait()
    killed.kill()
    killed.wait()
    monkeypatch.setattr(compat, "started_processes", lambda _: [missing, killed, living])
    with pytest.raises(ProcessError) as raised, together(trainer, "results are kept"):
        raise error
    gone = "process 3 of 4 (rank 2) was killed by signal 9"
    assert str(raised.value) == f"{gone}: the run stops; results are kept"
    assert living.poll() == -signal.SIGKILL


@pytest.mark.parametrize("gone", [True, False])
def test_a_child_that_loses_a_connection_names_its_parent_where_that_is_gone(
    gone: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = pl.Trainer(accelerator="cpu", devices=3, logger=False)
    monkeypatch.setenv(PARENT, str(1 << 22 if gone else os.getppid()))
    monkeypatch.setattr(processes, "_watching", lambda _: contextlib.nullcontext())
    with pytest.raises(ProcessError) as raised, together(trainer, "results are kept"):
        raise RuntimeError("Connection closed by peer")
    assert ("process 1 of 3 (rank 0) has died" in str(raised.value)) == gone
    assert str(raised.value).endswith("results are kept")


@pytest.mark.parametrize("failed", [True, False])
def test_no_child_is_left(parent: Parent, child: Any, failed: bool, monkeypatch: Any) -> None:
    monkeypatch.setattr(processes, "LEAVING", 0.2)
    parent.end(failed)
    assert child.poll() == -signal.SIGKILL


def test_a_child_ends_with_its_parent(said: list[str]) -> None:
    with pytest.raises(Ended):
        Child(1 << 22, 3, "results are kept").watch(threading.Event())
    assert said == ["process 1 of 3 (rank 0) has died: the run stops; results are kept"]


def test_who_was_stopped_oneself_blames_nobody(child: Any, monkeypatch: Any) -> None:
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    life = Life(child.pid)
    child.send_signal(signal.SIGSTOP)
    time.sleep(0.2)
    assert not life.is_frozen()
    for _ in range(5):  # as after Ctrl-Z, for as long as one likes
        clock[0] += 100.0
        assert not life.is_frozen()
    for _ in range(5):
        clock[0] += 0.4
        frozen = life.is_frozen()
    assert frozen


def test_a_port_that_is_taken_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    trainer = pl.Trainer(accelerator="cpu", devices=2, logger=False)
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        port = taken.getsockname()[1]
        monkeypatch.setenv("MASTER_PORT", str(port))
        with pytest.raises(UsageError, match=f"cannot meet at port {port}"), together(trainer, ""):
            pass
    with pytest.raises(ProcessError, match="do not reach each other"), together(trainer, ""):
        raise RuntimeError("Connection reset by peer")
    assert "D2IR_PARENT" not in os.environ


def test_a_process_that_is_gone_shows_no_life() -> None:
    process = busy("pass")
    process.wait()
    assert Life(process.pid)._signs() is None
    assert Path("/proc/self/task").is_dir()
