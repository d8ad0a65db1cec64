"""Missing pixels: inpainting, with noise on the pixels that are left."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor

from d2ir_pl.degradations.base import Degradation, LinearDegradation
from d2ir_pl.degradations.mask_file import (
    Invert,
    MaskFile,
    find_mask,
    read_mask,
    visible_pixels,
)
from d2ir_pl.degradations.phi import Phi
from d2ir_pl.errors import require
from d2ir_pl.estimators.observed_pixels import (
    estimate_sigma_of_observed,
    not_black,
    not_black_in_jpeg,
    pull_push,
)
from d2ir_pl.image_io import Photo
from d2ir_pl.operators.conditioning import Conditioning
from d2ir_pl.operators.linear import Size, size_of
from d2ir_pl.operators.pointwise import MaskOperator
from d2ir_pl.operators.svd import SVD, Diagonal


class Mask(LinearDegradation):
    """Pixels are missing: y = m (x + n) - (1 - m), so that missing ones are black.

    phi: `mask` `(B, 1, H, W)`, m, 1 where a pixel is observed and 0 where it is missing. It is
    found before the restoration and stays fixed. A photo of which no pixel is missing is refused.

    Args:
        source: where the mask comes from:
            `zeros`: pixels that are transparent in the file, or exactly black in all three
            channels, are missing. A black pixel in the midst of nearly black ones is taken for a
            dark part of the photo; one that is misread is filled in from its surroundings, which
            costs little. Around the black holes of a JPEG file the dark edges are missing too.
            [top, left, height, width]: the pixels of this box are missing.
            a mask file: an image of the photo's size with two kinds of pixels, which differ in
            brightness or, where the file has any, in transparency. Pixels in between are missing.
            a folder of such files, matched to the photos by relative path without extension.
        invert: whether the bright or opaque pixels of a mask file are the missing ones, as photo
            editors have it, or not, as in DDRM and RePaint; `auto` decides by what the photo shows
            there, see `MaskFile.decide`. With a box, `true` keeps what is inside.
        missing: share of the pixels that `draw` removes under `zeros`, in [0, 1).

    Raises:
        ValueError: for a source that is none of these, or a share outside [0, 1).
    """

    estimated = False
    file_settings = ("source",)

    def __init__(
        self, source: list[int] | str = "zeros", invert: Invert = "auto", missing: float = 0.5
    ) -> None:
        super().__init__()
        require("missing", missing, 0, below=1, remedy="the share of missing pixels")
        if source == "zeros" and invert is True:
            raise ValueError("invert needs a mask file or a box: black pixels are always missing")
        self.source = source
        self.invert: Invert = invert
        self.missing = missing
        self._file: MaskFile | None = None
        self._visible: Tensor | None = None
        if isinstance(source, list):
            if len(source) != 4 or min(source[:2]) < 0 or min(source[2:]) < 1:
                raise ValueError(
                    f"source {source} must be [top, left, height, width] in pixels, the first two "
                    f"at least 0 and the others at least 1"
                )
        elif Path(source).is_file():
            self._file = read_mask(Path(source))
        elif source != "zeros" and not Path(source).is_dir():
            raise ValueError(
                f"source {source!r} is no mask file or folder: give one, [top, left, height, "
                f"width], or 'zeros' where missing pixels are black"
            )

    def for_images(
        self, photos: Sequence[Photo], keys: Sequence[str], degraded: bool = True
    ) -> Degradation:
        """The same degradation with the masks of these images.

        A mask that is known beside the pixels holds whatever the source is. Where the files hold
        clean images, they say nothing about their masks.

        Raises:
            ValueError: if an image has no mask, or several, or one of another size, or if nothing
                of it is missing.
        """
        if self.known is not None:
            return self
        beside = [photo.mask for photo in photos if photo.mask is not None]
        if beside and len(beside) == len(photos):
            chosen = Mask(self.source, self.invert, self.missing)
            chosen.holes = 1 - torch.stack(beside)
            return chosen
        if not (degraded or self._in_folder):
            return self
        chosen = Mask(self.source, self.invert, self.missing)
        holes, reasons = [], []
        for photo, key in zip(photos, keys, strict=True):
            hole, reason = self._hole(photo, key, degraded)
            holes.append(hole)
            reasons += [reason] if reason else []
        chosen.holes = torch.stack(holes)
        chosen.reasons = tuple(reasons)
        if degraded:
            chosen._visible = torch.stack([_visible(photo) for photo in photos])
        return chosen

    def part(self, rows: slice, columns: slice) -> Mask | None:
        """The same with the masks of a part of these images; None if nothing is missing there."""
        if self.holes is None or self.known is not None:
            return None
        holes = self.holes[..., rows, columns]
        if not bool(holes.any()) or bool(holes.all()):
            return None
        chosen = Mask(self.source, self.invert, self.missing)
        chosen.holes, chosen.reasons = holes, self.reasons
        if self._visible is not None:
            chosen._visible = self._visible[..., rows, columns]
        return chosen

    def init(self, y: Tensor, sigma_y: Tensor) -> Phi:  # noqa: ARG002
        mask = self._observed(y)
        whole = _places(mask.amin((1, 2, 3)) == 1)
        if whole:
            raise ValueError(
                f"no pixel of image {whole[0] + 1} of the batch of {len(y)} is missing: check the "
                f"image and the mask, and whether the mask needs invert"
            )
        return Phi(mask=mask)

    def draw(self, generators: Sequence[Generator], like: Tensor) -> Phi:
        """The given mask or, under `zeros`, a mask of pixels that are missing at random."""
        size = size_of(like)
        if self.source != "zeros":
            return Phi(mask=1 - self._given(len(generators), size).to(like))
        u = torch.stack([torch.rand(1, *size, generator=g) for g in generators])
        # At least the pixel with the largest u stays.
        threshold = u.amax((1, 2, 3), keepdim=True).clamp_max(self.missing)
        return Phi(mask=(u >= threshold).to(like))

    def operator(self, phi: Phi, image_size: Size) -> MaskOperator:  # noqa: ARG002
        return MaskOperator(phi["mask"], Conditioning())

    def svd(self, phi: Phi, image_size: Size) -> SVD:  # noqa: ARG002
        return Diagonal(phi["mask"])

    def offset(self, phi: Phi) -> Tensor:
        return phi["mask"] - 1

    def residual(self, y: Tensor, prediction: Tensor, phi: Phi) -> Tensor:
        return phi["mask"] * (y - prediction)

    def share(self, phi: Phi) -> Tensor:
        """The share of pixels that are observed, `(B,)`."""
        return phi["mask"].mean((1, 2, 3))

    def lift(self, y: Tensor, phi: Phi) -> Tensor:
        """Interpolate the missing pixels of y from the observed ones."""
        return pull_push(y, phi["mask"])

    def estimate_sigma(self, y: Tensor) -> Tensor:
        return estimate_sigma_of_observed(y, self._observed(y))

    def picture(self, phi: Phi) -> Tensor:
        """The masks, white where observed."""
        return phi["mask"][:, 0]

    def describe(self, phi: Phi) -> list[dict[str, Any]]:
        return [
            {"kind": "Mask", "source": self.source, "observed_share": round(float(share), 6)}
            for share in self.share(phi)
        ]

    @property
    def _in_folder(self) -> bool:
        return isinstance(self.source, str) and self._file is None and self.source != "zeros"

    def _hole(self, photo: Photo, key: str, degraded: bool) -> tuple[Tensor, str]:
        """The missing pixels of a photo, `(1, H, W)`, and why they were taken for it, if found."""
        size = size_of(photo.pixels)
        if isinstance(self.source, list):
            return 1 - box_mask(self.source, size, self.invert is True)[0], ""
        visible = visible_pixels(photo)
        if self.source == "zeros":
            return _hole_of(photo, visible)
        file = self._file or read_mask(find_mask(Path(self.source), key))
        _require_size(file.value, size, f"mask {file.path}")
        if not degraded:
            return file.holes(self.invert is True), ""
        hole, reason = file.decide(photo.pixels, visible, self.invert)
        if not bool(hole.any()):
            raise ValueError(f"no pixel is missing under mask {file.path}: check it, and invert")
        return hole, reason

    def _observed(self, y: Tensor) -> Tensor:
        """The mask `(B, 1, H, W)` of the images y, checked."""
        size = size_of(y)
        if self.holes is not None and (self._in_folder or size_of(self.holes) == size):
            mask = 1 - self._given(len(y), size)
            if self._visible is not None:
                mask = mask * self._visible
        elif self.source == "zeros":
            mask = not_black(y)
        elif self._file is not None and self.invert == "auto":
            _require_size(self._file.value, size, f"mask {self.source}")
            found = [self._file.decide(image.cpu(), None, "auto")[0] for image in y]
            mask = 1 - torch.stack(found)
        else:
            mask = 1 - self._given(len(y), size)
        empty = _places(mask.amax((1, 2, 3)) == 0)
        if empty:
            raise ValueError(
                f"no pixel of image {empty[0] + 1} of the batch of {len(y)} is observed: "
                f"check the image and the mask, and whether the mask needs invert"
            )
        return mask.to(y)

    def _given(self, count: int, size: Size) -> Tensor:
        """The holes of the box or the file, or those of the images, `(count, 1, H, W)`."""
        if self.holes is not None:
            holes = self.holes
        elif isinstance(self.source, list):
            holes = 1 - box_mask(self.source, size, self.invert is True)
        elif self._file is not None:
            holes = self._file.holes(self.invert is True)[None]
        else:
            raise ValueError(
                f"the masks in {self.source} are matched to files: call for_images first"
            )
        _require_size(holes, size, f"mask {self.source}")
        return holes.expand(count, -1, -1, -1)


def _places(truths: Tensor) -> list[int]:
    """Where truth values hold; a device is waited for once."""
    return [b for b, holds in enumerate(truths.tolist()) if holds]


def _hole_of(photo: Photo, visible: Tensor | None) -> tuple[Tensor, str]:
    """The missing pixels that a photo shows by itself, `(1, H, W)`, and what they look like.

    Raises:
        ValueError: if there are none.
    """
    find = not_black if photo.tables is None else not_black_in_jpeg
    hole = 1 - find(photo.pixels[None])[0]
    looks = "black"
    if visible is not None:
        hole = torch.maximum(hole, 1 - visible)
        looks = "transparent or black"
    share = float(hole.mean())
    if share == 0:
        raise ValueError(
            "no pixel is missing: none is transparent or exactly black; give a mask as source if "
            "the holes look otherwise"
        )
    return hole, f"holes: {share:.1%} of the photo are {looks}, and are taken for missing"


def _visible(photo: Photo) -> Tensor:
    """`(1, H, W)`, 0 where a photo is transparent."""
    visible = visible_pixels(photo)
    return torch.ones(1, *size_of(photo.pixels)) if visible is None else visible


def box_mask(box: list[int], size: Size, invert: bool) -> Tensor:
    """`(1, 1, H, W)` mask that is 0 in the box [top, left, height, width], or outside of it."""
    top, left, height, width = box
    if top + height > size[0] or left + width > size[1]:
        raise ValueError(
            f"box {box} ends at {top + height}x{left + width} pixels, beyond the image of "
            f"{size[0]}x{size[1]} (height x width): make it smaller or move it"
        )
    mask = torch.ones(1, 1, *size)
    mask[..., top : top + height, left : left + width] = 0
    return 1 - mask if invert else mask


def _require_size(mask: Tensor, size: Size, what: str) -> None:
    if mask.shape[-2:] != torch.Size(size):
        raise ValueError(
            f"{what} has {mask.shape[-2]}x{mask.shape[-1]} pixels and its image "
            f"{size[0]}x{size[1]} (height x width): give a mask of the image's size"
        )
