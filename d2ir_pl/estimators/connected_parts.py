"""Which pixels of a mask hang together."""

from __future__ import annotations

import torch
from torch import Tensor


def connected_parts(mask: Tensor) -> Tensor:
    """`(N,)` number of the connected part that each of the N pixels of a mask is in, from 0 on.

    Args:
        mask: `(H, W)` of booleans; pixels that share an edge or a corner are connected.
    """
    number = torch.full(mask.shape, -1)
    number[mask] = torch.arange(int(mask.sum()))
    # Of two neighbours, also across corners, the parts are one: each part gets the least number.
    right, below = number[:, 1:], number[1:]
    pairs = torch.cat(
        [
            torch.stack([number[:, :-1].flatten(), right.flatten()]),
            torch.stack([number[:-1].flatten(), below.flatten()]),
            torch.stack([number[:-1, :-1].flatten(), below[:, 1:].flatten()]),
            torch.stack([number[:-1, 1:].flatten(), below[:, :-1].flatten()]),
        ],
        1,
    )
    pairs = pairs[:, (pairs >= 0).all(0)]
    part = torch.arange(int(mask.sum()))
    while bool((part[pairs[0]] != part[pairs[1]]).any()):
        ends = part[pairs]
        least = ends.amin(0).expand(2, -1).flatten()
        part = part.scatter_reduce(0, ends.flatten(), least, "amin")
        while not torch.equal(part[part], part):
            part = part[part]
    numbered: Tensor = torch.unique(part, return_inverse=True)[1]
    return numbered
