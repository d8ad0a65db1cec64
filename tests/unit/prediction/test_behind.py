"""Finishing with a batch while the next one is restored."""

import threading
from types import SimpleNamespace
from typing import Any, cast

import pytest
import pytorch_lightning as pl
import torch

from d2ir_pl.errors import OutputError, UsageError
from d2ir_pl.prediction.callbacks import Behind, RestorationCallback
from d2ir_pl.prediction.callbacks.behind import MOST_PIXELS
from d2ir_pl.prediction.outcome import BatchResult

TRAINER, MODULE = cast(pl.Trainer, None), cast(pl.LightningModule, None)
PATIENCE = 30.0


class Finishing(RestorationCallback):
    """Notes what it finishes with, once it may."""

    def __init__(self, events: list[str], name: str) -> None:
        self.events = events
        self.name = name
        self.may = threading.Event()
        self.begun = threading.Event()

    def finish(self, result: BatchResult) -> None:
        self.begun.set()
        assert self.may.wait(PATIENCE)
        assert torch.is_inference_mode_enabled()
        for image in result:
            if cast(Any, image) == "bad":
                raise OutputError("the disk is full")
            self.events.append(f"{self.name} {image}")

    def close(self) -> None:
        self.events.append(f"{self.name} closed")


def batch(*names: str) -> BatchResult:
    return BatchResult(cast(Any, list(names)), [])


@pytest.fixture
def events() -> list[str]:
    return []


@pytest.fixture
def first(events: list[str]) -> Finishing:
    return Finishing(events, "first")


@pytest.fixture
def behind(events: list[str], first: Finishing, monkeypatch: pytest.MonkeyPatch) -> Behind:
    second = Finishing(events, "second")
    second.may.set()
    monkeypatch.setattr("d2ir_pl.prediction.callbacks.behind._pixels", lambda result: 0)
    return Behind([first, second])


def end(behind: Behind, result: Any) -> None:
    behind.on_predict_batch_end(TRAINER, MODULE, result, None, 0)


def test_callbacks_finish_in_order_while_the_next_batch_is_restored(
    behind: Behind, first: Finishing, events: list[str]
) -> None:
    end(behind, batch("a", "b"))
    assert first.begun.wait(PATIENCE)
    end(behind, batch("c"))  # waits for its turn, and nobody for it
    assert events == []
    more = threading.Thread(target=end, args=(behind, batch("d")))
    more.start()
    more.join(0.1)
    assert more.is_alive()  # no third batch is kept
    first.may.set()
    more.join(PATIENCE)
    behind.on_predict_end(TRAINER, MODULE)
    done = [
        f"{who} {name}"
        for names in ("ab", "c", "d")
        for who in ("first", "second")
        for name in names
    ]
    assert events == done
    assert "d2ir-behind" not in {thread.name for thread in threading.enumerate()}


def test_an_error_ends_the_run_and_nothing_is_done_behind_it(
    behind: Behind, first: Finishing, events: list[str]
) -> None:
    first.may.set()
    end(behind, batch("bad"))
    assert first.begun.wait(PATIENCE)

    def go_on() -> None:
        for name in "abc":
            end(behind, batch(name))

    with pytest.raises(OutputError, match="the disk is full"):
        go_on()
    behind.on_exception(TRAINER, MODULE, OutputError(""))
    assert events == []
    end(behind, batch("d"))  # in the next prediction
    behind.on_predict_end(TRAINER, MODULE)
    assert events == ["first d", "second d"]


def test_the_error_of_the_last_batch_is_raised_at_the_end(behind: Behind, first: Finishing) -> None:
    first.may.set()
    end(behind, batch("bad"))
    with pytest.raises(OutputError, match="the disk is full"):
        behind.on_predict_end(TRAINER, MODULE)


def test_what_is_there_is_written_when_the_run_breaks_off(
    behind: Behind, first: Finishing, events: list[str]
) -> None:
    first.may.set()
    end(behind, batch("a"))
    behind.on_exception(TRAINER, MODULE, KeyboardInterrupt())
    assert events == ["first a", "second a"]


def test_nothing_is_restored_beside_large_photos(first: Finishing, events: list[str]) -> None:
    first.may.set()
    side = int(MOST_PIXELS**0.5) + 1
    x0 = torch.zeros(1).expand(3, side, side)
    end(Behind([first]), BatchResult(cast(Any, [SimpleNamespace(x0=x0)]), []))
    assert len(events) == 1


def test_other_callbacks_see_the_batch_as_it_was(behind: Behind, first: Finishing) -> None:
    given = batch("a")

    def take(result: BatchResult) -> None:
        result.results.clear()

    first.finish = take  # type: ignore[method-assign]
    end(behind, given)
    behind.on_predict_end(TRAINER, MODULE)
    assert len(given) == 1


def test_only_results_are_taken(behind: Behind) -> None:
    with pytest.raises(UsageError, match="needs the BatchResult"):
        end(behind, None)
