"""Which pixels of a file belong to the photo."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from d2ir_pl.estimators.impulses import impulses
from d2ir_pl.estimators.observed_pixels import pull_push
from d2ir_pl.estimators.outside import frame, framed, saturated
from d2ir_pl.estimators.scratches import scratches
from d2ir_pl.image_io import Photo

COLOURS = 256
"""Most colours that a palette holds."""
SMALLEST = 64 * 64
"""Fewest pixels of a photo whose number of colours says something."""

IMPULSES = (
    "impulses: {:.2%} of the pixels stand out from all around them, as dead pixels or salt and "
    "pepper do; they are taken for missing"
)
SCRATCHES = (
    "scratches: white lines on {:.1%} of the photo have nothing to do with what is beside them; "
    "they are filled in from there"
)
"""What is said of pixels that are missing, with their share of the photo."""


class Observed(NamedTuple):
    """Which pixels of a photo are observed.

    Attributes:
        mask: `(1, H, W)`, 1 where a pixel is observed and 0 elsewhere; None where all are.
        kept: `(1, H, W)`, 1 where the result has the photo's own pixels, such as on a frame; None
            where it has none of them.
        findings: sentences on what was found.
    """

    mask: Tensor | None = None
    kept: Tensor | None = None
    findings: tuple[str, ...] = ()


def observed_pixels(photo: Photo, y: Tensor, keeps_size: bool = True) -> Observed:
    """Which pixels are observed: no transparent, dead, saturated ones, and none of a frame.

    Args:
        photo: contents of the file.
        y: `(3, H, W)`, its pixels in [-1, 1].
        keeps_size: whether the result has the photo's size, and may keep some of its pixels.
    """
    found = _observed(photo, y.cpu(), keeps_size)  # it asks much, for which a device would wait
    mask, kept = (None if m is None else m.to(y.device) for m in (found.mask, found.kept))
    return Observed(mask, kept, found.findings)


def _observed(photo: Photo, y: Tensor, keeps_size: bool) -> Observed:
    """`observed_pixels` on the CPU."""
    visible = photo.visible
    if visible is not None:
        visible = visible.to(y)
        y = torch.where(visible == 1, y, pull_push(y[None] * visible, visible[None])[0])
    findings = []
    hidden = [] if visible is None else [1 - visible]
    kept = []
    around = framed(y) if keeps_size and visible is None else None
    if around is not None:
        kept.append(around)
        names = ("top", "bottom", "left", "right")
        sides = [f"{n} at the {name}" for n, name in zip(frame(y), names, strict=True) if n]
        findings.append(
            f"frame: the outer pixels have one colour ({', '.join(sides)}); they are left as they "
            f"are, and nothing is read off them"
        )
    white = saturated(y) if keeps_size else None
    if white is not None:
        kept.append(white)
        findings.append(
            f"overexposed: {float(white.mean()):.1%} of the photo is white without any detail; it "
            f"stays white, and nothing is read off it"
        )
    kept_at = torch.stack(kept).amax(0) if kept else None
    for found, sentence in ((impulses(y), IMPULSES), (scratches(y), SCRATCHES)):
        if found is not None:
            found = found if kept_at is None else found * (1 - kept_at)
            hidden.append(found)
            findings.append(sentence.format(float(found.mean())))
    if not photo.grey and _few_colours(y):
        findings.append(
            f"few colours: the photo has at most {COLOURS} of them, as GIF files do; the dots that "
            f"mix them pass for noise"
        )
    if not hidden and not kept:
        return Observed(findings=tuple(findings))
    unseen = torch.stack([*hidden, *kept]).amax(0)
    if bool((unseen == 1).all()):
        return Observed(findings=tuple(findings))
    return Observed(1 - unseen, kept_at, tuple(findings))


def _few_colours(y: Tensor) -> bool:
    """Whether a photo has no more colours than a palette, and they are no greys."""
    if y[0].numel() < SMALLEST or bool((y[0] == y[1]).all()):
        return False
    levels = ((y[:, :, :: max(1, y.shape[2] // 256)] + 1) * 127.5).round().long()
    if len((levels[0] * 65536 + levels[1] * 256 + levels[2]).unique()) > COLOURS:
        return False
    levels = ((y + 1) * 127.5).round().long()
    return len((levels[0] * 65536 + levels[1] * 256 + levels[2]).unique()) <= COLOURS
