"""The part of each photo that shows most of how it was degraded."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from d2ir_pl.estimators.edge_windows import edge_windows
from d2ir_pl.restoration.found import Found
from d2ir_pl.restoration.problem import Problem


def part_with_edges(problem: Problem, side: int) -> Problem:
    """The problem of the square of each photo whose edges say most.

    Args:
        problem: degraded images.
        side: side of the squares in pixels of y.

    Returns:
        The problem itself where its photos are no larger, or where the parts of a photo are not all
        degraded alike.
    """
    height, width = (min(side, n) for n in problem.observed_size)
    if (height, width) == problem.observed_size or not problem.degradation.uniform:
        return problem
    places = []
    for b, image in enumerate(problem.y):
        seen = None if problem.observed is None else problem.observed[b, 0].cpu()
        grey = (image.mean(0).cpu() + 1) / 2
        places.append(edge_windows(grey, side, 1, seen)[0].tolist())

    def parts(images: Tensor) -> Tensor:
        pairs = zip(images, places, strict=True)
        return torch.stack([x[:, t : t + height, s : s + width] for x, (t, s) in pairs])

    observed = None if problem.observed is None else parts(problem.observed)
    found = problem.found
    if found is not None and found.beside is not None:
        found = Found(beside=parts(found.beside))
    return replace(problem, y=parts(problem.y), observed=observed, first=None, found=found)
