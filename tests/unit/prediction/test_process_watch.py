"""Signs of life between processes, with a store that needs no second process.

The clock is moved by the tests, and only after every living process has given signs of life: how
fast the machine is, or what else it does, changes nothing.
"""

import queue
import threading
import time

import pytest
from torch.distributed import HashStore, Store

from d2ir_pl.prediction.callbacks import process_watch
from d2ir_pl.prediction.callbacks.process_watch import PATIENCE, ProcessWatch

PATIENT = 60.0
"""Seconds after which a test gives up what it waits for."""


class Clock:
    """What the watch takes for the time."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        """Nobody has to wait."""


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(process_watch, "time", clock)
    monkeypatch.setattr(process_watch, "PULSE", 0.002)
    return clock


class Process:
    """A process of a run, as a thread."""

    def __init__(self, store: Store, rank: int, world_size: int) -> None:
        self.store, self.rank = store, rank
        self.said: queue.Queue[str | None] = queue.Queue()
        self.callback = ProcessWatch(self.said.put)
        self.thread = threading.Thread(target=self.callback.watch, args=(store, rank, world_size))
        self.thread.start()

    def pulse(self) -> int:
        return self.store.add(f"pulse{self.rank}", 0)

    def has_spoken(self) -> bool:
        return not self.said.empty()

    def end(self) -> None:
        self.callback.stop()
        self.thread.join(PATIENT)
        assert not self.thread.is_alive()


def let_time_pass(clock: Clock, living: list[Process], seconds: float) -> None:
    """In steps short enough for nobody's patience, in each of which all have looked at all.

    Until somebody speaks, after which the rest need not give signs of life.
    """
    end = clock.now + seconds
    while clock.now < end and not any(process.has_spoken() for process in living):
        # Two signs: what was seen between them was seen at the time of this step.
        wanted = [process.pulse() + 2 for process in living]
        give_up = time.monotonic() + PATIENT
        for process, count in zip(living, wanted, strict=True):
            while process.pulse() < count and not any(other.has_spoken() for other in living):
                assert time.monotonic() < give_up
                threading.Event().wait(0.001)
        clock.now += PATIENCE / 4


def test_nobody_dies_while_all_are_alive_or_have_not_begun(clock: Clock) -> None:
    store = HashStore()
    processes = [Process(store, 0, 3), Process(store, 1, 3)]
    let_time_pass(clock, processes, 3 * PATIENCE)
    for process in processes:
        process.end()
        assert not process.has_spoken()


@pytest.mark.parametrize("dead", [0, 2])
def test_who_falls_silent_is_named_with_its_machine(clock: Clock, dead: int) -> None:
    store = HashStore()
    processes = [Process(store, rank, 3) for rank in range(3)]
    let_time_pass(clock, processes, PATIENCE)
    processes[dead].end()
    living = [process for process in processes if process.rank != dead]
    let_time_pass(clock, living, 2 * PATIENCE)
    sentences = [process.said.get(timeout=PATIENT) for process in living]
    for process in living:
        process.end()
        assert not process.has_spoken(), "each speaks once"
    assert not processes[dead].has_spoken()
    named = [said for said in sentences if said is not None]
    assert named
    for said in named:
        assert said.startswith(f"process {dead + 1} of 3 (rank {dead} on ")
        assert said.endswith("finished images are kept, and the same command does the rest")


def test_a_lost_store_is_a_dead_first_process() -> None:
    class Lost(HashStore):
        def add(self, key: str, amount: int) -> int:
            raise RuntimeError("Connection reset by peer")

    process = Process(Lost(), 1, 2)
    said = process.said.get(timeout=PATIENT)
    process.thread.join(PATIENT)
    assert said is not None
    assert said.startswith("process 1 of 2 (rank 0) has died")


def test_a_store_that_does_not_answer_is_a_dead_first_process(clock: Clock) -> None:
    asked, answer = threading.Event(), threading.Event()

    class Frozen(HashStore):
        def add(self, key: str, amount: int) -> int:
            asked.set()
            answer.wait(PATIENT)
            return 0

    process = Process(Frozen(), 1, 2)
    assert asked.wait(PATIENT)
    clock.now += 2 * PATIENCE
    said = process.said.get(timeout=PATIENT)
    assert said is not None
    assert said.startswith("process 1 of 2 (rank 0) has died")
    answer.set()
    process.end()


def test_after_the_end_processes_may_leave(clock: Clock) -> None:
    store = HashStore()
    processes = [Process(store, rank, 2) for rank in range(2)]
    let_time_pass(clock, processes, PATIENCE)
    for process in processes:
        process.end()
        clock.now += 2 * PATIENCE
    assert not any(process.has_spoken() for process in processes)
