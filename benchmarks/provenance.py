"""Whether what a restoration says of its origin is so: shares that are filled in, and true errors.

    python -m benchmarks.provenance
    python -m benchmarks.provenance --tasks blur_gaussian,jpeg --limit 3

Photographs are degraded and restored as in `benchmarks.quality`. For details of each size the table
has two shares, means over the photographs: how much of them the prior filled in by what the
restoration says of itself (`Provenance`), and how much of them is wrong beside the truth, the
energy of the error over that of the true details. Where the photo tells a detail it should be
right; what is filled in may be right or wrong, so that the second share should not be larger. The
last column says whether the map knows the places: the rank correlation between the energy that is
filled in and that of the error, over squares of 8x8 pixels, the mean of the photographs.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks import tables
from benchmarks.methods import asked, shipped
from benchmarks.tasks import SIZE, Task, make
from d2ir_pl.diffusion.randomness import image_generator
from d2ir_pl.priors import Prior, load_prior
from d2ir_pl.restoration import Problem, provenance
from d2ir_pl.restoration.provenance import SCALES, details

TASKS = (
    *("denoising", "blur_gaussian", "blur_anisotropic", "super_resolution_x4", "jpeg"),
    *("inpainting_box", "colorization"),
)
SQUARE = 8
"""Side in pixels of the squares over which the map is compared."""


def energies(x: Tensor) -> list[float]:
    """Mean squares of the details of an image, by their size."""
    return [float(part.square().mean()) for part in details(x)]


def in_squares(values: Tensor) -> Tensor:
    """Means over squares, in a row."""
    return F.avg_pool2d(values, SQUARE).flatten()


def rank_correlation(a: Tensor, b: Tensor) -> float:
    """Spearman's rank correlation of two rows of values."""
    ranks = torch.stack([v.argsort().argsort().double() for v in (a, b)])
    return float(torch.corrcoef(ranks)[0, 1])


def account(task: Task, prior: Prior) -> tuple[list[float], list[float], float]:
    """Shares that are filled in and that are wrong of one photograph, and the rank correlation."""
    problem = Problem.of(task.y, asked(task), [image_generator(0, task.names[0])])
    restoration = shipped(task).restore(problem, prior)
    told = provenance(problem, restoration)
    error = restoration.x0 - task.reference
    both = zip(energies(error), energies(task.reference), strict=True)
    wrong = [own / max(true, 1e-9) for own, true in both]
    lively = torch.stack(
        [
            F.interpolate(part.square().sum(1, keepdim=True), error.shape[-2:], mode="bilinear")
            for part in details(restoration.x0)
        ]
    ).sum(0)
    places = in_squares(told.filled_in * lively)
    seen = rank_correlation(places, in_squares(error.square().sum(1, keepdim=True)))
    return told.by_size[0].tolist(), wrong, seen


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table for the arguments of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--tasks", default=",".join(TASKS), help="some of them, with commas between"
    )
    parser.add_argument("--limit", type=int, help="only the first so many photographs of each task")
    parser.add_argument("--size", type=int, default=SIZE, help="side of the photographs' crops")
    parser.add_argument("--prior", default="natural-small")
    options = parser.parse_args(arguments)
    prior = load_prior(options.prior)
    sizes = [f"{2**k}-{2 ** (k + 1)} px" for k in range(1, SCALES + 1)]
    titles = [f"{size}: filled in, wrong" for size in sizes]
    print(tables.head("task", *titles, "rank correlation of the places"), flush=True)
    for name in options.tasks.split(","):
        task = make(name, options.size)
        count = len(task.names) if options.limit is None else min(options.limit, len(task.names))
        found = [account(task.part(slice(b, b + 1)), prior) for b in range(count)]
        cells = [
            f"{statistics.mean(told[k] for told, _, _ in found):.2f}, "
            f"{statistics.mean(wrong[k] for _, wrong, _ in found):.2f}"
            for k in range(SCALES)
        ]
        places = statistics.mean(row[2] for row in found)
        print(tables.row(name, *cells, f"{places:.2f}"), flush=True)


if __name__ == "__main__":
    main()
