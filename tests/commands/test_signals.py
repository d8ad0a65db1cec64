"""What the system sends a run: it ends at once, and what is done is written."""

import csv
import os
import signal
import stat
import time
from pathlib import Path

import pytest
from forks import Program, Programs
from photos import files, save_all

OPTIONS = "--model.method.estimation.steps 2 --model.method.latent.iterations 2"
OPTIONS += " --trainer.accelerator cpu --trainer.precision 32-true --report false"


def begun(folder: Path, programs: Programs, environment: dict[str, str]) -> Program:
    """A run on more photos than it has time for, of which at least one is done."""
    photos = save_all(folder / "in", [f"{i:03}.png" for i in range(200)])
    where = ["--data.inputs", str(photos), "--output", str(folder / "out")]
    command = ["-m", "d2ir_pl", "predict", *where, *OPTIONS.split()]
    with (folder / "said").open("w") as said:
        process = programs.start(command, stdout=said, stderr=said, env=os.environ | environment)
    deadline = time.monotonic() + 90
    while not list((folder / "out" / "restored").glob("*.png")) and time.monotonic() < deadline:
        time.sleep(0.05)
    return process


def error_of(folder: Path, process: Program) -> str:
    try:
        process.wait(60)
    finally:
        process.kill()
    return (folder / "said").read_text()


@pytest.mark.slow
def test_sigterm_ends_a_run_with_what_is_done(tmp_path: Path, programs: Programs) -> None:
    process = begun(tmp_path, programs, {})
    process.send_signal(signal.SIGTERM)
    error = error_of(tmp_path, process)
    assert process.returncode == 143
    assert "Traceback" not in error
    done = {Path(name).stem for name in files(tmp_path / "out" / "restored")}
    with (tmp_path / "out" / "metrics.csv").open(encoding="utf-8", newline="") as table:
        rows = {row["name"]: row["status"] for row in csv.DictReader(table)}
    assert rows == dict.fromkeys(done, "restored")
    assert 1 <= len(done) < 200
    # What was not done has not failed.
    assert f"{len(done)} restored, {200 - len(done)} left; results in " in error
    assert "stopped before the end: finished images are kept" in error
    assert "failed" not in error
    assert not [n for n in files(tmp_path / "out") if n.endswith(".tmp")]


@pytest.mark.slow
def test_the_signal_of_slurm_has_the_job_requeued(tmp_path: Path, programs: Programs) -> None:
    fake = tmp_path / "bin" / "scontrol"
    fake.parent.mkdir()
    fake.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/asked\n')
    fake.chmod(fake.stat().st_mode | stat.S_IEXEC)
    slurm = {"SLURM_JOB_ID": "17", "SLURM_NTASKS": "1", "SLURM_JOB_NAME": "job"}
    slurm |= {"SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NODEID": "0"}
    path = {"PATH": f"{fake.parent}{os.pathsep}{os.environ['PATH']}"}
    process = begun(tmp_path, programs, slurm | path)
    process.send_signal(signal.SIGUSR1)
    error = error_of(tmp_path, process)
    assert process.returncode == 143
    assert "Traceback" not in error
    assert (tmp_path / "asked").read_text() == "requeue 17\n"
