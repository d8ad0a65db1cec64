"""Batches from processes that read ahead and hang, or take long."""

import threading
import time
from pathlib import Path

import pytest
from torch.utils.data import Dataset, get_worker_info

from d2ir_pl.prediction import loading
from d2ir_pl.prediction.loading import PhotoLoader

LOCK = threading.Lock()


class Numbers(Dataset[int]):
    """Numbers of which one needs a lock, and another one takes long in a process of its own."""

    def __init__(self, locked: int = -1, slow: int = -1, marks: Path = Path("/dev/null")) -> None:
        self.locked, self.slow, self.marks = locked, slow, marks

    def __len__(self) -> int:
        return 5

    def __getitem__(self, index: int) -> int:
        ahead = get_worker_info() is not None
        with self.marks.open("a") as marks:
            marks.write(f"{index}{'ahead' if ahead else ''} ")
        if index == self.locked:
            with LOCK:
                pass
        end = time.monotonic() + 3
        while index == self.slow and ahead and time.monotonic() < end:
            pass
        return index


@pytest.fixture(autouse=True)
def _in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "LOOK", 0.2)
    monkeypatch.setattr(loading, "IDLE", 1.0)


@pytest.mark.parametrize("workers", [1, 2])
def test_what_a_process_waits_for_for_ever_is_read_without_it(
    workers: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """A process has the locks that threads held when it was copied."""
    LOCK.acquire()
    loader = iter(PhotoLoader(Numbers(locked=2), batch_size=None, num_workers=workers))
    found = [next(loader)]
    LOCK.release()
    begun = time.monotonic()
    assert found + list(loader) == [0, 1, 2, 3, 4]
    assert time.monotonic() - begun < 20
    assert "do nothing any more" in " ".join(capsys.readouterr().err.split())


def test_processes_that_compute_are_waited_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    numbers = Numbers(slow=1, marks=tmp_path / "marks")
    loader = PhotoLoader(numbers, batch_size=None, num_workers=1)
    assert list(loader) == [0, 1, 2, 3, 4]
    assert (tmp_path / "marks").read_text().split() == [f"{i}ahead" for i in range(5)]
    assert not capsys.readouterr().err


def test_processes_may_wait_while_nothing_is_asked_of_them(
    capsys: pytest.CaptureFixture[str],
) -> None:
    loader = iter(PhotoLoader(Numbers(), batch_size=None, num_workers=1))
    found = [next(loader)]
    time.sleep(2)
    assert found + list(loader) == [0, 1, 2, 3, 4]
    assert not capsys.readouterr().err
