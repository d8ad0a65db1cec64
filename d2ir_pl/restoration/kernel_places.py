"""Whether the kernel of a shaken photo is the same all over it.

A camera that turns while it moves, and a scene that moves by itself, blur one part of a photo
otherwise than another. One kernel then suits some parts and leaves ghosts in others. To see it, the
photo is divided into cells, and in that part of each which has the most edges, a short walk with
the kernel of the whole photo, which is believed as little as in the first round of its refinement,
shows the image; the part's own kernel is fitted to that, twice. Where all parts have the same
kernel, each is like the mean of the others.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from d2ir_pl.diffusion import Prior
from d2ir_pl.estimators.edge_windows import windows_of_edges
from d2ir_pl.estimators.kernel_refit import refitted
from d2ir_pl.estimators.kernel_shapes import centred, likeness, padded
from d2ir_pl.operators.linear import size_of
from d2ir_pl.restoration.kernel_rounds import (
    FIRST_ERROR,
    GROWTH,
    SLOWNESS,
    WALK,
    grey_light,
    grey_part,
    grey_values,
    short_walk,
)
from d2ir_pl.restoration.problem import Problem

# Settings were chosen on photographs with synthetic shakes (docs/experiments.md).
SIDE, KERNELS = 160, 4
"""Side in pixels of the parts that are compared, at least, and the same in kernels."""
CELLS = 3
"""Cells along a side of the photo, at most."""
ROUNDS = 2
"""Rounds of an image and a kernel in each part."""
LEAST_STRENGTH = 5e-5
"""Strength of edges (`edge_windows`) below which a part says too little of its kernel."""

Places = list[list[float | None]]
"""Likeness of the kernel of each cell to the mean of the others, in [0, 1], by rows; None where the
edges are too few."""


def kernel_by_place(problem: Problem, kernel: Tensor, prior: Prior) -> tuple[Places, int]:
    """How like the kernels of the parts of a photo are.

    Args:
        problem: a photo, a batch of one, blurred by a kernel of free entries.
        kernel: `(k, k)` of a correlation, centred: that of the whole photo.
        prior: diffusion prior.

    Returns:
        The likenesses, empty where the photo has no two parts of that size or fewer than two that
        say anything, and the number of evaluations of such parts that this took.
    """
    side = max(SIDE, KERNELS * kernel.shape[-1])
    height, width = size_of(problem.y)
    rows, columns = (min(CELLS, n // side) for n in (height, width))
    if rows * columns < 2:
        return [], 0
    grey, seen = grey_values(problem)
    found: dict[tuple[int, int], Tensor] = {}
    for i, j in itertools.product(range(rows), range(columns)):
        top, left = i * height // rows, j * width // columns
        cell = slice(top, (i + 1) * height // rows), slice(left, (j + 1) * width // columns)
        inside = None if seen is None else seen[cell]
        ((y, x), strength) = windows_of_edges(grey[cell], side, 1, inside)[0]
        if strength >= LEAST_STRENGTH:
            part = grey_part(problem, top + y, left + x, side)
            found[i, j] = _kernel_of(part, kernel, prior)
    nfe = ROUNDS * WALK.steps * len(found)
    if len(found) < 2:
        return [], nfe
    total = torch.stack(list(found.values())).sum(0)
    alike = {place: likeness(own, total - own) for place, own in found.items()}
    return [[alike.get((i, j)) for j in range(columns)] for i in range(rows)], nfe


def _kernel_of(part: Problem, kernel: Tensor, prior: Prior) -> Tensor:
    """The kernel of a grey part of a photo, found from that of the whole."""
    y = grey_light(part, part.y)
    kernel = padded(kernel.to(y), kernel.shape[-1] + 2 * GROWTH)
    for i in range(ROUNDS):
        error = FIRST_ERROR * SLOWNESS**i
        x, _ = short_walk(part, kernel[None], error, prior)
        doubt = (error / FIRST_ERROR) ** 2
        kernel = centred(refitted(grey_light(part, x), y, kernel, doubt))
    return kernel
