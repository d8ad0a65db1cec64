"""How wide the edges of a photo are, which tells a blurred photo from a sharp one.

Sharp photos have steps, whatever else they show, and noise, grain, sharpening and the rounding of
JPEG leave a strong step where it is. A step of height h that is blurred by a Gaussian of width w
has the greatest slope h / sqrt(2 pi (s^2 + w^2)) after smoothing by s more. So the slopes at two
scales give w,

    r = s_1^2 (s_2^2 + w^2) / (s_2^2 (s_1^2 + w^2)),
    w^2 = s_1^2 s_2^2 (1 - r) / (s_2^2 r - s_1^2),

r the ratio of the squared slopes, each times its scale squared. They are compared at the strongest
ridges of the slope, above what the flattest parts of the photo show at each scale: the noise there
is taken off. Weaker ridges, where noise makes up the finer slope, would look sharp. A path of the
camera leaves edges along itself sharp, and smears the others, so the widths are also taken by
direction.

Source of the ratio: Zhuo and Sim, Defocus map estimation from a single image, 2011.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from d2ir_pl.estimators.remembered import remembered

# Scales in pixels of the pairs whose slopes are compared; they begin at 0.8, a factor of sqrt(2)
# apart.
FIRST_SCALE = 0.8
FINE, COARSE = (0, 2), (2, 4)
# Share of the ridges that count, the strongest, and how far they must rise above the noise of their
# own scale, and above that of the finer one with which they are compared.
STRONGEST = 0.25
ABOVE_NOISE, ABOVE_FINER = 3.0, 3.0
# Share of blocks of 16 pixels that are taken for flat.
FLAT = 0.05
BLOCK = 16
# Pixels along the border that do not count, and the fewest ridge pixels that tell anything.
MARGIN = 8
FEWEST, FEWEST_OF_DIRECTION = 30, 15
DIRECTIONS = 8
MAX_WIDTH = 20.0


@dataclass(frozen=True)
class EdgeWidths:
    """Widths in pixels of the blur at the strongest edges of a photo.

    Attributes:
        sharpest: width that a third of the edges stay below, at the finest scales.
        typical: width that two thirds of the edges stay below, at the finest scales.
        widest: width in the direction whose sharper edges are widest, at the finest scales.
        coarse_sharpest, coarse_typical, coarse_widest: the same at scales twice as coarse.
        count: number of pixels on edges; 0 where there are too few to tell anything.
    """

    sharpest: float = 0.0
    typical: float = 0.0
    widest: float = 0.0
    coarse_sharpest: float = 0.0
    coarse_typical: float = 0.0
    coarse_widest: float = 0.0
    count: int = 0


@remembered
def edge_widths(y: Tensor, observed: Tensor | None = None) -> EdgeWidths:
    """The widths of the edges of one photo.

    Args:
        y: `(3, H, W)` in [-1, 1].
        observed: `(1, H, W)`, 1 where a pixel belongs to the photo; None where all do. Edges within
            `MARGIN` pixels of the others do not count.
    """
    if min(y.shape[-2:]) < 3 * MARGIN:
        return EdgeWidths()
    grey = y.float().mean(0)
    inside = torch.zeros_like(grey)
    inside[MARGIN:-MARGIN, MARGIN:-MARGIN] = 1
    if observed is not None:
        hidden = F.max_pool2d(1 - observed.float()[None], 2 * MARGIN + 1, 1, MARGIN)
        inside = inside * (1 - hidden[0, 0])
    slopes = [_slope(grey, FIRST_SCALE * 2 ** (i / 2)) for i in range(max(COARSE) + 1)]
    fine, coarse = (_widths(slopes, pair, inside > 0) for pair in (FINE, COARSE))
    return EdgeWidths(*fine[:3], *coarse[:3], count=int(fine[3]))


def _widths(
    slopes: list[tuple[Tensor, Tensor]], pair: tuple[int, int], inside: Tensor
) -> tuple[float, float, float, float]:
    """The three widths at a pair of scales, and the number of pixels on edges."""
    (fine_x, fine_y), (x, y) = (slopes[i] for i in pair)
    fine, power = fine_x.square() + fine_y.square(), x.square() + y.square()
    fine_floor, floor = _floor(fine, inside), _floor(power, inside)
    ridge = _ridges(x, y, power.sqrt()) & inside
    strength = power.sqrt()[ridge]
    if len(strength) < FEWEST:
        return 0.0, 0.0, 0.0, 0.0
    least = float(strength.kthvalue(max(1, int((1 - STRONGEST) * len(strength)))).values)
    noise = max(ABOVE_NOISE * math.sqrt(floor), ABOVE_FINER * math.sqrt(fine_floor))
    ridge = ridge & (power.sqrt() >= max(least, noise))
    count = int(ridge.sum())
    if count < FEWEST:
        return 0.0, 0.0, 0.0, 0.0
    near = F.max_pool2d(fine[None, None], 3, 1, 1)[0, 0]
    ratio = (near[ridge] - fine_floor).clamp_min(0) / (power[ridge] - floor).clamp_min(1e-9)
    s1, s2 = ((FIRST_SCALE * 2 ** (i / 2)) ** 2 for i in pair)
    rest = (s2 * ratio - s1).clamp_min(1e-3 * s2)
    width = (s1 * s2 * (1 - ratio) / rest).clamp(0, MAX_WIDTH**2).sqrt()
    direction = torch.atan2(y, x)[ridge] / math.pi * DIRECTIONS
    direction = direction.round().long() % DIRECTIONS
    of_direction = [width[direction == d] for d in range(DIRECTIONS)]
    told = [float(w.quantile(0.25)) for w in of_direction if len(w) >= FEWEST_OF_DIRECTION]
    sharpest, typical = width.quantile(width.new_tensor([0.35, 0.65])).tolist()
    return sharpest, typical, max(told, default=sharpest), float(count)


def _slope(grey: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """Slopes along x and y of the smoothed image, times sqrt(2 pi) and the scale."""
    radius = math.ceil(4 * scale)
    t = torch.arange(-radius, radius + 1, dtype=grey.dtype)
    smooth = torch.exp(-((t / scale) ** 2) / 2)
    smooth = smooth / smooth.sum()
    rise = smooth * t / scale * math.sqrt(2 * math.pi)
    padded = F.pad(grey[None, None], (radius,) * 4, mode="replicate")

    def along(rows: Tensor, columns: Tensor) -> Tensor:
        across = F.conv2d(padded, columns[None, None, None])
        return F.conv2d(across, rows[None, None, :, None])[0, 0]

    return along(smooth, rise), along(rise, smooth)


def _floor(power: Tensor, inside: Tensor) -> float:
    """What the flattest blocks show of noise."""
    shown = F.avg_pool2d(torch.where(inside, power, torch.inf)[None, None], BLOCK, ceil_mode=True)
    blocks = shown[shown < torch.inf]
    if len(blocks) == 0:
        return 0.0
    return float(blocks.kthvalue(max(1, int(FLAT * len(blocks)))).values)


def _ridges(x: Tensor, y: Tensor, strength: Tensor) -> Tensor:
    """Where a slope `(H, W)` is no smaller than a pixel before and behind it along itself."""
    height, width = strength.shape
    unit = strength.clamp_min(1e-9)
    rows, columns = torch.meshgrid(
        torch.arange(height, dtype=x.dtype), torch.arange(width, dtype=x.dtype), indexing="ij"
    )

    def beside(sign: int) -> Tensor:
        place = torch.stack(
            [
                2 * (columns + sign * x / unit) / (width - 1) - 1,
                2 * (rows + sign * y / unit) / (height - 1) - 1,
            ],
            -1,
        )
        grid = F.grid_sample(
            strength[None, None], place[None], align_corners=True, padding_mode="border"
        )
        return grid[0, 0]

    return (strength >= beside(1)) & (strength >= beside(-1)) & (strength > 0)
