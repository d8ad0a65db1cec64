"""How `auto` does on photographs of which it is told nothing.

They are degraded as in `tasks.py`, once or twice in a row. The table has the mean PSNR in dB of the
input, of what the shipped config for that damage makes of it (where there is one), and of `auto`,
and what `auto` took the damage for.

    python -m benchmarks.auto [--limit 3] [--proposals] [--data FOLDER] [--tasks jpeg,clean]
"""

from __future__ import annotations

import argparse
import statistics
from collections import Counter
from pathlib import Path

from benchmarks.quality import asked, shipped
from benchmarks.tasks import CHAINS, Task, make, on_disk, read
from d2ir_pl.degradations import Degradation
from d2ir_pl.diagnosis.proposal import propose
from d2ir_pl.priors import Prior, load_prior
from d2ir_pl.priors.memory import keep_freed_memory
from d2ir_pl.randomness import image_generator
from d2ir_pl.restoration import Problem, RestorationMethod
from d2ir_pl.results.metrics import psnr

SINGLE = ("clean", "blur_gaussian", "blur_gaussian_noisy", "blur_anisotropic", "blur_motion")
SINGLE += ("low_light", "jpeg", "denoising")


def restored(
    task: Task, degradation: Degradation, method: RestorationMethod, prior: Prior
) -> float:
    generators = [image_generator(0, task.names[0])]
    problem = Problem.of(task.y, degradation, generators)
    return float(psnr(method.restore(problem, prior).x0, task.reference))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--limit", type=int, help="photographs of each task")
    parser.add_argument("--data", type=Path, help="a degraded set on disk, see tasks.read")
    parser.add_argument("--tasks", help="some of them, with commas between")
    parser.add_argument("--proposals", action="store_true", help="restore nothing")
    options = parser.parse_args()
    keep_freed_memory()
    prior = load_prior("natural-small")
    print("| damage | images | input | its config | auto | taken for |\n|---|---|---|---|---|---|")
    names = [*SINGLE, *CHAINS]
    if options.data is not None:
        names = [name for name in on_disk(options.data) if name in SINGLE]
    if options.tasks is not None:
        names = [name for name in names if name in options.tasks.split(",")]
    for name in names:
        task = make(name) if options.data is None else read(name, options.data)
        found: Counter[str] = Counter()
        scores: dict[str, list[float]] = {"input": [], "config": [], "auto": []}
        for b in range(len(task.names[: options.limit])):
            one = task.part(slice(b, b + 1))
            proposal = propose(one.y[0])
            found[proposal.kinds] += 1
            scores["input"].append(float(psnr(one.y, one.reference)))
            if options.proposals:
                continue
            found_score = restored(one, proposal.degradation, proposal.method, prior)
            scores["auto"].append(found_score)
            if task.config != "auto":
                scores["config"].append(restored(one, asked(one, "d2ir"), shipped(one), prior))
        cells = [f"{statistics.mean(v):.2f}" if v else "" for v in scores.values()]
        taken = ", ".join(f"{kind} ({count})" for kind, count in found.most_common())
        print(f"| {name} | {sum(found.values())} | {' | '.join(cells)} | {taken} |", flush=True)


if __name__ == "__main__":
    main()
