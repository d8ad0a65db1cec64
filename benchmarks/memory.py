"""What a run takes in memory: a large photo, stage 2, and many photos one after the other.

    python -m benchmarks.memory
    python -m benchmarks.memory --soak 500

Each line is a process of its own: the peak is the most that it had in memory (Linux and macOS),
with what its allocator kept; tensors are counted as they are created and freed.
--soak restores so many tiny photos in one process, and compares what it has after 50 and at the
end.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from benchmarks import tables
from benchmarks.tasks import make
from d2ir_pl.degradations import GaussianBlur
from d2ir_pl.diffusion.randomness import image_generator
from d2ir_pl.image_io import read_image, write_png
from d2ir_pl.priors import load_prior
from d2ir_pl.priors.memory import AllocationCounter, keep_freed_memory
from d2ir_pl.restoration import D2IR, LatentOptimization, Problem

ROOT = Path(__file__).parent.parent
_PHOTO = ROOT / "examples" / "blurred" / "coffee.png"

SETTLED = 50
"""Number of photos after which a long run has everything that it needs."""


def restore(height: int, width: int) -> int:
    """Bytes of tensors of the default method on a photo that repeats a bundled one."""
    photo = read_image(_PHOTO).pixels
    down, right = -(-height // photo.shape[-2]), -(-width // photo.shape[-1])
    y = photo.repeat(1, down, right)[:, :height, :width]
    problem = Problem.of(y[None], GaussianBlur(), [image_generator(0, "a")])
    with AllocationCounter() as counter:
        D2IR().restore(problem, load_prior())
    return int(counter.peak)


def latent(ddim_steps: int, size: int = 256) -> int:
    """Bytes of tensors in an iteration of stage 2 with the gradient through the network."""
    settings = LatentOptimization(
        iterations=1, ddim_steps=ddim_steps, gradient="full", start="noise", discrepancy=0.0
    )
    method = D2IR(latent=settings, stages="latent")
    y = make("blur_gaussian", size).y[:1]
    problem = Problem.of(y, GaussianBlur(), [image_generator(0, "a")])
    with AllocationCounter() as counter:
        method.restore(problem, load_prior())
    return int(counter.peak)


JOBS: dict[str, Callable[..., int]] = {"restore": restore, "latent": latent}


def measure(job: str, *numbers: int) -> tuple[float, float, float]:
    """GB of tensors, peak memory in GB and seconds of a job in a process of its own.

    Args:
        job: name of a function in `JOBS`.
        numbers: arguments of the function.
    """
    start = time.perf_counter()
    command = [sys.executable, "-m", "benchmarks.memory", "--job", job, *map(str, numbers)]
    run = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    tensors, peak = map(float, run.stdout.split())
    unit = 1e6 if sys.platform == "linux" else 1e9
    return tensors / 1e9, peak / unit, time.perf_counter() - start


def soak(count: int) -> None:
    """Restore `count` photos of 24x24 pixels in one process, and print what it has in memory."""
    with tempfile.TemporaryDirectory() as folder:
        photos, output = Path(folder) / "photos", Path(folder) / "results"
        photos.mkdir()
        pixels = read_image(_PHOTO).pixels
        for i in range(count):
            corner = slice(i % 97, i % 97 + 24), slice(i % 89, i % 89 + 24)
            write_png(photos / f"{i:04}.png", pixels[:, *corner])
        command = [sys.executable, str(ROOT / "cli.py"), "predict", "--data.inputs", str(photos)]
        command += ["--output", str(output), "--trainer.accelerator", "cpu"]
        run = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        sizes = _watch(run, output)
    if run.returncode or not any(n >= min(SETTLED, count) for n in sizes):
        sys.exit(f"the run ended with {run.returncode} after {max(sizes, default=0)} photos")
    settled = sizes[min(n for n in sizes if n >= min(SETTLED, count))]
    end = sizes[max(sizes)]
    print(tables.head("photos", f"memory after {SETTLED}, MB", "at the end, MB", "growth"))
    print(tables.row(max(sizes), f"{settled:.0f}", f"{end:.0f}", f"{end / settled - 1:.1%}"))


def _watch(run: subprocess.Popen[bytes], output: Path) -> dict[int, float]:
    """What a run has in memory in MB, by the number of photos that it has restored."""
    sizes: dict[int, float] = {}
    while run.poll() is None:
        done = sum(1 for _ in output.glob("restored/*.png"))
        try:
            pages = Path(f"/proc/{run.pid}/statm").read_text(encoding="ascii").split()[1]
        except (OSError, IndexError):
            continue
        if pages != "0":
            sizes[done] = int(pages) * os.sysconf("SC_PAGE_SIZE") / 1e6
        time.sleep(0.05)
    return sizes


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark with the arguments of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--soak", type=int, metavar="COUNT", help="restore COUNT tiny photos")
    parser.add_argument("--job", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.job:
        warnings.simplefilter("ignore")
        keep_freed_memory()
        torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", torch.get_num_threads())))
        created = JOBS[options.job[0]](*map(int, options.job[1:]))
        print(created, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
        return
    if options.soak:
        soak(options.soak)
        return
    print(tables.head("photo", "tensors GB", "peak memory GB", "s with start-up"))
    for height, width in ((256, 256), (768, 1024)):
        tensors, peak, seconds = measure("restore", height, width)
        cells = (f"{tensors:.2f}", f"{peak:.2f}", f"{seconds:.0f}")
        print(tables.row(f"{width}x{height}", *cells), flush=True)
    title = "DDIM steps of stage 2, full gradient, 256x256"
    print("\n" + tables.head(title, "tensors GB", "peak memory GB"))
    for steps in (5, 10, 20):
        tensors, peak, _ = measure("latent", steps)
        print(tables.row(steps, f"{tensors:.3f}", f"{peak:.2f}"), flush=True)


if __name__ == "__main__":
    main()
