"""One run writes to an output folder at a time, and folders that cannot be used are refused."""

import errno
import fcntl
import multiprocessing
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest
import torch
from photos import files, photo

from d2ir_pl.errors import OutputError
from d2ir_pl.image_io import Photo
from d2ir_pl.results.folder import ResultFolder
from d2ir_pl.results.pictures import Pictures, write_result
from d2ir_pl.results.record import Record


@pytest.fixture
def folder(tmp_path: Path) -> ResultFolder:
    folder = ResultFolder(tmp_path / "out")
    folder.prepare()
    return folder


RECORD = Record("a", "restored", "settings", "input")


# ---- The lock ----


@contextmanager
def holder(root: Path) -> Iterator[multiprocessing.Process]:
    """Another process that holds the folder until it is killed."""
    context = multiprocessing.get_context("fork")
    held = context.Event()

    def hold(held: Event) -> None:
        with ResultFolder(root).lock():
            held.set()
            signal.pause()

    process = context.Process(target=hold, args=(held,), daemon=True)
    process.start()
    try:
        assert held.wait(10)
        yield process  # type: ignore[misc]
    finally:
        process.kill()
        process.join()


def test_a_second_process_is_refused_until_the_first_is_killed(folder: ResultFolder) -> None:
    with holder(folder.root) as process:
        refusal = r"another run is writing to .*out: wait for it or choose another --output"
        with pytest.raises(OutputError, match=refusal), folder.lock():
            raise AssertionError("locked twice")
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        with folder.lock():
            assert process.exitcode == -signal.SIGKILL
    with folder.lock(), ResultFolder(folder.root.parent).lock():
        assert files(folder.root) == {".lock"}


def test_the_lock_is_released_when_the_work_raises(folder: ResultFolder) -> None:
    with pytest.raises(ZeroDivisionError), folder.lock():
        raise ZeroDivisionError
    with holder(folder.root) as process:
        assert process.is_alive()


def test_a_filesystem_without_locks_is_refused_in_one_sentence(
    folder: ResultFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unsupported(*args: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "lockf", unsupported)
    with pytest.raises(OutputError, match=r"cannot be locked .*: choose"), folder.lock():
        raise AssertionError("not locked")


# ---- Folders that cannot be used ----


def test_prepare_creates_parents_and_leaves_nothing_behind(tmp_path: Path) -> None:
    ResultFolder(tmp_path / "new" / "er" / "out").prepare()
    assert (tmp_path / "new" / "er" / "out").is_dir()
    assert not files(tmp_path)


@pytest.mark.parametrize("path", ["file", "file/below"])
def test_an_output_that_is_a_file_is_refused_and_kept(tmp_path: Path, path: str) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OutputError, match=r"--output .*file.* cannot be written.*: choose another"):
        ResultFolder(tmp_path / path).prepare()
    assert (tmp_path / "file").read_text() == "mine"


def test_a_folder_without_permission_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(*args: object, **options: object) -> None:  # chmod does not stop a privileged user
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "touch", denied)
    with pytest.raises(OutputError, match=r"cannot be written to \(Permission denied\): choose"):
        ResultFolder(tmp_path / "out").prepare()


@pytest.mark.parametrize("what", ["restored", "degradation"])
def test_a_file_in_the_way_is_one_sentence(folder: ResultFolder, what: str) -> None:
    (folder.root / what).write_text("mine")
    with pytest.raises(OutputError, match=f"{what}.* cannot be written .*: move the file"):
        write_result(folder, RECORD, Pictures(Photo(photo()), torch.rand(3, 3)))
    assert (folder.root / what).read_text() == "mine"


@pytest.mark.parametrize("name", ["metrics.csv", "config.yaml", "report.html"])
def test_a_folder_in_place_of_a_file_is_refused_before_the_work(
    folder: ResultFolder, name: str
) -> None:
    (folder.root / name).mkdir()
    with pytest.raises(OutputError, match=f"{name} is a folder: move it away"):
        folder.sweep()


def test_a_lock_that_cannot_be_opened_is_one_sentence(
    folder: ResultFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder.root / ".lock").mkdir()
    with pytest.raises(OutputError, match=r"lock cannot be opened .*: remove it"), folder.lock():
        raise AssertionError("locked")

    def denied(*args: object) -> int:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    (folder.root / ".lock").rmdir()
    monkeypatch.setattr(os, "open", denied)
    refusal = pytest.raises(OutputError, match=r"lock cannot be opened \(Permission denied\)")
    with refusal, folder.lock():
        raise AssertionError("locked")


def test_a_full_disk_is_one_sentence_and_leaves_the_image_missing(
    folder: ResultFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match=r"No space left on device\): make room"):
        write_result(folder, RECORD, Pictures(Photo(photo())))
    assert folder.state("a", "settings", lambda: "input") == "missing"
