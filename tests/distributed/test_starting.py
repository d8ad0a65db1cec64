"""Processes that are lost or asked to end while they start: the run ends soon, in one sentence."""

import sys
import time
from pathlib import Path

import pytest
from forks import Programs
from photos import save_all
from program import QUICK

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc"),
]

PATIENT = 300
"""Seconds after which a test gives up; a machine with other work takes its time."""

KEPT = "finished images are kept, and the same command does the rest"

LOST = {
    "is asked to end": ("os.kill(os.getpid(), signal.SIGTERM)", 143, f"stopped; {KEPT}"),
    "is interrupted": ("os._exit(130)", 130, f"stopped; {KEPT}"),
    "is frozen": (
        "os.kill(os.getpid(), signal.SIGSTOP)",
        2,
        f"process 2 of 2 (rank 1) does not answer: the run stops; {KEPT}",
    ),
    "is killed": (
        "os.kill(os.getpid(), signal.SIGKILL)",
        2,
        f"process 2 of 2 (rank 1) was killed by signal 9: the run stops; {KEPT}",
    ),
    "fails": (
        "os._exit(1)",
        2,
        f"process 2 of 2 (rank 1) has ended with status 1: the run stops; {KEPT}",
    ),
}


@pytest.mark.parametrize("what", LOST)
def test_a_process_that_is_lost_at_its_start_is_noticed(
    tmp_path: Path, programs: Programs, what: str
) -> None:
    end, status, sentence = LOST[what]
    save_all(tmp_path / "in", ["a.png", "b.png"])
    script, begun = tmp_path / "run.py", tmp_path / "second"
    script.write_text(
        "import os, pathlib, signal, sys\n"
        "if os.environ.get('LOCAL_RANK') == '1':\n"
        f"    pathlib.Path({str(begun)!r}).write_text(str(os.getpid()))\n"
        f"    {end}\n"
        "from d2ir_pl.cli import main\n"
        "sys.exit(main())\n"
    )
    where = ["--data.inputs", str(tmp_path / "in"), "--output", str(tmp_path / "out")]
    command = [script, "predict", *where, *QUICK, "--trainer.devices", "2"]
    run = programs.run(command, timeout=PATIENT)
    assert run.returncode == status, run.stderr
    assert run.stderr == f"d2ir: {sentence}\n"
    assert is_gone(int(begun.read_text()))


def is_gone(process: int) -> bool:
    """Whether a process has ended, though nobody may have asked how."""
    for _ in range(PATIENT):
        try:
            stat = Path(f"/proc/{process}/stat").read_text(encoding="utf-8")
        except OSError:
            return True
        if stat.rpartition(")")[2].split()[0] == "Z":
            return True
        time.sleep(0.1)
    return False
