"""The documented commands for several machines, with two machines that are processes here."""

import os
import re
import shlex
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from forks import Programs
from photos import save_all
from program import QUICK, predict, table
from repository import DOCS, ROOT

from d2ir_pl.image_io import read_image

# What differs from the documentation: a CPU and one process on each machine, which are both here.
HERE = {
    "--trainer.accelerator gpu": "--trainer.accelerator cpu",
    "--trainer.devices 4": "--trainer.devices 1",
    "--nproc_per_node 4": "--nproc_per_node 1",
    "--ntasks-per-node 4 --gpus-per-node 4": "--ntasks-per-node 1",
    "--master_addr first.machine": "--master_addr 127.0.0.1",
    "--master_port 29500": "--master_port PORT",
}

Launch = tuple[list[str], dict[str, str]]
"""What `python` runs on one machine, and the variables that its launcher sets."""


def documented(program: str) -> list[str]:
    """The words behind the name of a launcher, as the documentation has them, to run here."""
    text = (DOCS / "scaling.md").read_text(encoding="utf-8").replace("\\\n", " ")
    (line,) = (line for line in text.splitlines() if line.startswith(f"{program} "))
    line = re.sub(r"\s+", " ", line)
    for there, here in HERE.items():
        line = line.replace(there, here)
    return shlex.split(line)[1:]


def by_torchrun(port: str) -> list[Launch]:
    words = [port if word == "PORT" else word for word in documented("torchrun")]
    rank = words.index("--node_rank") + 1
    launcher = ["-m", "torch.distributed.run"]
    return [([*launcher, *words[:rank], node, *words[rank + 1 :]], {}) for node in "01"]


def by_slurm(port: str) -> list[Launch]:
    """What srun would start on both machines, with the variables that it sets."""
    words = documented("srun")
    own, command = words[: words.index("python")], words[words.index("python") + 1 :]
    assert own == ["--nodes", "2", "--ntasks-per-node", "1"]
    job = {"SLURM_JOB_ID": "17", "SLURM_JOB_NAME": "photos", "SLURM_NODELIST": "127.0.0.1"}
    job |= {"SLURM_NNODES": "2", "SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": "1"}
    job |= {"MASTER_PORT": port, "SLURM_LOCALID": "0"}
    tasks = ({"SLURM_PROCID": node, "SLURM_NODEID": node} for node in "01")
    return [(command, {**job, **task}) for task in tasks]


@pytest.mark.parametrize("launched", [by_torchrun, by_slurm])
def test_two_machines_share_the_photos_as_documented(
    tmp_path: Path, programs: Programs, launched: Callable[[str], list[Launch]]
) -> None:
    inputs = save_all(tmp_path / "photos", ["a.png", "b.png", "c.png"])
    (tmp_path / "cli.py").symlink_to(ROOT / "cli.py")
    quick = [word for word in QUICK if word not in ("--trainer.accelerator", "cpu")]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    machines, said = [], []
    for node, (command, variables) in enumerate(launched(port)):
        with (tmp_path / f"said {node}").open("w") as file:
            there = environment | variables
            machines.append(
                programs.start([*command, *quick], file, file, there, tmp_path, spare=1)
            )
    try:
        for node, machine in enumerate(machines):
            machine.wait(300)
            said.append((tmp_path / f"said {node}").read_text())
    finally:
        for machine in machines:
            machine.kill()
    assert [machine.returncode for machine in machines] == [0, 0], said
    assert sum(text.count("3 restored") for text in said) == 1
    output = tmp_path / "results" / "photos"
    assert set(table(output)) == set("abc")
    assert predict(inputs, tmp_path / "alone") == 0
    for name in ("a.png", "b.png", "c.png"):
        here, alone = (
            read_image(folder / "restored" / name).pixels for folder in (output, tmp_path / "alone")
        )
        # Within 1e-4 of the range, and the rounding of 16 bits.
        assert float((here - alone).abs().max()) <= 2e-4 + 4e-5
