"""Estimates from images with missing pixels: which are missing, their values, and the noise."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from d2ir_pl.estimators.noise_level import NORMAL_MAD, is_grey
from d2ir_pl.estimators.remembered import remembered
from d2ir_pl.operators.fetching import fetched

# In [-1, 1], where a grey level of 8 bits is 2 / 255: half a level tells black from not black.
BLACK = -1 + 1 / 255
# A black pixel belongs to the photo where at least BLACK_NEIGHBOURS of its 8 neighbours are not
# missing, and their mean is below NEARLY_BLACK, 5 grey levels.
BLACK_NEIGHBOURS = 5
NEARLY_BLACK = -1 + 10 / 255
# In a JPEG a black hole has soft edges. Its middle, at least 3x3 pixels, has at most 2 grey levels
# (below CORE), and its edges reach two blocks further and have at most 24 (below EDGE). Chosen for
# holes in photographs of the training set at qualities 50 to 95 (docs/experiments.md).
CORE = -1 + 5 / 255
EDGE = -1 + 49 / 255
EDGE_WIDTH = 16
# Least number of pairs of neighbours that a noise level is read from, and how far apart they may
# be where the mask leaves few of them.
MIN_PAIRS = 100
MAX_DISTANCE = 4
# Opponent colours: two directions of unit length, orthogonal to grey and to each other.
_OPPONENT = ((2**-0.5, -(2**-0.5), 0.0), (6**-0.5, 6**-0.5, -2 * 6**-0.5))
# Sweeps that smooth a filling at every scale.
SWEEPS = 8


def not_black(y: Tensor) -> Tensor:
    """`(B, 1, H, W)` mask of the pixels that are not exactly black, or lie in a dark part."""
    colour = (y > BLACK).any(1, keepdim=True).to(y)
    ring = y.new_ones(1, 1, 3, 3)
    ring[..., 1, 1] = 0
    count = F.conv2d(colour, ring, padding=1)
    mean = F.conv2d(colour * y.mean(1, keepdim=True), ring, padding=1) / count.clamp_min(1)
    dark = (count >= BLACK_NEIGHBOURS) & (mean < NEARLY_BLACK)
    return torch.where(dark, 1.0, colour)


def not_black_in_jpeg(y: Tensor) -> Tensor:
    """`(B, 1, H, W)` mask of the pixels outside black holes whose edges JPEG has softened.

    The next pixel around a hole counts as missing too, because it is half black.
    """
    brightest = y.amax(1, keepdim=True)
    near = brightest < EDGE
    core = 1 - grown((brightest > CORE).to(y))
    hole = grown(core)
    for _ in range(EDGE_WIDTH):
        hole = torch.where(near, grown(hole), hole)
    return 1 - grown(hole)


def grown(mask: Tensor, radius: int = 1) -> Tensor:
    """A mask `(H, W)` or `(B, C, H, W)` of 0 and 1 with everything within some pixels of its ones.

    Of other images it is the greatest value within some pixels of each.
    """
    planes = mask.view(-1, 1, *mask.shape[-2:])
    rows = F.max_pool2d(planes, (2 * radius + 1, 1), 1, (radius, 0))
    return F.max_pool2d(rows, (1, 2 * radius + 1), 1, (0, radius)).view_as(mask)


def grown_within(allowed: Tensor, mask: Tensor, radius: int) -> Tensor:
    """A mask with everything that hangs together with it within another one, so many pixels far."""
    for _ in range(radius):
        mask = torch.maximum(mask, allowed * grown(mask))
    return mask


def pull_push(y: Tensor, mask: Tensor) -> Tensor:
    """Fill the missing pixels of y from coarser and coarser averages of the observed ones.

    At every scale a few Jacobi sweeps of Laplace's equation follow, which spread what is observed
    smoothly over what is not: a membrane through the observed pixels.

    Args:
        y: `(B, C, H, W)`.
        mask: `(B, 1, H, W)` weights in [0, 1]; pixels of weight 1 stay as they are.

    Source: Gortler et al., The Lumigraph, 1996, section 3.4.1.
    """
    height, width = y.shape[-2:]
    if height == width == 1:
        return y
    margin = (0, width % 2, 0, height % 2)
    weight = 4 * F.avg_pool2d(F.pad(mask, margin), 2)
    total = 4 * F.avg_pool2d(F.pad(mask * y, margin), 2)
    # What one observed pixel says is not averaged away with the emptiness around it.
    coarse = pull_push(total / weight.clamp_min(1e-6), weight.clamp_max(1))
    fine = F.interpolate(coarse, scale_factor=2, mode="bilinear")[..., :height, :width]
    known, missing = mask * y, 1 - mask
    filled, quarter = torch.addcmul(known, missing, fine), missing / 4
    for _ in range(SWEEPS):
        filled = torch.addcmul(known, quarter, _sum_of_neighbours(filled))
    return filled


def fill_unobserved(y: Tensor, observed: Tensor, sigma: Tensor) -> Tensor:
    """Continue the observed pixels of photos over the others, with as much noise.

    So filled, a photo has the noise of the observed pixels everywhere, and no edge that a blur of
    the observed ones would not allow. The noise is the same at every call.

    Args:
        y: `(B, 3, H, W)`; what it holds where nothing is observed does not matter.
        observed: `(B, 1, H, W)`, 1 where a pixel is observed, and 0 elsewhere.
        sigma: `(B,)` standard deviation of the noise in the units of y.
    """
    filled = pull_push(torch.where(observed == 1, y, 0), observed)
    noise = torch.randn(y.shape[1:], generator=torch.Generator().manual_seed(0)).to(y)
    noise = torch.where(is_grey(filled)[:, None, None, None], noise[:1], noise)
    return torch.where(observed == 1, y, filled + sigma[:, None, None, None] * noise)


def hide(y: Tensor, observed: Tensor) -> Tensor:
    """The photos with NaN for what is not observed, as `estimate_sigma` leaves it out."""
    return torch.where(observed == 1, y, torch.nan)


def _sum_of_neighbours(x: Tensor) -> Tensor:
    """The sum of the four neighbours of each pixel, with the edge repeated."""
    x = F.pad(x, (1, 1, 1, 1), mode="replicate")
    across = x[..., 1:-1, 2:] + x[..., 1:-1, :-2]
    return across + x[..., 2:, 1:-1] + x[..., :-2, 1:-1]


def estimate_sigma_of_observed(y: Tensor, mask: Tensor) -> Tensor:
    """Standard deviation of white noise from differences of neighbouring observed pixels.

    sigma = median |d| / 0.6745, d = (y(u) - y(v)) / sqrt(2), u and v side by side or one above the
    other. In colour photos d is taken along the two opponent colours, in which photographs vary
    little and independent noise as much as in any direction; where the channels are equal, along
    grey, and then the photo's texture reads as noise. Differences of exactly 0 (flat, clipped
    areas) are left out. Pixels further apart, up to 4, are compared where the mask leaves fewer
    than 100 pairs, and then the photo's own differences add to the noise; where it leaves none,
    sigma is 0. Clipping at black and white lowers sigma, and so does compression, which smooths
    colour.

    Args:
        y: `(B, 3, H, W)`, any range; the result has the units of y.
        mask: `(B, 1, H, W)`, 1 where observed.

    Returns:
        `(B,)` standard deviations.
    """
    photos, masks = fetched([y, mask])
    return torch.stack([*map(_sigma_of_pairs, photos, masks)]).to(y)


@remembered
def _sigma_of_pairs(y: Tensor, mask: Tensor) -> Tensor:
    """The standard deviation of the noise of one photo."""
    observed = mask[0] > 0
    grey = bool((y == y[:1]).all())
    coordinates = y[:1] if grey else torch.einsum("dc,chw->dhw", y.new_tensor(_OPPONENT), y)
    difference = y.new_empty(len(coordinates), 0)
    for distance in range(1, MAX_DISTANCE + 1):
        pairs = [_differences(coordinates, observed, distance, dim) for dim in (-2, -1)]
        difference = torch.cat([difference, *pairs], 1)
        if difference.shape[1] >= MIN_PAIRS:
            break
    magnitude = difference.abs()[difference != 0]
    if magnitude.numel() == 0:
        return y.new_zeros(())
    return magnitude.median() / NORMAL_MAD / 2**0.5


def _differences(y: Tensor, observed: Tensor, distance: int, dim: int) -> Tensor:
    """`(C, n)` differences of the pairs of observed pixels at a distance along a dimension."""
    count = y.shape[dim] - distance
    if count < 1:
        return y.new_empty(len(y), 0)
    first, second = (y.narrow(dim, start, count) for start in (0, distance))
    both = observed.narrow(dim, 0, count) & observed.narrow(dim, distance, count)
    return (second - first)[:, both]
