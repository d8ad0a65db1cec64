"""How much of a restoration is kept: less deblurring, some of the grain, a region alone."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from d2ir_pl.batches.observation import Observation
from d2ir_pl.batches.part import IN_PART, part_around
from d2ir_pl.batches.plan import Plan
from d2ir_pl.batches.second_opinion import SIZES, TONES
from d2ir_pl.degradations import Compose, Degradation, Phi
from d2ir_pl.degradations.convolutional_blur import ConvolutionalBlur
from d2ir_pl.degradations.mask_file import find_mask, read_mask
from d2ir_pl.errors import require
from d2ir_pl.image_io import read_apart
from d2ir_pl.operators.linear import size_of
from d2ir_pl.restoration import Restoration

Region = str | list[int]
"""A file or folder of masks, or the box [top, left, height, width]."""

_LEAST = 0.02
"""Share of a blur below which it is taken for none: kernels of that size are those of a point."""
_FEATHER = 1 / 200
"""Width of the border of a region, in the longer side of the photo."""


@dataclass(frozen=True)
class Amount:
    """How much of a restoration x0 of y is kept, with the degradation D that was found.

    With the strength s, the blur in D is left at the share 1 - s of its size, D_s, and so much of
    what the restoration takes for noise comes back:

        x_s = D_s(x0) + max(1 - s, g) (y - D(x0)),

    so that x_0 = y and, without grain g, x_1 = x0; a free kernel becomes (1 - s) k + s delta. y is
    brightened as x0 is; brightness and colours themselves are blended last. What was missing in the
    photo is as x0 has it, within the region.

    Args:
        strength: s in [0, 1].
        keep_grain: g in [0, 1], the share of the grain that comes back.
        region: where the restoration applies: a mask file whose bright (or opaque) pixels are
            restored, a folder of these, or the box [top, left, height, width]; everywhere if None.
            Its border is feathered.

    Raises:
        ValueError: if a number is out of its range, or the region is no file, folder or box.
    """

    strength: float = 1.0
    keep_grain: float = 0.0
    region: Region | None = None

    def __post_init__(self) -> None:
        require("strength", self.strength, 0, 1, remedy="where 1 is all of the restoration")
        require("keep_grain", self.keep_grain, 0, 1, remedy="the share that is kept")
        region = self.region
        if isinstance(region, list):
            if len(region) != 4 or min(region[:2]) < 0 or min(region[2:]) < 1:
                raise ValueError(
                    f"region {region} must be [top, left, height, width] in pixels, the first two "
                    "at least 0 and the others at least 1"
                )
        elif region is not None and not Path(region).exists():
            raise ValueError(
                f"region {region} does not exist: give a mask file, a folder of masks, or a box "
                "[top, left, height, width]"
            )

    @property
    def whole(self) -> bool:
        """Whether all of the restoration is kept."""
        return self.strength == 1 and self.keep_grain == 0 and self.region is None

    @torch.no_grad()
    def part_of(self, observation: Observation) -> Observation | None:
        """The part of a photo that has to be restored; None where that is the whole.

        Raises:
            ValueError: if there is no mask for the photo, or the region holds none of its pixels or
                has another shape.
        """
        if self.region is None or observation.y.ndim != 4:
            return None
        return part_around(observation, self._inside(observation, size_of(observation.y)))

    @torch.no_grad()
    def applied(
        self, restoration: Restoration, observation: Observation, plan: Plan
    ) -> Restoration:
        """The restoration with so much of it as is kept; its residual stays as it is.

        Args:
            restoration: of one photo.
            observation: the photo.
            plan: how it was restored.

        Raises:
            ValueError: if there is no mask for the photo, or the region holds none of its pixels or
                has another shape, or the photo is a scene of several exposures.
        """
        if self.whole:
            return restoration
        if observation.y.ndim != 4:
            raise ValueError("strength, keep_grain and region are not for scenes: leave them out")
        x0, phi, family = restoration.x0, restoration.phi, plan.degradation
        y = observation.y.to(x0)
        lifted = family.frame.crop(family.lift(y, phi))
        before = y if size_of(y) == size_of(x0) else lifted
        found = self._gentler(x0, lifted, before, family, phi)
        missing = _missing(observation, size_of(x0))
        share = torch.full_like(x0[:, :1], self.strength)
        if self.region is not None:
            inside = self._inside(observation, size_of(before)).to(x0)
            found = inside * found + (1 - inside) * before
            missing = None if missing is None else missing.to(x0) * (inside > 0)
            share = inside * share
        if missing is not None:
            found = torch.where(missing.to(x0) == 1, x0, found)
            share = torch.where(missing.to(x0) == 1, 1, share)
        told = restoration.provenance
        told = None if told is None else told.of_share(share)
        restoration = restoration.without_intervals(IN_PART)
        return replace(restoration, x0=found.clamp(-1, 1), provenance=told)

    def _gentler(
        self, x0: Tensor, lifted: Tensor, before: Tensor, family: Degradation, phi: Phi
    ) -> Tensor:
        s, parts = self.strength, [(family, phi)]
        if s == 1 and self.keep_grain == 0:
            return x0
        if isinstance(family, Compose):
            parts = family.split(phi)
        blurred, weaker = x0, x0
        for part, own in parts:
            if isinstance(part, ConvolutionalBlur):
                blurred, weaker = _blurred(blurred, part, own), _weaker(weaker, part, own, 1 - s)
        found = weaker + max(1 - s, self.keep_grain) * (lifted - blurred)
        tones = [(part, own) for part, own in parts if isinstance(part, TONES)]
        if not tones or s == 1:
            return found
        as_before = found
        for part, own in tones:
            as_before = part(as_before, own)
        blended = s * found + (1 - s) * as_before
        return before if s == 0 else blended

    def _inside(self, observation: Observation, size: tuple[int, int]) -> Tensor:
        """`(1, 1, H, W)` in [0, 1], the share of the restoration at each pixel."""
        region = self.region
        height, width = size_of(observation.y)
        if isinstance(region, list):
            top, left, rows, columns = region
            inside = torch.zeros(1, 1, height, width)
            inside[..., top : top + rows, left : left + columns] = 1
        else:
            path = Path(str(region))
            path = find_mask(path, observation.sample.item.key) if path.is_dir() else path
            inside = _bright(path)[None]
            if size_of(inside) != (height, width):
                theirs = "{}x{}".format(*size_of(inside))
                raise ValueError(f"region {path} is {theirs}, not {height}x{width} as the photo")
        if not bool(inside.any()):
            raise ValueError(
                f"region {region} holds no pixel of this photo of {height}x{width}: nothing would "
                "be restored"
            )
        inside = F.interpolate(inside, size, mode="bilinear")
        radius = max(1, round(_FEATHER * max(size)))
        for _ in range(2):  # two boxes are a triangle
            inside = _mean_along(_mean_along(inside, radius).mT, radius).mT
        return inside


def _mean_along(x: Tensor, radius: int) -> Tensor:
    """The mean of each pixel and those so near in its row, beyond whose ends its last ones are."""
    padded = F.pad(x, [radius, radius, 0, 0], "replicate")
    return F.avg_pool2d(padded, (1, 2 * radius + 1), stride=1)


def _bright(path: Path) -> Tensor:
    """`(1, H, W)`, 1 where a mask is bright or opaque; a mask of one value is all or nothing."""
    photo = read_apart(path)
    values = photo.pixels if photo.alpha is None else photo.alpha
    if float(values.min()) == float(values.max()):
        return torch.full_like(values[:1], float(photo.pixels.max() > 0))
    return read_mask(path).value


def _blurred(x0: Tensor, part: ConvolutionalBlur, phi: Phi) -> Tensor:
    blurred: Tensor = part(part.frame.embed(x0), phi)
    return blurred


def _weaker(x0: Tensor, part: ConvolutionalBlur, phi: Phi, share: float) -> Tensor:
    """An image under a share of a blur."""
    if share < _LEAST:
        return x0
    sizes = {n: v + torch.tensor(share).log() for n, v in phi.items() if n in SIZES}
    if sizes:
        return _blurred(x0, part, part.canonicalize(phi.detach().replace(**sizes)))
    return share * _blurred(x0, part, phi) + (1 - share) * x0


def _missing(observation: Observation, size: tuple[int, int]) -> Tensor | None:
    """`(1, 1, H, W)`, 1 where the photo showed nothing; None if it showed something everywhere."""
    holes, observed = observation.degradation.holes, observation.observed
    missing = [m for m in (holes, None if observed is None else 1 - observed) if m is not None]
    if not missing:
        return None
    whole = torch.stack([m.float().cpu() for m in missing]).amax(0)
    return F.interpolate(whole, size, mode="nearest")
