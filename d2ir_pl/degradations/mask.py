"""Missing pixels: inpainting, with noise on the pixels that are left."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor

from d2ir_pl.degradations.base import Degradation, LinearDegradation
from d2ir_pl.degradations.phi import Phi
from d2ir_pl.errors import require
from d2ir_pl.estimators.observed_pixels import estimate_sigma_of_observed, not_black, pull_push
from d2ir_pl.image_io import EXTENSIONS, Photo, read_image
from d2ir_pl.operators.linear import Size, size_of
from d2ir_pl.operators.pointwise import MaskOperator
from d2ir_pl.operators.svd import SVD, Diagonal


class Mask(LinearDegradation):
    """Pixels are missing: y = m (x + n) - (1 - m), so that missing ones are black.

    phi: `mask` `(B, 1, H, W)`, m, 1 where a pixel is observed and 0 where it is missing. It is
    found before the restoration and stays fixed.

    Args:
        source: where the mask comes from:
            `zeros`: pixels that are exactly black in all three channels are missing. A black pixel
            in the midst of nearly black ones is taken for a dark part of the photo; one that is
            misread is filled in from its surroundings, which costs little.
            [top, left, height, width]: the pixels of this box are missing.
            a mask file: an image of the photo's size, white where observed, black where missing,
            as masks are in DDRM and RePaint. `invert` it if it marks the hole, as photo editors do.
            a folder of such files, matched to the photos by relative path without extension.
        invert: a mask file is white where pixels are missing; a box holds what is observed.
        missing: share of the pixels that `draw` removes under `zeros`, in [0, 1).

    Raises:
        ValueError: for a source that is none of these, or a share outside [0, 1).
    """

    estimated = False

    def __init__(
        self, source: list[int] | str = "zeros", invert: bool = False, missing: float = 0.5
    ) -> None:
        super().__init__()
        require("missing", missing, 0, below=1, remedy="the share of missing pixels")
        if source == "zeros" and invert:
            raise ValueError("invert needs a mask file or a box: black pixels are always missing")
        self.source = source
        self.invert = invert
        self.missing = missing
        self._masks: Tensor | None = None
        if isinstance(source, list):
            if len(source) != 4 or min(source[:2]) < 0 or min(source[2:]) < 1:
                raise ValueError(
                    f"source {source} must be [top, left, height, width] in pixels, the first two "
                    f"at least 0 and the others at least 1"
                )
        elif Path(source).is_file():
            self._masks = read_mask(Path(source), invert)[None]
        elif source != "zeros" and not Path(source).is_dir():
            raise ValueError(
                f"source {source!r} is no mask file or folder: give one, [top, left, height, "
                f"width], or 'zeros' where missing pixels are black"
            )

    def for_images(
        self,
        photos: Sequence[Photo],
        keys: Sequence[str],
        degraded: bool = True,  # noqa: ARG002
    ) -> Degradation:
        """The same degradation or, where the source is a folder, one with these images' masks.

        Raises:
            ValueError: if an image has no mask, or several, or one of another size.
        """
        if self.known is not None or isinstance(self.source, list):
            return self
        folder = Path(self.source)
        if not folder.is_dir():
            return self
        masks = []
        for photo, key in zip(photos, keys, strict=True):
            file = find_mask(folder, key)
            masks.append(read_mask(file, self.invert))
            _require_size(masks[-1], size_of(photo.pixels), f"mask {file}")
        chosen = Mask(self.source, self.invert, self.missing)
        chosen._masks = torch.stack(masks)
        return chosen

    def init(self, y: Tensor, sigma_y: Tensor) -> Phi:  # noqa: ARG002
        return Phi(mask=self._observed(y))

    def draw(self, generators: Sequence[Generator], like: Tensor) -> Phi:
        """The given mask or, under `zeros`, a mask of pixels that are missing at random."""
        size = size_of(like)
        if self.source != "zeros":
            return Phi(mask=self._given(len(generators), size).to(like))
        u = torch.stack([torch.rand(1, *size, generator=g) for g in generators])
        # At least the pixel with the largest u stays.
        threshold = u.amax((1, 2, 3), keepdim=True).clamp_max(self.missing)
        return Phi(mask=(u >= threshold).to(like))

    def operator(self, phi: Phi, image_size: Size) -> MaskOperator:  # noqa: ARG002
        return MaskOperator(phi["mask"])

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

    def _observed(self, y: Tensor) -> Tensor:
        """The mask `(B, 1, H, W)` of the images y, checked."""
        zeros = self.source == "zeros"
        mask = not_black(y) if zeros else self._given(len(y), size_of(y)).to(y)
        empty = (mask.amax((1, 2, 3)) == 0).nonzero().flatten().tolist()
        if empty:
            raise ValueError(
                f"no pixel of image {empty[0] + 1} of the batch of {len(y)} is observed: "
                f"check the image and the mask, and whether the mask needs invert"
            )
        return mask

    def _given(self, count: int, size: Size) -> Tensor:
        """The mask of the box or the file, or those of the folder, `(count, 1, H, W)`."""
        if isinstance(self.source, list):
            mask = box_mask(self.source, size, self.invert)
        elif self._masks is not None:
            mask = self._masks
        else:
            raise ValueError(
                f"the masks in {self.source} are matched to files: call for_images first"
            )
        _require_size(mask, size, f"mask {self.source}")
        return mask.expand(count, -1, -1, -1)


def read_mask(path: Path, invert: bool) -> Tensor:
    """`(1, H, W)` mask of an image file: 1 where it is brighter than mid-grey (or darker)."""
    bright = read_image(path).pixels.mean(0, keepdim=True) > 0
    return (bright ^ invert).float()


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
