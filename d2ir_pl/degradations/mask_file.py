"""Mask files: which two kinds of pixels one tells apart, and which of them are missing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from d2ir_pl.errors import ImageError
from d2ir_pl.estimators.observed_pixels import grown
from d2ir_pl.image_io import EXTENSIONS, Photo, read_apart

Invert = Literal["auto"] | bool

# How near a pixel must be to one of the two values of a mask to belong to it: those in between, on
# soft edges, are partly covered by the hole.
NEAR = 0.1
# A file with more pixels than that in between is no mask.
MAX_BETWEEN = 0.5
# A file of 3 to MAX_LABELS values, none rarer than MIN_LABEL_SHARE, numbers several kinds of pixels
# where two of them are near each other, or all within an eighth of what the file could hold.
MAX_LABELS = 8
MIN_LABEL_SHARE = 0.03
LABEL_RANGE = 1 / 8
# One colour fills a part of a photo where this share of its pixels is within a grey level of its
# median: more of the larger part, which is white around many an object.
FILLED, LARGER_FILLED = 0.9, 0.99
# Side in pixels of a JPEG block, within which the edges of a hole are softened.
BLOCK = 8
# The hole is the smaller part where that has at most this share of the pixels.
SMALLER = 1 / 3
# Share of the pixels of either that a hole has in common with what is transparent in the photo.
SAME = 0.8


@dataclass(frozen=True)
class MaskFile:
    """What a mask file tells apart.

    Attributes:
        path: the file.
        value: `(1, H, W)` in [0, 1]: 1 where a pixel is bright, or opaque, and 0 where it is dark,
            or transparent.
        by_alpha: whether it is the transparency that differs.
    """

    path: Path
    value: Tensor
    by_alpha: bool

    def holes(self, white_is_hole: bool) -> Tensor:
        """`(1, H, W)`, 1 where a pixel is missing or partly so."""
        covered = self.value if white_is_hole else 1 - self.value
        return (covered > NEAR).float()

    def name(self, white: bool) -> str:
        """What pixels of value 1, or of value 0, look like in the file."""
        if self.by_alpha:
            return "opaque" if white else "transparent"
        return "bright" if white else "dark"

    def decide(self, photo: Tensor, visible: Tensor | None, invert: Invert) -> tuple[Tensor, str]:
        """Which pixels are missing, and a sentence that says why, if that was to be found out.

        A hole shows in the photo where it is filled with one colour, or transparent. Where it does
        not, it is the smaller part; where the parts are alike in size, it is dark or transparent.

        Args:
            photo: `(3, H, W)`, the photo that the mask belongs to.
            visible: `(1, H, W)`, 0 where the photo is transparent; None if it is nowhere.
            invert: whether the bright (or opaque) pixels are missing; `auto` finds it out.

        Returns:
            The holes, `(1, H, W)`, and the sentence.
        """
        if invert != "auto":
            return self.holes(invert), ""
        white, reason = self._white_is_hole(photo, visible)
        hole = self.holes(white)
        setting = "false" if white else "true"
        return hole, (
            f"mask {self.path.name}: its {self.name(white)} pixels are taken for missing "
            f"({float(hole.mean()):.1%} of the photo), because {reason}; if it is the others, set "
            f"invert to {setting}"
        )

    def _white_is_hole(self, photo: Tensor, visible: Tensor | None) -> tuple[bool, str]:
        if visible is not None:
            alike = [_overlap(self.holes(white), 1 - visible) for white in (False, True)]
            if max(alike) > SAME:
                return alike[1] > alike[0], "they are transparent in the photo"
        parts = [self.value <= NEAR, self.value >= 1 - NEAR]
        filled = [_one_colour(photo, part[0]) for part in parts]
        if filled[0] != filled[1]:
            return filled[1], "the photo has a single colour there"
        share = float(self.holes(True).mean())
        if min(share, 1 - share) <= SMALLER:
            return share <= SMALLER, "they are the smaller part"
        return False, "that is the convention, and neither the photo nor their number says more"


def read_mask(path: Path) -> MaskFile:
    """Read a mask: from the transparency of a file where that varies, otherwise from its colours.

    Raises:
        ImageError: if it is no image, or one that does not tell two kinds of pixels apart.
    """
    photo = read_apart(path)
    alpha = photo.alpha
    by_alpha = alpha is not None and float(alpha.min()) < float(alpha.max()) / 2
    value = alpha if alpha is not None and by_alpha else _most_varied(photo.pixels)
    low, high = value.min(), value.max()
    if low == high:
        raise ImageError(
            f"mask {path} has one value everywhere: give a file in which missing pixels differ "
            f"from the others"
        )
    low_values = float(high - low) < 2 * LABEL_RANGE
    value = (value - low) / (high - low)
    between = float(((value > NEAR) & (value < 1 - NEAR)).float().mean())
    if between > MAX_BETWEEN:
        raise ImageError(
            f"mask {path} is no mask: {between:.0%} of its pixels are neither bright nor dark; "
            f"give a file of two values"
        )
    if photo.tables is None and _labelled(value, low_values):
        count = len(value.unique())
        raise ImageError(
            f"mask {path} has {count} values, as if it numbered objects: give a file of two values"
        )
    return MaskFile(path, value, by_alpha)


def find_mask(folder: Path, key: str) -> Path:
    """Find the file of a folder that has the relative path `key` with another extension.

    Raises:
        ValueError: if there is none, or more than one.
    """
    stem = Path(key).with_suffix("")
    beside = sorted((folder / stem).parent.glob("*"))
    found = [p for p in beside if p.stem == stem.name and p.suffix.lower() in EXTENSIONS]
    if len(found) != 1:
        many = "no mask" if not found else f"{len(found)} masks"
        raise ValueError(f"image {key} has {many} in {folder}: give exactly one, {stem}.png")
    return found[0]


def visible_pixels(photo: Photo) -> Tensor | None:
    """`(1, H, W)`, 0 where a photo is transparent, be it in part; None if it is nowhere."""
    alpha = photo.alpha
    if alpha is None or float(alpha.min()) >= float(alpha.max()) / 2:
        return None
    return (alpha >= (1 - NEAR) * alpha.max()).float()


def _most_varied(pixels: Tensor) -> Tensor:
    """`(1, H, W)`: the brightness or, where colours differ more than that, one of the channels."""
    planes = torch.cat([pixels.mean(0, keepdim=True), pixels])
    spread = planes.amax((1, 2)) - planes.amin((1, 2))
    best = 0 if float(spread[0]) >= float(spread.max()) / 2 else int(spread.argmax())
    return planes[best : best + 1]


def _labelled(value: Tensor, low: bool) -> bool:
    """Whether a file numbers several kinds of pixels, as segmentations do."""
    levels, counts = value.unique(return_counts=True)
    if not 3 <= len(levels) <= MAX_LABELS:
        return False
    common = levels[counts >= MIN_LABEL_SHARE * value.numel()]
    return len(common) > 2 and (low or float(common.diff().min()) < NEAR)


def _overlap(a: Tensor, b: Tensor) -> float:
    """Pixels that two sets share over those that either has."""
    return float((a * b).sum() / (a + b).clamp_max(1).sum().clamp_min(1))


def _one_colour(photo: Tensor, part: Tensor) -> bool:
    """Whether one colour fills a part `(H, W)` of a photo."""
    enough = FILLED if float(part.float().mean()) <= 0.5 else LARGER_FILLED
    # The middle of a hole tells more than its edges, which JPEG softens.
    middle = grown((~part).float()[None, None], BLOCK)[0, 0] == 0
    return any(_share_of_median(photo, where) >= enough for where in (part, middle))


def _share_of_median(photo: Tensor, part: Tensor) -> float:
    """Share of the pixels of a part whose colour is at most a grey level from its median."""
    if not bool(part.any()):
        return 0.0
    colours = photo[:, part]
    distance = (colours - colours.median(1, keepdim=True).values).abs().amax(0)
    return float((distance < 3 / 255).float().mean())
