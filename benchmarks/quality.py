"""Restoration quality: one table over tasks and methods.

    python -m benchmarks.quality                          # D2IR on public-domain photographs
    python -m benchmarks.quality --tasks all --methods all
    python -m benchmarks.quality --tasks blur_gaussian --methods d2ir,d2ir_known
    python -m benchmarks.quality --size 64 --methods d2ir,gdp_x0,bird
    python -m benchmarks.quality --sweep --tasks blur_gaussian,super_resolution_x2_blind
    python -m benchmarks.quality --data FOLDER            # a degraded set of your own

Prints Markdown, and writes a CSV file and a picture of all results a task under --output. An
interrupted run goes on where it stopped when the same command is given again.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

from scipy.stats import spearmanr
from torch import Tensor

from benchmarks.classical import CLASSICAL
from benchmarks.kinds import TASKS
from benchmarks.methods import ENTRIES, SWEEP, asked
from benchmarks.plot import draw
from benchmarks.results import Results, calibration, colours, line, side_by_side, table
from benchmarks.scores import Row, estimated_kernel, kernel_rmse, score
from benchmarks.tasks import SIZE, Task, make, on_disk, read
from d2ir_pl.diffusion.randomness import image_generator
from d2ir_pl.priors import Prior, load_prior
from d2ir_pl.priors.memory import keep_freed_memory
from d2ir_pl.priors.precision import DTYPES, resolve
from d2ir_pl.restoration import Problem, RestorationMethod, restore_samples
from d2ir_pl.results.metrics import kernel_similarity, psnr

SLOW_IMAGES = 3
"""Number of images that the methods of about 1000 evaluations are run on."""

_TITLES = {name: entry.title for name, entry in ENTRIES.items()}
_TITLES |= {name: method.title for name, method in CLASSICAL.items()}
_SWEEP_TITLES = {name: entry.title for name, entry in SWEEP.items()} | {"ddrm": _TITLES["ddrm"]}


def run(
    task: Task,
    name: str,
    prior: Prior,
    seed: int,
    change: Callable[[RestorationMethod], RestorationMethod] = lambda method: method,
) -> tuple[Row, Tensor]:
    """Restore one image by a diffusion method.

    Args:
        task: a task of one image.
        name: name of the method, of `ENTRIES` or `SWEEP`.
        prior: the prior.
        seed: seed of the noise.
        change: what is made of the method before it runs.

    Returns:
        The image's row, and the restored image `(1, 3, H, W)`.

    Raises:
        ValueError: if the method is not for this task.
    """
    entry = {**ENTRIES, **SWEEP}[name]
    method = entry.method(task)
    if method is None:
        raise ValueError("it is not for this task")
    if name == "d2ir_known" and not asked(task, name).estimated:
        raise ValueError("nothing is estimated: see d2ir")
    method = change(method)
    degradation = task.degradation.told(task.phi) if entry.knows else asked(task, name)
    method.check(degradation, prior)
    start = time.perf_counter()
    generators = [image_generator(seed, task.names[0])]
    problem = Problem.of(task.y, degradation, generators)
    result = restore_samples(method, entry.samples, problem, prior)
    seconds = time.perf_counter() - start
    assert result.reblurred is not None
    row = {
        **score(task, result.x0),
        "reblur": float(psnr(result.reblurred, task.y)) if task.y.ndim == 4 else None,
        "residual_over_sigma": float(result.residual.sqrt() / result.sigma_y),
        "nfe": result.nfe[0],
        "seconds": round(seconds, 3),
    }
    if result.std is not None:
        error = (result.x0 - task.reference).square().mean(1, keepdim=True).sqrt()
        row["calibration"] = float(spearmanr(result.std.flatten(), error.flatten()).statistic)
    if task.kernel is not None:
        found = estimated_kernel(degradation, result.phi)
        row["similarity"] = float(kernel_similarity(found, task.kernel[0]))
        row["kernel_rmse"] = kernel_rmse(found, task.kernel[0])
    return row, result.x0


def restore_task(
    whole: Task, titles: dict[str, str], prior: Prior, seed: int, results: Results
) -> None:
    """Restore the images of a task that are not in the results yet, and print a line a method.

    Args:
        whole: the task with all of its images.
        titles: titles of the methods, by their names.
        prior: the prior.
        seed: seed of the noise.
        results: where the rows and pictures go.
    """
    for name, title in titles.items():
        slow = name in ENTRIES and ENTRIES[name].slow
        for i, image in enumerate(whole.names[:SLOW_IMAGES] if slow else whole.names):
            if image in results.of(whole.name, name):
                continue
            task = whole.part(slice(i, i + 1))
            try:
                if name in CLASSICAL:
                    row, x = CLASSICAL[name].run(task, score)
                else:
                    row, x = run(task, name, prior, seed)
            except ValueError as error:
                print(f"{whole.name}, {name}: left out, as {error}", flush=True)
                break
            results.add(whole.name, name, image, row, x)
        done = results.of(whole.name, name)
        if rows := [done[image] for image in whole.names if image in done]:
            print(line(rows, title), flush=True)
    results.sheet(whole, list(titles))


def chosen(
    parser: argparse.ArgumentParser, options: argparse.Namespace
) -> tuple[list[str], dict[str, str]]:
    """The tasks that the options ask for, and the titles of the methods by their names."""
    available = list(TASKS) if options.data is None else on_disk(options.data)
    tasks = available if options.tasks == "all" else options.tasks.split(",")
    for name in tasks:
        if name not in available:
            parser.error(f"task {name!r} is unknown: use {', '.join(available)} or all")
    if options.sweep:
        return tasks, _SWEEP_TITLES
    methods = list(_TITLES) if options.methods == "all" else options.methods.split(",")
    for name in methods:
        if name not in _TITLES:
            parser.error(f"method {name!r} is unknown: use {', '.join(_TITLES)} or all")
    return tasks, {name: _TITLES[name] for name in methods}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark with the arguments of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tasks", default="all", help=f"of {', '.join(TASKS)}")
    parser.add_argument("--methods", default="d2ir,d2ir_known", help=f"of {', '.join(_TITLES)}")
    parser.add_argument("--data", type=Path, help="a degraded set; made from photographs if absent")
    parser.add_argument("--prior", default="natural-small")
    parser.add_argument("--size", type=int, default=SIZE, help="side of the photographs' crops")
    parser.add_argument("--limit", type=int, help="only the first so many images")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--precision", choices=["auto", "bf16", "fp32"], default="auto")
    parser.add_argument(
        "--sweep", action="store_true", help="presets and what lies between them, with a plot"
    )
    parser.add_argument("--output", type=Path, default=Path("results/quality"))
    options = parser.parse_args(arguments)
    tasks, titles = chosen(parser, options)

    prior = load_prior(options.prior).cast(DTYPES[resolve(options.precision, "cpu")])
    results = Results(options.output)
    images: dict[str, set[str]] = {}
    for name in tasks:
        task = make(name, options.size) if options.data is None else read(name, options.data)
        task = task.part(slice(options.limit))
        restore_task(task, titles, prior, options.seed, results)
        images[name] = set(task.names)
    # The folder may hold rows of other images, such as crops of another size.
    results.keep(images)
    if options.sweep:
        rows = {key: row for key, row in results.rows.items() if key[1] in titles}
        draw(rows, options.output / "sweep.png", {"ddrm": titles["ddrm"]})
    print("\n" + table(results, tasks, titles))
    print("\nMean PSNR over the images that all methods of a line restored:\n")
    print(side_by_side(results, tasks, titles))
    for shown in (calibration(results, tasks), colours(results, {**_TITLES, **_SWEEP_TITLES})):
        if shown:
            print("\n" + shown)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    keep_freed_memory()
    main()
