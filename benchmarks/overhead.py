"""What a restoration costs beside the network: kernels, waits and the main thread's time.

    python -m benchmarks.overhead
    python -m benchmarks.overhead --configs jpeg,inpainting --size 256 --photos 4 --workers 1

Runs `predict` with all that it writes on photographs that are degraded as each config undoes it,
twice. Once on a pretended GPU (`pretended_device`), where the network stands aside and everything
else is counted: kernels that are launched, and times that the host waits, for all photos of a batch
and for a step of it. And once on the CPU, photo by photo, where the main thread's own seconds are
measured, so that other programs do not count: those inside the network and the others, start-up
excluded; and those of the processes that read and measure ahead. No number has a GPU's seconds in
it.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import re
import resource
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import Tensor

from benchmarks import tables
from benchmarks.pretended_device import Count, can_pretend, pretended_gpu
from benchmarks.tasks import make
from d2ir_pl.cli import main as d2ir
from d2ir_pl.diffusion import Prior
from d2ir_pl.image_io import write_png
from d2ir_pl.image_io.pictures import as_picture
from d2ir_pl.prediction import RestorationModule
from d2ir_pl.restoration.step import Steps

DAMAGE = {
    "blind_deblur": "blur_gaussian",
    "blind_deblur_anisotropic": "blur_anisotropic",
    "blind_deblur_kernel": "blur_motion",
    "deblur": "blur_gaussian",
    "deblur_defocus": "blur_gaussian",
    "deblur_motion": "blur_motion",
    "super_resolution_x4": "super_resolution_x4",
    "super_resolution_aliased": "super_resolution_x4",
    "super_resolution_blind": "super_resolution_x2_blind",
    "inpainting": "inpainting_box",
    "inpainting_sparse": "inpainting_random",
    "colorization": "colorization",
    "low_light": "low_light",
    "jpeg": "jpeg",
    "denoising": "denoising",
    "hdr": "hdr",
    "old_photo": "old_photo",
    "auto": "jpeg",
}
"""The damage of the photos on which each shipped config is tried; methods to compare with, which
take a thousand evaluations, are left out."""


@dataclass
class Account:
    """What was seen of a run.

    Attributes:
        steps: number of steps of all batches.
        seconds: the main thread's from the first batch to the end.
        network: those of them inside the network.
        workers: seconds of the processes that read and measure ahead.
        count: what was asked of the device from the first batch to the end.
        lines: the same by the lines that asked.
    """

    steps: int = 0
    seconds: float = 0.0
    network: float = 0.0
    workers: float = 0.0
    count: Count = field(default_factory=lambda: Count(0, 0))
    lines: Counter[str] = field(default_factory=Counter)


def photos(config: str, folder: Path, size: int, count: int) -> list[str]:
    """Write photos that a config restores; the options that it needs for them."""
    task = make(DAMAGE[config], size)
    options = ["--config", config, "--data.inputs", str(folder / "in")]
    for b in range(count):
        y = task.y[b % len(task.y)]
        if y.ndim == 4:
            for s, exposure in enumerate(y):
                _save(folder / "in" / f"{b}" / f"{s}.png", exposure)
        elif config in ("jpeg", "auto"):
            place = folder / "in" / f"{b}.jpg"
            place.parent.mkdir(parents=True, exist_ok=True)
            as_picture(task.reference[b % len(task.reference)]).save(place, quality=25)
        else:
            _save(folder / "in" / f"{b}.png", y)
    if config == "hdr":
        options += ["--data.scenes", "true"]
    if config == "deblur":
        assert task.kernel is not None
        np.save(folder / "kernel.npy", task.kernel[0].numpy())
        options += ["--model.degradation.kernel", str(folder / "kernel.npy")]
    return options


def _save(place: Path, y: Tensor) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    write_png(place, y)


@contextlib.contextmanager
def watched(account: Account, now: Callable[[], float], aside: Any) -> Iterator[None]:
    """Take note of steps and of the network's time inside; `aside` surrounds the network."""
    network, report = Prior.eps, Steps.report

    def eps(*arguments: Any, **options: Any) -> Tensor:
        start = now()
        with aside():
            found = network(*arguments, **options)
        account.network += now() - start
        return found

    def reported(*arguments: Any, **options: Any) -> None:
        account.steps += 1
        report(*arguments, **options)

    with mock.patch.object(Prior, "eps", eps), mock.patch.object(Steps, "report", reported):
        yield


