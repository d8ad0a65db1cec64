"""Estimates are computed by one thread, and the number of threads is given back."""

from collections.abc import Iterator
from threading import Barrier, Thread

import pytest
import torch

from d2ir_pl.estimators.remembered import remembered
from d2ir_pl.estimators.threads import each, one_thread


@pytest.fixture(autouse=True)
def _two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_inside_there_is_one_thread_and_after_it_as_many_as_before() -> None:
    with one_thread():
        with one_thread():
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2


def test_an_error_inside_gives_the_threads_back() -> None:
    with pytest.raises(RuntimeError, match="no photo"), one_thread():
        raise RuntimeError("no photo")
    assert torch.get_num_threads() == 2


def test_threads_that_overlap_all_get_their_number_back() -> None:
    entered, left, late = Barrier(2), Barrier(2), Barrier(2)
    after = []

    def other() -> None:
        torch.rand(2).sum()
        with one_thread():
            entered.wait(timeout=60)
            left.wait(timeout=60)
        late.wait(timeout=60)
        after.append(torch.get_num_threads())

    thread = Thread(target=other)
    with one_thread():
        thread.start()
        entered.wait(timeout=60)
    left.wait(timeout=60)
    late.wait(timeout=60)
    thread.join()
    assert after == [2]
    assert torch.get_num_threads() == 2


def test_each_returns_results_in_order_by_one_thread_each() -> None:
    def threads(i: int) -> tuple[int, int]:
        return i, torch.get_num_threads()

    assert each(threads, range(5)) == [(i, 1) for i in range(5)]
    assert torch.get_num_threads() == 2


def test_parts_are_computed_at_the_same_time() -> None:
    both = Barrier(2)
    assert len(each(lambda _: both.wait(timeout=60), (0, 1))) == 2


def test_an_error_of_a_part_is_that_of_all() -> None:
    def failing(i: int) -> int:
        if i:
            raise ValueError("a part")
        return i

    with pytest.raises(ValueError, match="a part"):
        each(failing, range(3))
    assert torch.get_num_threads() == 2


def test_what_is_remembered_was_computed_by_one_thread() -> None:
    @remembered
    def threads(_: float) -> int:
        return torch.get_num_threads()

    assert threads(0.5) == 1
    assert torch.get_num_threads() == 2
