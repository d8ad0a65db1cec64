"""An earlier JPEG of a photo, whose grid of blocks lies elsewhere than at its corner.

A photo that was cropped after a compression, and perhaps compressed again, has the rounding of the
first one in its blocks still. With c the coefficients of the luminance's blocks from an offset on,
and q the steps of a quality, coefficients near multiples of q have cos(2 pi c / q) near 1, and of
others the sum

    z = sum cos(2 pi c / q) / sqrt(N / 2),    |c| > q / 2,

over N coefficients of low frequencies is about a normal number of variance 1.

Blocks that lie half a block beside those of a JPEG of few coefficients hold few values as well, and
look as if they had been rounded to finer steps. A finer rounding before a coarser one leaves
nothing that could be seen, so that only steps at least as large as the file's own are compared.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from d2ir_pl.estimators.remembered import remembered
from d2ir_pl.operators.jpeg_transform import BLOCK, colour_matrix, dct_matrix, standard_tables

QUALITIES = (50, 60, 65, 70, 75, 80, 85, 88, 90, 92, 94)
"""Qualities whose steps are compared; that of the file lies near one of them."""
LOW = (1, 8, 16, 9, 2, 3, 10, 17, 24)
"""Numbers of the coefficients of a block that are looked at; finer ones are seldom rounded to
anything but zero."""
EVIDENT, CLEAR = 5.5, 1.5
"""Least z of a grid that counts as found, and how much larger it has to be than that of the next
(docs/experiments.md)."""
FINER = 0.97
"""Mean ratio, over the frequencies, of steps to those of the file from which they are compared."""
MAX_BLOCKS = 1024
FEWEST = 20
"""Most blocks that an offset is judged by, and the fewest coefficients that say something."""


@remembered
def earlier_grid(y: Tensor, table: Tensor | None = None) -> tuple[int, int] | None:
    """The offset of the blocks of an earlier JPEG, if the pixels show one.

    Args:
        y: `(3, H, W)` photo in [-1, 1].
        table: `(8, 8)` steps of the luminance of the JPEG that it was read from; None for another
            file.

    Returns:
        Rows and columns of the first whole block's corner, 0 to 7 and not both 0; None where no
        such grid is seen.
    """
    luma = torch.einsum("c,chw->hw", colour_matrix(y.double())[0], 127.5 * (y.double() + 1))
    if min(luma.shape) < 3 * BLOCK:
        return None
    steps = standard_tables(torch.tensor(QUALITIES, device=y.device))[:, 0].to(luma)
    steps = steps.flatten(1)[:, LOW]
    if table is not None:
        ratio = (steps / table.to(steps).flatten()[list(LOW)]).log().mean(1).exp()
        steps = steps[ratio >= FINER]
        if not len(steps):
            return None
    places = [(v, h) for v in range(BLOCK) for h in range(BLOCK) if (v, h) != (0, 0)]
    evidence = torch.stack([_evidence(luma[v:, h:], steps) for v, h in places])
    best, second = evidence.topk(2).values.tolist()
    return places[int(evidence.argmax())] if best > max(EVIDENT, CLEAR * second) else None


def _evidence(luma: Tensor, steps: Tensor) -> Tensor:
    """The largest z of any quality, for blocks from the corner of a plane on."""
    height, width = (n // BLOCK * BLOCK for n in luma.shape)
    blocks = luma[:height, :width].unfold(0, BLOCK, BLOCK).unfold(1, BLOCK, BLOCK).flatten(0, 1)
    blocks = blocks[:: -(-len(blocks) // MAX_BLOCKS)].flatten(1)
    c = blocks @ dct_matrix(luma)[:, LOW]
    told = c.abs() > steps[:, None] / 2
    near = torch.cos(2 * math.pi * c / steps[:, None]) * told
    count = told.sum((1, 2)).clamp_min(FEWEST)
    return (near.sum((1, 2)) / (count / 2).sqrt()).amax()
