"""A file that ends, fills or keeps the process that reads it costs itself, and nothing else."""

import os
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from image_files import chunk
from photos import save, save_all
from repository import ROOT

from d2ir_pl.errors import ImageError
from d2ir_pl.image_io import apart, image_size, read_apart, read_image, sizes_apart
from d2ir_pl.training.photographs import Photographs, usable_photographs

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="files are read apart on Linux")

FAULTS: dict[str, Callable[[], Any]] = {
    "crash": lambda: os.kill(os.getpid(), signal.SIGSEGV),
    "exit": lambda: os._exit(0),
    "memory": lambda: bytearray(8 * 2**30),
    "endless": lambda: [... for _ in iter(int, 1) if _],
    "silent": lambda: time.sleep(99),
    "error": lambda: 1 // 0,
}


def breaking(monkeypatch: pytest.MonkeyPatch, fault: str, name: str = "b.png") -> None:
    """Let decoders do that for the files of a name."""
    for function in (read_image, image_size):

        def broken(path: Path, *, usual: Any = function, **options: Any) -> Any:
            if path.name == name:
                FAULTS[fault]()
            return usual(path, **options)

        monkeypatch.setattr(apart, function.__name__, broken)
    monkeypatch.setattr(apart, "SECONDS", 0)
    if fault == "silent":
        monkeypatch.setattr(apart, "PATIENCE", 1.0)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_a_decoder_is_an_error_of_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    paths = [save(tmp_path / f"{name}.png", 1, 24, 32) for name in "abc"]
    breaking(monkeypatch, fault)
    begun = time.monotonic()
    a, b, c = sizes_apart(paths)
    assert a == c == (24, 32)
    assert isinstance(b, ImageError)
    with pytest.raises(ImageError, match=r"b\.png .*: export it again|does not fit into memory"):
        read_apart(paths[1])
    assert torch.equal(read_apart(paths[2]).pixels, read_image(paths[2]).pixels)
    assert time.monotonic() - begun < 30


def test_what_is_refused_is_refused_in_the_words_of_the_reader(tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"no image")
    header = struct.pack(">IIBBBBB", 2**31 - 1, 2**31 - 1, 8, 2, 0, 0, 0)
    huge = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    (tmp_path / "huge.png").write_bytes(huge)
    names = ("bad.png", "none.png", "huge.png", "")
    for path in (tmp_path / name for name in names):
        with pytest.raises(ImageError) as here:
            read_image(path)
        with pytest.raises(ImageError) as there:
            read_apart(path)
        assert str(here.value) == str(there.value)


def test_a_process_that_someone_else_has_ended_costs_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(tmp_path / "a.png", 1)

    def killed_once(file: Path, **options: Any) -> Any:
        if not (tmp_path / "mark").exists():
            (tmp_path / "mark").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return read_image(file, **options)

    monkeypatch.setattr(apart, "read_image", killed_once)
    assert torch.equal(read_apart(path).pixels, read_image(path).pixels)
    assert (tmp_path / "mark").exists()


def test_files_are_read_here_where_there_is_no_room_for_a_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full() -> int:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    path = save(tmp_path / "a.png", 1, 24, 32)
    before = len(os.listdir("/proc/self/fd"))
    monkeypatch.setattr(os, "fork", full)
    assert torch.equal(read_apart(path).pixels, read_image(path).pixels)
    assert next(sizes_apart([path, tmp_path / "none.png"])) == (24, 32)
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("many", [False, True])
def test_a_lock_that_a_thread_held_when_it_was_copied_delays_a_file_and_costs_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, many: bool
) -> None:
    paths = [save(tmp_path / f"{name}.png", 1, 24, 32) for name in "abc"]
    lock, held = threading.Lock(), threading.Event()

    def hold() -> None:  # as a thread that loads a library does
        with lock:
            held.set()
            time.sleep(0.5)

    for function in (read_image, image_size):

        def locked(path: Path, *, usual: Any = function, **options: Any) -> Any:
            with lock:
                return usual(path, **options)

        monkeypatch.setattr(apart, function.__name__, locked)
    monkeypatch.setattr(apart, "IDLE", 1.0)
    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    begun = time.monotonic()
    if many:
        assert list(sizes_apart(paths)) == [(24, 32)] * 3
    else:
        assert read_apart(paths[0]).pixels.shape[-2:] == (24, 32)
    assert time.monotonic() - begun < 30
    thread.join()


