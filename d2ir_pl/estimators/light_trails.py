"""Trails that lights leave in a photo while the camera shakes: each has the shape of the kernel.

A lamp far away is a point. In a shaken photo it becomes the path of the camera, as bright as the
lamp, and so do others: bright thin lines of one shape on a dark ground. They show the kernel where
a dark scene has no edges that would. But what is brighter than white was cut off, and no image in
[0, 1] explains it: a trail tells nothing else of the scene, and hides what lies behind it. Letters
on a dark sign have one shape as well. So what is beside trails has to show edges, and soft ones.

Source: Hu, Cho, Wang and Yang, Deblurring low-light images with light streaks, 2014 (that such
trails show the kernel).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from d2ir_pl.estimators.connected_parts import connected_parts
from d2ir_pl.estimators.edge_width import edge_widths
from d2ir_pl.estimators.kernel_shapes import centred, likeness, trimmed
from d2ir_pl.estimators.observed_pixels import grown
from d2ir_pl.estimators.remembered import remembered
from d2ir_pl.operators.kernels import padded

NIGHT = 0.35
"""Median of the brightest channel up to which a photo is dark enough for lamps to leave trails."""
BLOCK, AROUND = 8, 9
"""Side in pixels of the blocks whose means show the ground, and how many of these, each way, have
a median: more than a trail fills."""
HALO = 0.12
"""By how much a trail exceeds the ground, in [0, 1], where it is faintest."""
GAP = 2
"""Pixels by which pieces of a trail are apart at most, over 2."""
LAMP = 0.4
"""By how much the brightest pixel of what no image explains exceeds the ground: a kernel spreads
the light of a pixel over many."""
FAINTEST, ITS_SHAPE = 0.2, 0.7
"""The same for a trail, and the likeness to the kernel that makes it one, however faint it is."""
SHORTEST = 10
"""Least length of a trail in pixels: shorter ones have hardly a shape."""
THIN = 1.8
"""Least square of its length over its area."""
LINE, OF_PEAK = 3.5, 0.25
"""The same for where a trail has this part of its greatest light: 4.2 to 23 for trails of lamps, up
to 3.0 for blurred bright things, which are as alike as blobs are."""
FEWEST, ALIKE = 3, 0.85
"""Trails of one shape that are believed, and their least likeness to each other."""
SLACK_PIXELS, SLACK = 2, 0.1
"""By how much their sides differ at most, in pixels, and in units of themselves."""
MOST = 0.2
"""Share of a photo that lamps hide at most."""
BLURRED, BESIDE = 1.4, 3
"""Width in pixels of the coarse edges beside trails, at least (1.5 to 2.5 in shaken photos, 0 to
1.3 in sharp ones with bright things of one shape, and on plain grounds, which have none), and how
far from the trails they are looked for."""
MARGIN = 3
"""Pixels around a trail that count as hidden as well."""
FAINT = 0.03
"""Entries of the kernel below this part of the largest one are ground."""


@dataclass(frozen=True, eq=False)
class LightTrails:
    """What trails of lights say of a photo.

    Attributes:
        kernel: `(k, k)` of a correlation, centred, with sum 1.
        count: number of trails that have its shape.
        hidden: `(H, W)`, 1 where lamps hide the scene.
    """

    kernel: Tensor
    count: int
    hidden: Tensor


@dataclass(frozen=True, eq=False)
class _Parts:
    """Connected parts of a mask: their number at each of its pixels, and the boxes around them."""

    part: Tensor
    rows: Tensor
    columns: Tensor
    low: Tensor
    high: Tensor

    @classmethod
    def of(cls, mask: Tensor) -> _Parts:
        rows, columns = mask.nonzero().T
        part = connected_parts(mask)
        both, count = torch.stack([rows, columns]), int(part.max()) + 1
        index, zero = part.expand(2, -1), torch.zeros(2, count, dtype=torch.long)
        low = zero.scatter_reduce(1, index, both, "amin", include_self=False)
        high = zero.scatter_reduce(1, index, both, "amax", include_self=False)
        return cls(part, rows, columns, low.T, high.T + 1)

    def greatest(self, values: Tensor) -> Tensor:
        """The largest value of an image in each part."""
        zero = torch.zeros(len(self.low))
        return zero.scatter_reduce(0, self.part, values[self.rows, self.columns], "amax")

    def mask(self, chosen: Tensor, size: torch.Size) -> Tensor:
        """`(H, W)` 1 in the chosen parts."""
        shown = torch.zeros(size)
        shown[self.rows, self.columns] = chosen[self.part].float()
        return shown


@remembered
def light_trails(y: Tensor, largest: int) -> LightTrails | None:
    """The trails of lights in a photo; None where it shows no three of the same shape.

    Args:
        y: `(3, H, W)` in [-1, 1].
        largest: largest side of a kernel in pixels, odd.
    """
    values = (y.float() + 1) / 2
    if float(values.amax(0).median()) > NIGHT:
        return None
    over = values - _ground(values)
    brightest = over.amax(0)
    bright = (brightest > HALO).float()
    small = min(values.shape[-2:]) < 4 * SHORTEST
    if small or not bool(bright.any()) or float(bright.mean()) > MOST:
        return None
    parts = _Parts.of(grown(bright, GAP) == 1)
    shapes = _shapes(parts, over.mean(0), brightest, largest)
    kernels = _most_alike(list(shapes.values()))
    if not kernels:
        return None
    side = max(len(kernel) for kernel in kernels)
    kernel = torch.stack([padded(kernel, side) for kernel in kernels]).mean(0)
    kernel = centred(trimmed(kernel * (kernel >= FAINT * kernel.max())))
    trails = torch.zeros(len(parts.low), dtype=torch.bool)
    trails[[i for i, shape in shapes.items() if likeness(shape, kernel) > ITS_SHAPE]] = True
    halos, shown = _Parts.of(bright == 1), parts.mask(trails, brightest.shape)
    lamps = (halos.greatest(brightest) > LAMP) | (halos.greatest(shown) > 0)
    hidden = grown(halos.mask(lamps, brightest.shape), MARGIN)
    beside = (1 - grown(hidden, BESIDE))[None]
    if float(hidden.mean()) > MOST or edge_widths(y, beside).coarse_typical < BLURRED:
        return None
    return LightTrails(kernel, len(kernels), hidden)


def _ground(values: Tensor) -> Tensor:
    """What an image `(3, H, W)` shows behind small bright things."""
    height, width = values.shape[-2:]
    means = F.avg_pool2d(values[None], BLOCK, ceil_mode=True)[0]
    wide = F.pad(means[None], (AROUND // 2,) * 4, mode="replicate")[0]
    near = wide.unfold(1, AROUND, 1).unfold(2, AROUND, 1).flatten(-2)
    middle = near.sort(-1).values[..., AROUND**2 // 2]
    ground = F.interpolate(middle[None], scale_factor=BLOCK, mode="bilinear")[0]
    return ground[..., :height, :width]


def _shapes(parts: _Parts, over: Tensor, brightest: Tensor, largest: int) -> dict[int, Tensor]:
    """Kernels `(k, k)` that each part which may be a trail would be of by itself."""
    sides = parts.high - parts.low - 2 * GAP
    own = (brightest > HALO).float()[parts.rows, parts.columns]
    area = torch.zeros(len(sides)).index_add_(0, parts.part, own)
    size = torch.tensor(brightest.shape)
    inside = ((parts.low > 0) & (parts.high < size)).all(1)
    long = sides.amax(1)
    fits = inside & (long >= SHORTEST) & (long + 2 * GAP <= largest)
    fits = fits & (THIN * area <= long**2) & (parts.greatest(brightest) > FAINTEST)
    shapes = {}
    for i in fits.nonzero()[:, 0].tolist():
        (top, left), (bottom, right) = parts.low[i], parts.high[i]
        alone = parts.mask(torch.arange(len(long)) == i, brightest.shape)
        trail = (alone * over.clamp_min(0))[top:bottom, left:right].flip(0, 1)
        side = max(trail.shape) + 1 - max(trail.shape) % 2
        if LINE * float((trail >= OF_PEAK * trail.max()).sum()) > side**2:
            continue
        trail = F.pad(trail, (0, side - trail.shape[1], 0, side - trail.shape[0]))
        shapes[i] = centred(trail / trail.sum())
    return shapes


def _most_alike(shapes: list[Tensor]) -> list[Tensor]:
    """Those of one shape, of which there are most and longest; none where there are too few."""
    best: list[Tensor] = []
    for one in shapes:
        alike = [o for o in shapes if _same_size(one, o) and likeness(one, o) >= ALIKE]
        if len(alike) * len(one) > len(best) * max((len(b) for b in best), default=0):
            best = alike if len(alike) >= FEWEST else best
    return best


def _same_size(one: Tensor, other: Tensor) -> bool:
    return abs(len(one) - len(other)) <= SLACK_PIXELS + SLACK * len(one)
