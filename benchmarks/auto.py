"""How `auto` does on photographs of which it is told nothing.

    python -m benchmarks.auto
    python -m benchmarks.auto --limit 3 --tasks jpeg,clean
    python -m benchmarks.auto --proposals --data FOLDER

Photographs are degraded as in `benchmarks.quality`, once or several times in a row. The table has
the mean PSNR in dB of the input, of what the shipped config for that damage makes of it (where
there is one), and of `auto`, and what `auto` took the damage for.
"""

from __future__ import annotations

import argparse
import statistics
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from benchmarks import tables
from benchmarks.kinds import CHAINS
from benchmarks.methods import asked, shipped
from benchmarks.tasks import SIZE, Task, make, on_disk, read
from d2ir_pl.degradations import Degradation
from d2ir_pl.diagnosis.proposal import propose
from d2ir_pl.diffusion.randomness import image_generator
from d2ir_pl.priors import Prior, load_prior
from d2ir_pl.priors.memory import keep_freed_memory
from d2ir_pl.restoration import Problem, RestorationMethod
from d2ir_pl.results.metrics import psnr

SINGLE = (
    *("clean", "blur_gaussian", "blur_gaussian_noisy", "blur_anisotropic", "blur_motion"),
    *("low_light", "jpeg", "denoising"),
)
"""Damage of one kind, and none."""


def restored_psnr(
    task: Task, degradation: Degradation, method: RestorationMethod, prior: Prior
) -> float:
    """PSNR in dB of the restored image of a task of one image."""
    generators = [image_generator(0, task.names[0])]
    problem = Problem.of(task.y, degradation, generators)
    return float(psnr(method.restore(problem, prior).x0, task.reference))


def line(task: Task, prior: Prior | None) -> str:
    """The line of a task; without a prior, nothing is restored."""
    found: Counter[str] = Counter()
    scores: dict[str, list[float]] = {"input": [], "config": [], "auto": []}
    for b in range(len(task.names)):
        one = task.part(slice(b, b + 1))
        proposal = propose(one.y[0])
        found[proposal.kinds] += 1
        scores["input"].append(float(psnr(one.y, one.reference)))
        if prior is None:
            continue
        score = restored_psnr(one, proposal.degradation, proposal.method, prior)
        scores["auto"].append(score)
        if task.config != "auto":
            scores["config"].append(restored_psnr(one, asked(one), shipped(one), prior))
    means = [f"{statistics.mean(values):.2f}" if values else "" for values in scores.values()]
    taken = ", ".join(f"{kind} ({count})" for kind, count in found.most_common())
    return tables.row(task.name, len(task.names), *means, taken)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark with the arguments of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--limit", type=int, help="only the first so many photographs of each task")
    parser.add_argument("--data", type=Path, help="a degraded set; made from photographs if absent")
    parser.add_argument("--tasks", help="some of them, with commas between")
    parser.add_argument("--size", type=int, default=SIZE, help="side of the photographs' crops")
    parser.add_argument("--proposals", action="store_true", help="restore nothing")
    options = parser.parse_args(arguments)
    names = [*SINGLE, *CHAINS]
    if options.data is not None:
        names = [name for name in on_disk(options.data) if name in SINGLE]
    if options.tasks is not None:
        names = [name for name in names if name in options.tasks.split(",")]
    prior = None if options.proposals else load_prior("natural-small")
    print(tables.head("damage", "images", "input", "its config", "auto", "taken for"))
    for name in names:
        task = make(name, options.size) if options.data is None else read(name, options.data)
        print(line(task.part(slice(options.limit)), prior), flush=True)


if __name__ == "__main__":
    keep_freed_memory()
    main()
