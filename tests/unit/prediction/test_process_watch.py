"""Signs of life between processes, with a store that needs no second process."""

import threading
import time

import pytest
from torch.distributed import HashStore, Store

from d2ir_pl.prediction.callbacks import process_watch
from d2ir_pl.prediction.callbacks.process_watch import ProcessWatch


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_watch, "PULSE", 0.02)
    monkeypatch.setattr(process_watch, "PATIENCE", 0.3)


class Process:
    """A process of a run, as a thread."""

    def __init__(self, store: Store, rank: int, world_size: int) -> None:
        self.said: list[str | None] = []
        self.callback = ProcessWatch(self.said.append)
        self.thread = threading.Thread(target=self.callback.watch, args=(store, rank, world_size))
        self.thread.start()

    def end(self) -> None:
        self.callback.stop()
        self.thread.join(5)
        assert not self.thread.is_alive()


def test_nobody_dies_while_all_are_alive_or_have_not_begun() -> None:
    store = HashStore()
    processes = [Process(store, 0, 3), Process(store, 1, 3)]
    time.sleep(0.8)
    for process in processes:
        process.end()
        assert process.said == []


@pytest.mark.parametrize("dead", [0, 2])
def test_who_falls_silent_is_named_with_its_machine(dead: int) -> None:
    store = HashStore()
    processes = [Process(store, rank, 3) for rank in range(3)]
    time.sleep(0.2)
    processes[dead].end()
    time.sleep(1)
    sentences = []
    for rank, process in enumerate(processes):
        process.end()
        assert len(process.said) == (rank != dead)
        sentences += [said for said in process.said if said is not None]
    assert sentences
    for said in sentences:
        assert said.startswith(f"process {dead + 1} of 3 (rank {dead} on ")
        assert said.endswith("finished images are kept, and the same command does the rest")


def test_a_lost_store_is_a_dead_first_process() -> None:
    class Lost(HashStore):
        def add(self, key: str, amount: int) -> int:
            raise RuntimeError("Connection reset by peer")

    process = Process(Lost(), 1, 2)
    process.thread.join(5)
    assert process.said[0] is not None
    assert process.said[0].startswith("process 1 of 2 (rank 0) has died")


def test_a_store_that_does_not_answer_is_a_dead_first_process() -> None:
    answer = threading.Event()

    class Frozen(HashStore):
        def add(self, key: str, amount: int) -> int:
            answer.wait()
            return 0

    process = Process(Frozen(), 1, 2)
    time.sleep(1)
    assert process.said[0] is not None
    assert process.said[0].startswith("process 1 of 2 (rank 0) has died")
    answer.set()
    process.end()


def test_after_the_end_processes_may_leave() -> None:
    process = Process(HashStore(), 0, 2)
    process.end()
    time.sleep(0.5)
    assert process.said == []
