"""Runs of `predict` and `fit` that are disturbed, and then finished by the same command."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Set
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from PIL import Image

LIMIT = 60
"""Seconds of computing that a run may take, and a thirtieth of those on the clock."""


KINDS = ("killed", "terminated", "disk full", "permissions", "interrupted")
"""Ways in which runs are disturbed."""

_SIGNALS = {
    "killed": signal.SIGKILL,
    "terminated": signal.SIGTERM,
    "interrupted": signal.SIGINT,
}

_PR_CAPBSET_DROP = 24
_OVERRIDES = (1, 2)
"""Rights of root by which permissions do not count: CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH."""

_MODES = (0o000, 0o111, 0o200, 0o444, 0o555)
"""Permissions of files and folders that lack something."""


class Disturbed(ABC):
    """Runs of a command that can be disturbed.

    Attributes:
        command: the command.
        folder: where everything lies.
        largest: exponent of ten of the most bytes that a file may have where the disk is full.
        full: exit statuses of a run whose files may not grow.
        seconds: time that an undisturbed run takes.
    """

    command: str
    folder: Path
    largest: float
    full: frozenset[int]
    seconds: float

    @abstractmethod
    def start(self, output: str, most_bytes: int | None = None) -> subprocess.Popen[str]:
        """Begin a run, whose files may have so many bytes at most."""

    @abstractmethod
    def go_on(self, output: str) -> subprocess.Popen[str]:
        """Begin a run that does what another one has left."""

    @abstractmethod
    def disturbed(self, kind: str, rng: np.random.Generator, number: int) -> str:
        """What went wrong in a run that was disturbed and then finished; empty if nothing."""

    def disturb(self, kind: str, rng: np.random.Generator, output: str) -> str:
        """What was wrong with the end of a run that was disturbed; empty if nothing.

        Args:
            kind: one of `KINDS`.
            rng: decides when it is killed, how large its files may be, or what it may not use.
            output: its folder.
        """
        if kind == "permissions":
            return self._forbidden(rng, output)
        if kind == "disk full":
            process = self.start(output, int(10 ** rng.uniform(1, self.largest)))
            return _ended(process, self.full)
        sent = _SIGNALS[kind]
        process = self.start(output)
        time.sleep(rng.uniform(0, self.seconds))
        process.send_signal(sent)
        return _ended(process, {0, -sent, 128 + sent})

    def _forbidden(self, rng: np.random.Generator, output: str) -> str:
        """What was wrong with a run that may not use a part of the folder of an unfinished one."""
        first = self.start(output)
        time.sleep(rng.uniform(0.5, 1.0) * self.seconds)
        first.terminate()
        _said(first)
        root = self.folder / output
        places = [root, *sorted(root.rglob("*"))] if root.exists() else []
        if not places:
            return ""
        place = places[int(rng.integers(len(places)))]
        mode, before = int(rng.choice(_MODES)), place.stat().st_mode
        place.chmod(mode)
        try:
            wrong = _ended(self.go_on(output), {0, 1, 2})
        finally:
            if place.exists():
                place.chmod(before)
        where = place.relative_to(self.folder)
        return f"{where} with {mode:03o}: {wrong}" if wrong else ""


class Training(Disturbed):
    """Trainings of a tiny network, one of which is undisturbed.

    Args:
        folder: an empty folder.
    """

    command = "fit"
    largest, full = 6, frozenset({0, 2})
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
        said = _said(done)
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
            preexec_fn=lambda: _limited(most_bytes),
        )

    def go_on(self, output: str) -> subprocess.Popen[str]:
        whole = os.path.exists(self.folder / output / "last.ckpt")
        return self.start(output, None, *(["--ckpt_path", "last"] if whole else []))

    def weights(self, output: str) -> dict[str, torch.Tensor]:
        """The state at the last step, which has to be a whole file."""
        kept = torch.load(self.folder / output / "last.ckpt", weights_only=True)
        assert kept["global_step"] == self.STEPS, f"it stands at step {kept['global_step']}"
        found: dict[str, torch.Tensor] = kept["state_dict"]
        return found

    def disturbed(self, kind: str, rng: np.random.Generator, number: int) -> str:
        """What went wrong in a training that was disturbed and then gone on from."""
        output = f"{kind} {number}"
        if wrong := self.disturb(kind, rng, output):
            return f"number {number}: {wrong}"
        again = self.go_on(output)
        said = _said(again)
        if again.returncode:
            return f"number {number}: it is not continued: {said[-200:]}"
        found = self.weights(output)
        if not all(torch.equal(value, found[name]) for name, value in self.sound.items()):
            return f"number {number}: it has learned something else"
        return ""


def _ended(process: subprocess.Popen[str], allowed: Set[int]) -> str:
    """What was wrong with the end of a process that was disturbed; empty if nothing."""
    said = _said(process)
    if process.returncode not in allowed:
        return f"it ended with {process.returncode}: {said[-200:]}"
    return said[-300:] if "Traceback" in said else ""


def _said(process: subprocess.Popen[str]) -> str:
    """What a process says until it ends, or is killed because it does not."""
    try:
        return process.communicate(timeout=30 * LIMIT)[1]
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return "it does not end"


def _limited(most_bytes: int | None) -> None:
    """Limit what this process may compute and use, and how many bytes its files may have."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # which a shell lets what it runs behind ignore
    with suppress(Exception):  # permissions hold for root, too
        for right in _OVERRIDES:
            ctypes.CDLL(None).prctl(_PR_CAPBSET_DROP, right, 0, 0, 0)
    resource.setrlimit(resource.RLIMIT_CPU, (LIMIT, LIMIT))
    if most_bytes is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes))


class Run(Disturbed):
    """Runs of `predict` on three small photos, one of which is undisturbed.

    Args:
        folder: an empty folder.
    """

    command = "predict"
    largest, full = 4.5, frozenset({0, 1, 2})

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        rng = np.random.default_rng(0)
        (folder / "in").mkdir()
        for name in "abc":
            pixels = rng.integers(60, 200, (24, 32, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / "in" / f"{name}.png")
        start = time.monotonic()
        done = self.start("sound")
        _said(done)
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
            preexec_fn=lambda: _limited(most_bytes),
        )

    def go_on(self, output: str) -> subprocess.Popen[str]:
        return self.start(output)

    def restored(self, output: str) -> dict[str, bytes]:
        """The restored pictures of a run by their names."""
        return {p.name: p.read_bytes() for p in (self.folder / output / "restored").glob("*.png")}

    def disturbed(self, kind: str, rng: np.random.Generator, number: int) -> str:
        """What went wrong in a run that was disturbed and then begun again; empty if nothing."""
        output = f"{kind} {number}"
        if wrong := self.disturb(kind, rng, output):
            return f"number {number}: {wrong}"
        again = self.go_on(output)
        said = _said(again)
        if again.returncode or self.restored(output) != self.sound:
            return f"number {number}: it is not continued: {said[-200:]}"
        return ""
