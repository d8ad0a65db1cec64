"""What asks a program to end is heard wherever it comes, and once."""

import os
import signal
import sys
from pathlib import Path

import pytest
from photos import save

import d2ir_pl
from d2ir_pl.errors import TerminatedError
from d2ir_pl.image_io.apart import read_apart
from d2ir_pl.prediction.callbacks import StopSignals
from d2ir_pl.stopping import (
    KEPT,
    Ending,
    EndingBetween,
    is_child,
    stoppable,
    undisturbed,
    was_asked,
)

ENDS = [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, TerminatedError)]


@pytest.mark.parametrize(("number", "raised"), ENDS)
def test_what_python_drops_is_raised_again(
    number: signal.Signals, raised: type[BaseException], capsys: pytest.CaptureFixture[str]
) -> None:
    class Finalized:
        def __del__(self) -> None:
            signal.raise_signal(number)

    before = signal.getsignal(number)
    with stoppable(Ending()):
        callback = StopSignals()
        callback.setup(None, None, "predict")  # type: ignore[arg-type]
        callback.on_predict_batch_start()
        assert not was_asked()
        finalized = Finalized()
        del finalized
        assert was_asked()
        with pytest.raises(raised):
            callback.on_predict_batch_start()
    assert signal.getsignal(number) is before
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize(("number", "raised"), ENDS)
def test_a_signal_while_a_file_is_given_to_a_process_is_raised_behind_it(
    tmp_path: Path,
    number: signal.Signals,
    raised: type[BaseException],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fork, inside = os.fork, []

    def disturbed() -> int:
        handler = signal.getsignal(number)
        assert callable(handler)
        handler(number, None)
        inside.append(handler)
        return fork()

    path = save(tmp_path / "a.png")
    monkeypatch.setattr(os, "fork", disturbed)
    with stoppable(Ending()), pytest.raises(raised):
        read_apart(path)
    assert len(inside) == (sys.platform == "linux")


def test_a_signal_that_is_ignored_stays_so() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with stoppable(Ending()), undisturbed():
            signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_who_ends_between_steps_says_so_once(capsys: pytest.CaptureFixture[str]) -> None:
    with stoppable(EndingBetween("ending soon")) as handler:
        handler.require_unasked()
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(TerminatedError):
            handler.require_unasked()
        with pytest.raises(KeyboardInterrupt):  # a person does not want to wait
            signal.raise_signal(signal.SIGINT)
    assert capsys.readouterr().err == "d2ir: ending soon\n"


def test_a_process_knows_that_another_one_speaks_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not is_child()
    monkeypatch.setenv("D2IR_PARENT", str(os.getpid()))
    assert not is_child()
    monkeypatch.setenv("D2IR_PARENT", str(os.getppid()))
    assert is_child()


def test_what_is_kept_of_a_stopped_run_is_said_in_one_place() -> None:
    package = Path(d2ir_pl.__file__).parent
    texts = {path.name: path.read_text(encoding="utf-8") for path in package.rglob("*.py")}
    said = KEPT.rpartition(", ")[2]
    assert [name for name, text in texts.items() if said in text] == ["stopping.py"]
