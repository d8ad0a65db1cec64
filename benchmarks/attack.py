"""Attacks on the program: whatever others hand to it is read or refused, and no run is lost.

    python -m benchmarks.attack
    python -m benchmarks.attack --count 1000 --kills 50 --seed 1

Seeded: damaged pictures and kernels, records and settings of wrong types, weights that claim
anything, names that lead elsewhere; and runs of `predict` and `fit` that are killed at random
moments, or whose files may not grow, after which the same command has to finish the work to the
same bytes. Prints how many of
each kind were tried and survived, and what went wrong with the others; the exit status is 1 then.
An attack that takes longer than `LIMIT` seconds is not survived.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file

from benchmarks import tables
from benchmarks.fuzz_images import mutated, read_in_processes
from d2ir_pl.errors import OutputError, PriorError
from d2ir_pl.inputs.names import result_names
from d2ir_pl.operators.kernels import read_kernel
from d2ir_pl.priors import load_prior
from d2ir_pl.priors.registry import prior_file
from d2ir_pl.reports.page import write_report
from d2ir_pl.results.folder import ResultFolder, parent_made
from d2ir_pl.results.record import Record
from d2ir_pl.results.settings import read_settings

LIMIT = 20
"""Seconds that one attack may take; a run of `predict` may take ten times as long."""

_SHOWN = 20
"""Attacks that were not survived which are named at most."""

Attack = Callable[[np.random.Generator, Path], None]
"""Makes an attack in an empty folder, and raises what it found to be wrong."""

WRONG: list[Any] = [
    *(None, True, -1, 0, 1e300, 10**400, float("nan"), float("inf"), "x", "../../x", [], {}),
    *([None], [[[1]]], {"x": None}, {"dtype": 1}, [{"parts": 3}], "a" * 10_000, [1] * 1000),
]
"""Values that take the place of others."""

CONFIG: dict[str, Any] = {
    **{"image_size": 16, "in_channels": 3, "model_channels": 32, "out_channels": 3},
    **{"num_res_blocks": 1, "attention_resolutions": [], "channel_mult": [1, 2], "num_heads": 1},
}
SCHEDULE = {"name": "linear", "steps": 1000, "beta_start": 1e-4, "beta_end": 0.02}
PARTS = ["a", "..", ".", "\x1b[2J", "é" * 130, "x.png", "\udcff", " ", "-", "\n", "n" * 250, "~"]


def kernels(rng: np.random.Generator, folder: Path) -> None:
    """A damaged `.npy` file is a kernel of sum 1, or refused."""
    stream = BytesIO()
    np.save(stream, rng.random((int(rng.integers(1, 9)), 5)) * 10.0 ** rng.integers(-300, 300))
    path = folder / "k.npy"
    path.write_bytes(mutated(stream.getvalue(), rng))
    try:
        kernel = read_kernel(path)
    except ValueError:
        return
    assert abs(float(kernel.sum()) - 1) < 1e-3, f"the sum of a kernel is {float(kernel.sum())}"


def records(rng: np.random.Generator, folder: Path) -> None:
    """A record of which one field is of another type or out of its range is shown, or left out."""
    results = ResultFolder(folder)
    whole = Record("a", "restored", "s", "i", height=3, width=4, sigma_y=0.1, residual=0.01)
    results.write_record(whole)
    fields = json.loads(results.json("a").read_text(encoding="utf-8"))
    fields[str(rng.choice([*fields, "more"]))] = WRONG[int(rng.integers(len(WRONG)))]
    parent_made(results.json("b")).write_text(json.dumps(fields), encoding="utf-8")
    write_report(results)
    assert "a" in {record.name for record in results.records(results.names())}


def settings(rng: np.random.Generator, folder: Path) -> None:
    """Damaged settings are read, or refused."""
    lines = [f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}, *a{i - 1}]\n" for i in range(1, 30)]
    bombs = ["a0: &a0 [x]\n" + "".join(lines), "a: " + "1:59" * 10_000, "a: " + "[" * 2000]
    usual = "model:\n  method: {class_path: D2IR, init_args: {a: 1}}\nseed: 0\n"
    text = bombs[int(rng.integers(3))] if rng.random() < 0.2 else usual
    (folder / "config.yaml").write_bytes(mutated(text.encode(), rng))
    try:
        read_settings(folder)
    except OutputError:
        return


def weights(rng: np.random.Generator, folder: Path) -> None:
    """A file of weights that claims anything, or is damaged, is a prior, or refused."""
    path = folder / "p.safetensors"
    if rng.random() < 0.2:
        path.write_bytes(mutated(prior_file("natural-small").read_bytes(), rng))
    else:
        described = {"config": dict(CONFIG), "schedule": dict(SCHEDULE)}
        part = described[str(rng.choice([*described]))]
        part[str(rng.choice([*part]))] = WRONG[int(rng.integers(len(WRONG)))]
        metadata = {name: json.dumps(value) for name, value in described.items()}
        save_file({"x": torch.zeros(1)}, path, metadata)
    try:
        load_prior(str(path))
    except PriorError:
        return


def names(rng: np.random.Generator, folder: Path) -> None:
    """Files of any names have results of different names inside the folder."""
    keys = {"/".join(rng.choice(PARTS[3:], int(rng.integers(1, 4)))) for _ in range(5)}
    found = result_names(sorted(keys))
    assert len(set(found)) == len(keys), f"{keys} are not told apart"
    for name in found:
        place = (folder / f"{name}.png").resolve()
        assert place.is_relative_to(folder.resolve()), f"{name!r} leads out of the folder"
        assert not set(name) & {"\x1b", "\n", "\udcff"}, f"{name!r} is no plain text"


READ: dict[str, Attack] = {
    "kernels": kernels,
    "records": records,
    "settings": settings,
    "weights": weights,
    "names": names,
}
"""Attacks on what is read, by their kinds."""


def attacked(attack: Attack, seed: int, number: int) -> str:
    """What went wrong in an attack; empty if it was survived."""

    def late(*_: object) -> None:
        raise TimeoutError(f"longer than {LIMIT} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(LIMIT)
    try:
        with TemporaryDirectory() as folder:
            attack(np.random.default_rng([seed, number]), Path(folder))
    except Exception as error:
        return f"number {number}: {error!r:.200}"
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    return ""


class Training:
    """Trainings of a tiny network, one of which is undisturbed.

    Args:
        folder: an empty folder.
    """

    STEPS = 12

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        rng = np.random.default_rng(0)
        (folder / "photos").mkdir()
        for name in "abcd":
            pixels = rng.integers(0, 255, (40, 40, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / "photos" / f"{name}.png")
        # What an attacker has put between them is left out.
        (folder / "photos" / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
        (folder / "photos" / "gone.png").symlink_to(folder / "nowhere")
        os.mkfifo(folder / "photos" / "pipe.png")
        start = time.monotonic()
        done = self.start("sound")
        _, said = done.communicate(timeout=10 * LIMIT)
        self.seconds = time.monotonic() - start
        assert not done.returncode, f"the undisturbed training has failed: {said[-200:]}"
        self.sound = self.weights("sound")

    def start(
        self, output: str, most_bytes: int | None = None, *options: str
    ) -> subprocess.Popen[str]:
        """Begin a training, whose files may have so many bytes at most."""
        network = "image_size=16 num_channels=32 num_res_blocks=1 channel_mult=1,1"
        settings = [f"--model.unet.{text}" for text in network.split()]
        settings += ["--model.unet.diffusion_steps=100", "--model.decay_steps=0"]
        settings += [f"--data.{n}=16" for n in ("patch_size", "val_patch_size")]
        settings += ["--data.batch_size=2", "--data.num_workers=0", "--trainer.accelerator=cpu"]
        settings += ["--trainer.precision=32-true", "--trainer.enable_progress_bar=false"]
        settings += [f"--trainer.max_steps={self.STEPS}", "--trainer.val_check_interval=50"]
        where = ["--data.inputs", str(self.folder / "photos")]
        where += ["--output", str(self.folder / output), "--checkpoint_minutes=1e-9"]
        return subprocess.Popen(
            [sys.executable, "-m", "d2ir_pl", "fit", *where, *settings, *options],
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: _limit_files(most_bytes),
        )

    def weights(self, output: str) -> dict[str, torch.Tensor]:
        """The state at the last step, which has to be a whole file."""
        kept = torch.load(self.folder / output / "last.ckpt", weights_only=True)
        assert kept["global_step"] == self.STEPS, f"it stands at step {kept['global_step']}"
        found: dict[str, torch.Tensor] = kept["state_dict"]
        return found

    def disturbed(self, kind: str, rng: np.random.Generator, number: int) -> str:
        """What went wrong in a training that was disturbed and then gone on from."""
        output = f"{kind} {number}"
        if kind.endswith("disk full"):
            process = self.start(output, int(10 ** rng.uniform(1, 6)))
            allowed = {0, 2}
        else:
            status = signal.SIGTERM if kind.endswith("terminated") else signal.SIGKILL
            process = self.start(output)
            time.sleep(rng.uniform(0, self.seconds))
            process.send_signal(status)
            allowed = {0, -status, 128 + status}
        if wrong := _ended(process, allowed):
            return f"number {number}: {wrong}"
        whole = (self.folder / output / "last.ckpt").exists()
        again = self.start(output, None, *(["--ckpt_path", "last"] if whole else []))
        _, said = again.communicate(timeout=10 * LIMIT)
        if again.returncode:
            return f"number {number}: it is not continued: {said[-200:]}"
        found = self.weights(output)
        if not all(torch.equal(value, found[name]) for name, value in self.sound.items()):
            return f"number {number}: it has learned something else"
        return ""


def _ended(process: subprocess.Popen[str], allowed: set[int]) -> str:
    """What was wrong with the end of a process that was disturbed; empty if nothing."""
    _, said = process.communicate(timeout=10 * LIMIT)
    if process.returncode not in allowed:
        return f"it ended with {process.returncode}: {said[-200:]}"
    return said[-300:] if "Traceback" in said else ""


def _limit_files(most_bytes: int | None) -> None:
    if most_bytes is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes))


class Run:
    """Runs of `predict` on three small photos, one of which is undisturbed.

    Args:
        folder: an empty folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        rng = np.random.default_rng(0)
        (folder / "in").mkdir()
        for name in "abc":
            pixels = rng.integers(60, 200, (24, 32, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / "in" / f"{name}.png")
        start = time.monotonic()
        done = self.start("sound")
        done.communicate(timeout=10 * LIMIT)
        self.seconds = time.monotonic() - start
        self.sound = self.restored("sound")
        assert len(self.sound) == 3, "the undisturbed run has failed"

    def start(self, output: str, most_bytes: int | None = None) -> subprocess.Popen[str]:
        """Begin a run, whose files may have so many bytes at most."""
        options = "--model.method.stages estimation --model.method.estimation.steps 2"
        options += " --trainer.accelerator cpu --trainer.precision 32-true"
        where = ["--data.inputs", str(self.folder / "in"), "--output", str(self.folder / output)]
        return subprocess.Popen(
            [sys.executable, "-m", "d2ir_pl", "predict", *where, *options.split()],
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: _limit_files(most_bytes),
        )

    def restored(self, output: str) -> dict[str, bytes]:
        """The restored pictures of a run by their names."""
        return {p.name: p.read_bytes() for p in (self.folder / output / "restored").glob("*.png")}

    def disturbed(self, kind: str, rng: np.random.Generator, number: int) -> str:
        """What went wrong in a run that was disturbed and then begun again; empty if nothing."""
        output = f"{kind} {number}"
        if kind == "disk full":
            process = self.start(output, int(10 ** rng.uniform(1, 4.5)))
            status, allowed = None, {0, 1, 2}
        else:
            status = signal.SIGTERM if kind == "terminated" else signal.SIGKILL
            process = self.start(output)
            time.sleep(rng.uniform(0, self.seconds))
            process.send_signal(status)
            allowed = {0, -status, 128 + status}
        if wrong := _ended(process, allowed):
            return f"number {number}: {wrong}"
        again = self.start(output)
        _, said = again.communicate(timeout=10 * LIMIT)
        if again.returncode or self.restored(output) != self.sound:
            return f"number {number}: it is not continued: {said[-200:]}"
        return ""


def main(arguments: Sequence[str] | None = None) -> int:
    """Attack with the arguments of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=500, help="attacks of each kind on reading")
    parser.add_argument("--kills", type=int, default=10, help="runs disturbed in each way")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    tally = read_in_processes(options.seed, options.count)
    wrong = {"pictures": [f"number {n}, {kind}: {what}" for n, kind, what in tally.wrong]}
    tried = {"pictures": options.count}
    for kind, attack in READ.items():
        found = [attacked(attack, options.seed, number) for number in range(options.count)]
        tried[kind], wrong[kind] = len(found), [what for what in found if what]
    if options.kills:
        with TemporaryDirectory() as folder:
            run = Run(Path(folder))
            (Path(folder) / "fit").mkdir()
            training = Training(Path(folder) / "fit")
            kinds = ("killed", "terminated", "disk full")
            for i, kind in enumerate((*kinds, *(f"fit {kind}" for kind in kinds))):
                rng = np.random.default_rng([options.seed, i])
                disturbed = (training if i >= len(kinds) else run).disturbed
                found = [disturbed(kind, rng, number) for number in range(options.kills)]
                tried[kind], wrong[kind] = len(found), [what for what in found if what]
    print(tables.head("kind", "tried", "survived"))
    for kind, count in tried.items():
        print(tables.row(kind, count, count - len(wrong[kind])))
    for kind, found in wrong.items():
        for what in found[:_SHOWN]:
            print(f"{kind}: {what}", file=sys.stderr)
    return 1 if any(wrong.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
