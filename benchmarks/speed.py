"""Where the time of a restoration goes.

    python -m benchmarks.speed
    python -m benchmarks.speed --size 512 --runs 3

Restores the astronaut, blurred and noisy, with the default method; the median run of several is
reported, start-up apart. Ratios can be compared between machines, seconds cannot.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any, get_args

import torch
from torch import Tensor

from benchmarks import tables
from benchmarks.tasks import make
from d2ir_pl.degradations import GaussianBlur
from d2ir_pl.diffusion.randomness import image_generator
from d2ir_pl.priors import load_prior
from d2ir_pl.priors.memory import keep_freed_memory
from d2ir_pl.priors.precision import DTYPES, Precision, resolve
from d2ir_pl.restoration import D2IR, Problem

_STARTUP = "import d2ir_pl.cli, d2ir_pl.priors as p; p.load_prior()"


class Stopwatch:
    """Measures the time spent inside a function, which it replaces on its object.

    Args:
        owner: the object that the function belongs to.
        name: name of the function.

    Attributes:
        seconds: time spent inside the function so far.
    """

    def __init__(self, owner: Any, name: str) -> None:
        self.seconds = 0.0
        self._function: Callable[..., Tensor] = getattr(owner, name)
        setattr(owner, name, self._timed)

    def _timed(self, *arguments: Any) -> Tensor:
        start = now()
        value = self._function(*arguments)
        self.seconds += now() - start
        return value


def now() -> float:
    """Seconds on a clock, once a GPU has done what it was given."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark with the arguments of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--size", type=int, default=256, help="height and width in pixels")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--prior", default="natural-small")
    parser.add_argument("--precision", choices=get_args(Precision), default="auto")
    options = parser.parse_args(arguments)

    start = time.perf_counter()
    subprocess.run([sys.executable, "-W", "ignore", "-c", _STARTUP], check=True)
    startup = time.perf_counter() - start

    device = "cuda" if torch.cuda.is_available() else "cpu"
    precision = resolve(options.precision, device)
    prior = load_prior(options.prior).cast(DTYPES[precision]).to(device)
    y = make("blur_gaussian", options.size).y[:1].to(device)
    watch = Stopwatch(prior.unet, "forward")
    rows = []
    for run in range(options.runs + 1):
        watch.seconds = 0.0
        before = now()
        problem = Problem.of(y, GaussianBlur().to(device), [image_generator(0, "a")])
        result = D2IR().restore(problem, prior)
        total = now() - before
        if run:  # the first one warms up
            rows.append((total, watch.seconds))
    total, network = sorted(rows)[len(rows) // 2]
    peak = (
        torch.cuda.max_memory_allocated() / 1e9
        if device == "cuda"
        else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    )
    cells = {
        "size": f"{options.size}x{options.size}",
        "precision": precision,
        "U-Net evaluations": result.nfe[0],
        "s an image": f"{total:.2f}",
        "s in the U-Net": f"{network:.2f}",
        "s outside it": f"{total - network:.2f}",
        "share outside": f"{(total - network) / total:.1%}",
        "start-up s": f"{startup:.1f}",
        "peak memory GB": f"{peak:.2f}",
    }
    print(tables.single(cells))


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    keep_freed_memory()
    main()