def run(config: str, size: int, count: int, pretend: bool, workers: int = 0) -> Account:
    """Restore photos with a config, on the CPU or on a pretended GPU."""
    account = Account()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        options = photos(config, folder, size, count)
        options += ["--output", str(folder / "out")]
        options += ["--data.batch_size", str(count if pretend else 1)]
        options += ["--data.num_workers", str(workers)]
        options += ["--trainer.accelerator", "gpu" if pretend else "cpu"]
        options += ["--trainer.precision", "32-true", "--progress", "none"]
        gpu = stack.enter_context(pretended_gpu()) if pretend else None
        aside = contextlib.nullcontext if gpu is None else gpu.aside
        begun: list[tuple[float, Count]] = []
        already: Counter[str] = Counter()
        predict_step = RestorationModule.predict_step

        def first(*arguments: Any, **named: Any) -> Any:
            if not begun:
                begun.append((time.thread_time(), Count(0, 0) if gpu is None else gpu.count))
                already.update({} if gpu is None else gpu.kernels + gpu.waits)
            return predict_step(*arguments, **named)

        def last(*_: Any) -> None:
            if gpu is not None:  # before the weights are brought back
                account.count = gpu.count - begun[0][1]
                account.lines = gpu.kernels + gpu.waits - already

        stack.enter_context(watched(account, time.thread_time, aside))
        stack.enter_context(mock.patch.object(RestorationModule, "predict_step", first))
        stack.enter_context(mock.patch.object(RestorationModule, "on_predict_end", last))
        stack.enter_context(contextlib.redirect_stderr(io.StringIO()))
        stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
        before = _of_children()
        assert d2ir(["predict", *options]) == 0, f"{config} failed"
        account.seconds = time.thread_time() - begun[0][0]
        account.workers = _of_children() - before
    return account


def _of_children() -> float:
    """Seconds of all processes that this one has started and that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table for the arguments of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--configs", default=",".join(DAMAGE), help="names, separated by commas")
    parser.add_argument("--size", type=int, default=256, help="height and width of clean photos")
    parser.add_argument("--photos", type=int, default=2, help="photos on the CPU")
    parser.add_argument("--batch", type=int, default=8, help="photos on the pretended GPU")
    parser.add_argument("--workers", type=int, default=0, help="processes that measure ahead")
    parser.add_argument("--lines", type=int, default=0, help="lines of code that ask most")
    options = parser.parse_args(arguments)
    warnings.simplefilter("ignore")
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", torch.get_num_threads())))

    titles = ("config", f"kernels, batch of {options.batch}", "waits", "kernels a step")
    seconds = ("main thread, s a photo", "of that outside the network", "in workers")
    print(tables.head(*titles, *seconds, "share outside"), flush=True)
    for config in options.configs.split(","):
        row: list[object] = ["-", "-", "-"]
        if can_pretend():
            there = run(config, 64, options.batch, pretend=True)
            a_step = there.count.kernels / max(1, there.steps)
            row = [there.count.kernels, there.count.waits, f"{a_step:.0f}"]
        if options.photos:
            run(config, 64, 1, pretend=False)  # what is made once
            here = run(config, options.size, options.photos, False, options.workers)
            outside = here.seconds - here.network
            row += [f"{n / options.photos:.2f}" for n in (here.seconds, outside, here.workers)]
            row.append(f"{outside / here.seconds:.1%}")
        else:
            row += ["-"] * 4
        print(tables.row(config, *row), flush=True)
        if options.lines and can_pretend():
            waits = Counter(
                {k: n for k, n in there.lines.items() if re.search("copy |index |_d|no", k)}
            )
            for line, n in Counter(waits).most_common(options.lines):
                print(f"  {n} {line}")


if __name__ == "__main__":
    main()