@pytest.mark.parametrize(("does", "idle"), [("waits for a disk", True), ("computes", False)])
def test_a_process_that_waits_long_or_computes_costs_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, does: str, idle: bool
) -> None:
    path, began = save(tmp_path / "a.png", 1), tmp_path / "began"
    began.touch()

    def slow(file: Path, **options: Any) -> Any:
        with began.open("a") as marks:
            marks.write("x")
        end = time.monotonic() + 2
        while time.monotonic() < end:
            time.sleep(2 if idle else 0)
        return read_image(file, **options)

    monkeypatch.setattr(apart, "read_image", slow)
    monkeypatch.setattr(apart, "IDLE", 0.8)
    assert torch.equal(read_apart(path).pixels, read_image(path).pixels), does
    assert (len(began.read_text(encoding="utf-8")) > 1) == idle


def test_a_process_that_ends_is_noticed_where_another_one_has_its_pipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(tmp_path / "a.png", 1)
    breaking(monkeypatch, "exit", "a.png")
    others, pipe = [], os.pipe

    def shared() -> tuple[int, int]:
        ends = pipe()
        if not (other := os.fork()):
            time.sleep(60)
            os._exit(0)
        others.append(other)
        return ends

    monkeypatch.setattr(os, "pipe", shared)
    begun = time.monotonic()
    with pytest.raises(ImageError, match="breaks the program"):
        read_apart(path)
    assert time.monotonic() - begun < 20
    for other in others:
        os.kill(other, signal.SIGKILL)
        os.waitpid(other, 0)


def test_neither_files_nor_processes_stay_open(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", 1)
    before, children = len(os.listdir("/proc/self/fd")), _children()
    sizes = sizes_apart([path] * 3)
    next(sizes)  # the others are not asked for
    del sizes
    read_apart(path)
    assert len(os.listdir("/proc/self/fd")) == before
    assert _children() == children


def test_threads_read_beside_each_other_and_beside_computations(tmp_path: Path) -> None:
    paths = [save(tmp_path / f"{i}.png", i, 24, 32) for i in range(8)]
    stop = threading.Event()

    def compute() -> None:
        while not stop.is_set():
            torch.randn(200, 200) @ torch.randn(200, 200)

    busy = threading.Thread(target=compute)
    busy.start()
    try:
        photographs = Photographs(paths, cache_gb=1)
    finally:
        stop.set()
        busy.join()
    kept = [photographs[i] for i in range(len(paths))]
    assert [tuple(k.shape) for k in kept] == [(3, 24, 32)] * 8
    assert not torch.equal(kept[0], kept[1])


def test_a_photograph_that_crashes_its_decoder_is_left_out_of_a_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_all(tmp_path, ("a.png", "b.png", "c.png"))
    breaking(monkeypatch, "crash")
    usable, skipped = usable_photographs(str(tmp_path), 8)
    assert [path.name for path in usable] == ["a.png", "c.png"]
    assert "b.png" in skipped[0]
    # Where it crashes with the pixels alone, the next one stands in.
    for cache in (1.0, 0.0):
        found = Photographs([tmp_path / "b.png", tmp_path / "c.png"], cache)
        assert torch.equal(found[0], found[1])


def test_a_program_that_is_ended_leaves_no_reader_behind(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", 1)
    code = (
        "import os, sys, time\n"
        "from d2ir_pl.image_io import apart\n"
        "def slow(path, **_):\n"
        "    print(os.getpid(), flush=True)\n"
        "    time.sleep(60)\n"
        "apart.read_image = slow\n"
        "apart.read_apart(sys.argv[1])\n"
    )
    program = subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert program.stdout is not None
    reader = int(program.stdout.readline())
    program.kill()
    program.wait()
    program.stdout.close()
    deadline = time.monotonic() + 10
    while _lives(reader) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _lives(reader)


def _children() -> set[str]:
    """The processes that this one has begun, those included that have ended and are kept."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has ended meanwhile
            parent = path.read_text(encoding="utf-8").rpartition(")")[2].split()[1]
            if int(parent) == os.getpid():
                found.add(path.parent.name)
    return found


def _lives(process: int) -> bool:
    try:
        status = Path(f"/proc/{process}/stat").read_text(encoding="ascii")
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"
