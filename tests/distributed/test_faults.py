"""Processes that are killed at the worst moment, and names that try to leave the folder."""

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from forks import Program, Programs
from photos import files, save_all
from PIL import Image

from d2ir_pl.cli import main

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")

QUICK = [
    *("--model.method.estimation.steps", "2"),
    *("--model.method.latent.iterations", "2", "--model.method.latent.ddim_steps", "2"),
    *("--model.method.latent.discrepancy", "0"),
    *("--trainer.accelerator", "cpu", "--trainer.precision", "32-true"),
]

KILL = "os.kill(os.getpid(), signal.SIGKILL)"
# What a process does at the moment in question; `b` is the second image.
MOMENTS = {
    "stage 2": f"""
from d2ir_pl.restoration import latent_optimization
chain, calls = latent_optimization.ddim_chain, []
def killed(*arguments):
    calls.append(1)
    if len(calls) == 5:  # each image takes three
        {KILL}
    return chain(*arguments)
latent_optimization.ddim_chain = killed
""",
    "a file": f"""
fsync = os.fsync
def half(descriptor):
    where = os.readlink(f"/proc/self/fd/{{descriptor}}")
    if "/restored/" in where and os.path.exists(os.path.dirname(where) + "/a.png"):
        os.ftruncate(descriptor, os.fstat(descriptor).st_size // 2)
        {KILL}
    fsync(descriptor)
os.fsync = half
""",
    "the table": f"""
import csv
writerows = csv.DictWriter.writerows
def half(self, rows):
    writerows(self, list(rows)[:1])
    self.writer = None
    {KILL}
csv.DictWriter.writerows = half
""",
}


def command(tmp_path: Path, *options: str, before: str = "") -> list[str]:
    script = tmp_path / "run.py"
    script.write_text(
        f"import os, signal, sys\n{before}\nfrom d2ir_pl.cli import main\nsys.exit(main())\n"
    )
    return [str(script), *predict(tmp_path, *options)]


def predict(tmp_path: Path, *options: str) -> list[str]:
    where = ["--data.inputs", str(tmp_path / "in"), "--output", str(tmp_path / "out")]
    return ["predict", *where, *QUICK, *options]


PATIENT = 600
"""Seconds after which a test gives up; a machine with other work takes its time."""


def restored(tmp_path: Path) -> dict[str, int]:
    folder = tmp_path / "out" / "restored"
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("*.png")}


@pytest.mark.parametrize("moment", MOMENTS)
def test_what_a_killed_run_leaves_is_whole_and_the_next_run_does_the_rest(
    tmp_path: Path, programs: Programs, capsys: pytest.CaptureFixture[str], moment: str
) -> None:
    save_all(tmp_path / "in", ["a.png", "b.png", "c.png"])
    killed = programs.run(command(tmp_path, before=MOMENTS[moment]), timeout=PATIENT)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    before = restored(tmp_path)
    assert set(before) == ({"a.png", "b.png", "c.png"} if moment == "the table" else {"a.png"})
    assert not (tmp_path / "out" / "metrics.csv").exists()
    assert main(predict(tmp_path)) == 0
    assert f"{len(before)} of 3 images are complete: skipped" in capsys.readouterr().err
    after = restored(tmp_path)
    assert set(after) == {"a.png", "b.png", "c.png"}
    assert before.items() <= after.items()
    for name in after:
        Image.open(tmp_path / "out" / "restored" / name).load()
    assert not [name for name in files(tmp_path / "out") if name.endswith(".tmp")]
    assert len((tmp_path / "out" / "metrics.csv").read_text().splitlines()) == 4


# Each process finishes one image and never the next, so that it is at work when it is killed.
HELD = """
import threading
from d2ir_pl.restoration import latent_optimization
chain, calls = latent_optimization.ddim_chain, []
def held(*arguments):
    calls.append(1)
    while len(calls) > 3:  # each image takes three
        threading.Event().wait(1)
    return chain(*arguments)
latent_optimization.ddim_chain = held
"""


@pytest.fixture
def two_processes(tmp_path: Path, programs: Programs) -> Iterator[tuple[Program, int]]:
    """A run in the middle of its work: the first process, and the number of the second."""
    save_all(tmp_path / "in", [f"{i}.png" for i in range(6)])
    arguments = command(tmp_path, "--trainer.devices", "2", before=HELD)
    with (tmp_path / "log").open("w") as log:
        first = programs.start(arguments, stdout=log, stderr=log, spare=1)
        try:
            deadline = time.monotonic() + PATIENT
            while len(restored(tmp_path)) < 2:
                assert time.monotonic() < deadline, (tmp_path / "log").read_text()
                assert first.poll() is None, (tmp_path / "log").read_text()
                time.sleep(0.1)
            children = Path(f"/proc/{first.pid}/task/{first.pid}/children").read_text().split()
            yield first, int(children[0])
        finally:
            first.kill()
            first.wait()


def alive(process: int) -> bool:
    try:
        status = Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


@pytest.mark.parametrize("victim", ["rank 0", "rank 1"])
def test_when_a_process_dies_the_run_stops_names_it_and_can_be_continued(
    tmp_path: Path, two_processes: tuple[Program, int], victim: str
) -> None:
    first, second = two_processes
    os.kill(first.pid if victim == "rank 0" else second, signal.SIGKILL)
    assert first.wait(PATIENT) == (-signal.SIGKILL if victim == "rank 0" else 2)
    deadline = time.monotonic() + PATIENT
    while alive(second):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    last = (tmp_path / "log").read_text().splitlines()[-1]
    assert last.startswith("d2ir: ")
    assert victim in last.replace("rank: ", "rank ")
    assert last.endswith("finished images are kept, and the same command does the rest")
    before = restored(tmp_path)
    assert len(before) == 2
    assert main(predict(tmp_path)) == 0
    assert len(restored(tmp_path)) == 6
    assert before.items() <= restored(tmp_path).items()


def test_processes_without_work_are_legal(tmp_path: Path, programs: Programs) -> None:
    save_all(tmp_path / "in", ["a.png"])
    three = programs.run(command(tmp_path, "--trainer.devices", "3"), timeout=PATIENT, spare=2)
    assert three.returncode == 0, three.stderr
    assert three.stderr.count("1 restored, 0 failed") == 1
    assert set(restored(tmp_path)) == {"a.png"}


def test_hostile_names_stay_inside_the_output_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ["line\nbreak.png", "back\\slash.png", "n" * 250 + ".png", "up%2F..%2F...png"]
    save_all(tmp_path / "in", ["a.png", *names])
    os.link(tmp_path / "in" / "a.png", os.fsencode(tmp_path / "in") + b"/\xff\xfe.png")
    before = files(tmp_path)
    assert main(predict(tmp_path)) == 0
    assert "6 restored, 0 failed" in capsys.readouterr().err
    new = files(tmp_path) - before
    assert all(name.startswith("out/") for name in new)
    assert len(restored(tmp_path)) == 6
