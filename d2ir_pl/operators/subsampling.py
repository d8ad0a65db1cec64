"""Planes that are coarser than an image, as the chrominances of JPEG are, and back."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from d2ir_pl.operators.constants import kept
from d2ir_pl.operators.linear import Size
from d2ir_pl.operators.padding import pad, pad_adjoint

Factors = tuple[int, int]
"""The vertical and horizontal factors by which chrominances are coarser than the luminance."""

# How far apart samples are that a subsampled plane is unmixed with: the weights fall by a factor of
# 6 from one to the next.
UNMIXING = 9


def coarse_size(size: Size, factors: Factors) -> Size:
    """Size of the chrominances of an image."""
    return -(-size[0] // factors[0]), -(-size[1] // factors[1])


def shrink(planes: Tensor, factors: Factors) -> Tensor:
    """Average so many neighbours down and across, with the border repeated."""
    if factors == (1, 1):
        return planes
    for axis, factor in zip((-2, -1), factors, strict=True):
        planes = repeat_border(planes, axis, -planes.shape[axis] % factor)
    (v, h), (height, width) = factors, planes.shape[-2:]
    if planes.device.type == "cpu":  # a mean over two dimensions takes twenty times as long there
        rows = sum(planes[..., i::v, :] for i in range(1, v)) + planes[..., ::v, :]
        return (sum(rows[..., j::h] for j in range(1, h)) + rows[..., ::h]) / (v * h)
    return planes.reshape(*planes.shape[:-2], height // v, v, width // h, h).mean((-3, -1))


def enlarge(planes: Tensor, axis: int, factor: int) -> Tensor:
    """Double the samples along an axis (-1 or -2): 3/4 of the nearer and 1/4 of the farther one."""
    if factor == 1:
        return planes
    count = planes.shape[axis]
    extended = pad(planes, *_margins(axis, 1, 1), "replicate")
    before, after = extended.narrow(axis, 0, count), extended.narrow(axis, 2, count)
    halves = torch.stack([(3 * planes + before) / 4, (3 * planes + after) / 4], axis)
    return halves.flatten(axis - 1, axis)


def unmix(planes: Tensor, axis: int) -> Tensor:
    """Solve planes = shrink(enlarge(p)) for p along an axis.

    With the border repeated, shrink(enlarge(p)) is (p_before + 6 p + p_after) / 8, whose inverse is
    a filter of weights sqrt(2) z^|k|, z = 2 sqrt(2) - 3, over samples that are mirrored, those at
    the border as well.
    """
    count, z = planes.shape[axis], 2 * math.sqrt(2) - 3
    extended = planes.index_select(axis, _mirrored(planes, count, UNMIXING))
    total = math.sqrt(2) * planes
    for k in range(1, UNMIXING + 1):
        for start in (UNMIXING - k, UNMIXING + k):
            total.add_(extended.narrow(axis, start, count), alpha=math.sqrt(2) * z**k)
    return total


def repeat_border(planes: Tensor, axis: int, count: int) -> Tensor:
    """Continue planes by so many copies of their last row (-2) or column (-1)."""
    return pad(planes, *_margins(axis, 0, count), "replicate")


def fold_border(planes: Tensor, axis: int, count: int) -> Tensor:
    """The transpose of `repeat_border`."""
    return pad_adjoint(planes, *_margins(axis, 0, count), "replicate")


def _margins(axis: int, before: int, after: int) -> tuple[tuple[int, int], tuple[int, int]]:
    return ((before, after), (0, 0)) if axis == -2 else ((0, 0), (before, after))


@kept
def _mirrored(count: int, margin: int) -> Tensor:
    """Positions of samples that are continued by their mirror images, the border repeated."""
    doubled = torch.arange(-margin, count + margin) % (2 * count)
    return torch.minimum(doubled, 2 * count - 1 - doubled)
