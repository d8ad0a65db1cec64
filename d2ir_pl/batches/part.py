"""Parts of photos that are restored alone, where nothing else of them is kept.

What holds for all of a photo, such as its noise and its blur, is read off the whole of it.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from d2ir_pl.batches.observation import Observation
from d2ir_pl.batches.plan import Plan
from d2ir_pl.degradations import (
    Compose,
    Degradation,
    Downsampling,
    Fading,
    Grayscale,
    Identity,
    Jpeg,
    Light,
    Mask,
    Phi,
)
from d2ir_pl.degradations.convolutional_blur import ConvolutionalBlur
from d2ir_pl.operators.linear import size_of
from d2ir_pl.restoration import Restoration

CONTEXT = 64
"""Pixels around what is kept that are restored with it, so that it is as if all were: the side of
the images that the embedded prior was trained on."""
LEAST = 256
"""Side in pixels of a part at least: as much as a prior sees at once."""
GRID = 16
"""Pixels to whose multiples a part begins, so that the blocks of a JPEG file lie as they do in the
whole."""
MOST = 0.7
"""Share of a photo's pixels above which the whole is restored instead."""
IN_PART = "only a part of the restoration is kept"
"""Why nothing is known of intervals."""
_ALIKE = (ConvolutionalBlur, Identity, Jpeg, Light, Fading, Grayscale, Downsampling)
"""Families whose parameters are those of a part as well."""


def part_around(whole: Observation, inside: Tensor) -> Observation | None:
    """The part of a photo to restore; None where that is the whole.

    Args:
        whole: the photo.
        inside: `(1, 1, h, w)`, above 0 where the restoration is kept.
    """
    bounds = [_bounds(inside[0, 0].amax(axis)) for axis in (1, 0)]
    (rows, columns), size = bounds, size_of(whole.y)
    few = (rows.stop - rows.start) * (columns.stop - columns.start) <= MOST * size[0] * size[1]
    family = _of_part(whole.degradation, rows, columns)
    if family is None or not few or whole.y.ndim != 4 or whole.true_phi is not None:
        return None

    def cut(image: Tensor | None, factor: int = 1) -> Tensor | None:
        if image is None:
            return None
        ends = [slice(factor * s.start, factor * s.stop) for s in (rows, columns)]
        return image[..., ends[0], ends[1]].clone()

    y = cut(whole.y)
    assert y is not None
    return replace(
        whole,
        y=y,
        degradation=family,
        reference=None,
        first=cut(whole.first, family.frame.factor),
        observed=cut(whole.observed),
        kept=cut(whole.kept),
        within=(whole, (rows.start, columns.start)),
    )


@torch.no_grad()
def within_the_whole(part: Observation, restored: Restoration, plan: Plan) -> Restoration:
    """The restoration of a photo of which a part was restored, and all else is as it was.

    Its residual and losses are those of the part; what it predicts of y is not known.

    Args:
        part: the part.
        restored: its restoration.
        plan: how it was restored.
    """
    assert part.within is not None
    whole, corner = part.within
    family, phi = plan.degradation, restored.phi
    if isinstance(family, Mask):
        family = whole.degradation
        phi = Phi(family.init(whole.y, restored.sigma_y))
    height, width = family.frame.output_size(size_of(whole.y))
    shown = whole.y.to(restored.x0)
    if (height, width) != size_of(shown):
        shown = family.frame.crop(family.lift(shown, phi))
    top, left = (family.frame.factor * at for at in corner)
    rows, columns = size_of(restored.x0)
    place = ..., slice(top, top + rows), slice(left, left + columns)
    x0, std = shown.clone(), restored.std
    x0[place] = restored.x0
    if std is not None:
        everywhere = torch.zeros_like(x0[:, :1])
        everywhere[place] = std
        std = everywhere
    told = restored.provenance
    if told is not None:
        told = told.within(torch.zeros_like(x0[:, :1]), top, left)
    restored = restored.without_intervals(IN_PART)
    return replace(restored, x0=x0, phi=phi, reblurred=None, std=std, provenance=told)


def _of_part(family: Degradation, rows: slice, columns: slice) -> Degradation | None:
    """The family that explains a part of a photo; None if it is not known."""
    if isinstance(family, Mask):
        return family.part(rows, columns)
    parts = list(family.parts) if isinstance(family, Compose) else [family]
    return family if all(isinstance(part, _ALIKE) for part in parts) else None


def _bounds(line: Tensor) -> slice:
    """Where a part begins and ends along one side, by what is kept of each row or column."""
    kept, length = line.nonzero().flatten(), len(line)
    start, stop = int(kept[0]) - CONTEXT, int(kept[-1]) + 1 + CONTEXT
    missing = max(0, LEAST - (stop - start))
    start = max(0, min(start - missing // 2, length - LEAST)) // GRID * GRID
    return slice(start, min(length, max(stop, start + LEAST)))
