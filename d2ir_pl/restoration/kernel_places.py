"""Whether the kernel of a shaken photo is the same all over it.

A camera that turns while it moves, and a scene that moves by itself, blur one part of a photo
otherwise than another. One kernel then suits some parts and leaves ghosts in others. To see it, the
photo is divided into cells, and in that part of each which has the most edges, a short walk with
the kernel of the whole photo, which is believed as little as in the first round of its refinement,
shows the image; the part's own kernel is fitted to that, twice. Where all parts have the same
kernel, each is like the mean of the others. How like depends on the edges, the noise and the size
of the kernel, and is seen within the parts: the kernels of two halves of a part, which say less
each, are less alike than the parts are, unless the parts have kernels of their own.
"""

from __future__ import annotations

import itertools
import statistics
from dataclasses import dataclass

import torch
from torch import Tensor

from d2ir_pl.estimators.edge_windows import windows_of_edges
from d2ir_pl.estimators.kernel_shapes import centred, likeness
from d2ir_pl.operators.kernels import padded
from d2ir_pl.operators.linear import size_of
from d2ir_pl.restoration.kernel_rounds import (
    FIRST_ERROR,
    GROWTH,
    SLOWNESS,
    grey_light,
    grey_part,
    grey_values,
)
from d2ir_pl.restoration.problem import Problem
from d2ir_pl.restoration.searches import WALK, Search, fitted, side_by_side, walked

# Settings were chosen on photographs with synthetic shakes (docs/experiments.md).
SIDE, KERNELS = 160, 4
"""Side in pixels of the parts that are compared, at least, and the same in kernels."""
CELLS = 3
"""Cells along a side of the photo, at most."""
ROUNDS = 2
"""Rounds of an image and a kernel in each part."""
LEAST_STRENGTH = 5e-5
"""Strength of edges (`edge_windows`) below which a part says too little of its kernel."""


@dataclass(frozen=True)
class Places:
    """How like the kernels of the parts of a photo are.

    Attributes:
        alike: likeness of the kernel of each cell to the mean of the others, in [0, 1], by rows;
            None where the edges are too few, and empty where fewer than two say anything.
        halves: mean likeness of the kernels of two halves of a part; None where it is empty.
        nfe: number of evaluations of such parts that it took.
    """

    alike: list[list[float | None]]
    halves: float | None
    nfe: int


def kernel_by_place(problem: Problem, kernel: Tensor) -> Search[Places]:
    """Search for how like the kernels of the parts of a photo are.

    Args:
        problem: a photo, a batch of one, blurred by a kernel of free entries.
        kernel: `(k, k)` of a correlation, centred: that of the whole photo.
    """
    side = max(SIDE, KERNELS * kernel.shape[-1])
    height, width = size_of(problem.y)
    rows, columns = (min(CELLS, n // side) for n in (height, width))
    if rows * columns < 2:
        return Places([], None, 0)
    grey, seen = grey_values(problem)
    looked_at: dict[tuple[int, int], Search[tuple[Tensor, float]]] = {}
    for i, j in itertools.product(range(rows), range(columns)):
        top, left = i * height // rows, j * width // columns
        cell = slice(top, (i + 1) * height // rows), slice(left, (j + 1) * width // columns)
        inside = None if seen is None else seen[cell]
        ((y, x), strength) = windows_of_edges(grey[cell], side, 1, inside)[0]
        if strength >= LEAST_STRENGTH:
            part = grey_part(problem, top + y, left + x, side)
            looked_at[i, j] = _kernels_of(part, kernel)
    seen_there = yield from side_by_side([*looked_at.values()])
    found = {place: own for place, (own, _) in zip(looked_at, seen_there, strict=True)}
    nfe = ROUNDS * WALK.steps * len(found)
    if len(found) < 2:
        return Places([], None, nfe)
    total = torch.stack(list(found.values())).sum(0)
    known = {place: likeness(own, total - own) for place, own in found.items()}
    alike = [[known.get((i, j)) for j in range(columns)] for i in range(rows)]
    return Places(alike, statistics.mean(halves for _, halves in seen_there), nfe)


def _kernels_of(part: Problem, kernel: Tensor) -> Search[tuple[Tensor, float]]:
    """Search for the kernel of a grey part of a photo, from that of the whole.

    Returns:
        The kernel, and how like those of the part's halves are, the mean of both ways to halve it.
    """
    y = grey_light(part, part.y)
    start = kernel = padded(kernel.cpu(), kernel.shape[-1] + 2 * GROWTH)
    x, doubt = y, 1.0
    for i in range(ROUNDS):
        error = FIRST_ERROR * SLOWNESS**i
        seen = yield from walked(part, kernel, error)
        x, doubt, start = grey_light(part, seen.x), (error / FIRST_ERROR) ** 2, kernel
        kernel = centred((yield from fitted(x, y, start, doubt)))
    h, w = size_of(y)
    cuts = [
        (slice(h // 2), slice(w)),
        (slice(h // 2, h), slice(w)),
        (slice(h), slice(w // 2)),
        (slice(h), slice(w // 2, w)),
    ]
    asked = [fitted(x[cut], y[cut], start, doubt) for cut in cuts]
    top, bottom, left, right = map(centred, (yield from side_by_side(asked)))
    return kernel, (likeness(top, bottom) + likeness(left, right)) / 2
