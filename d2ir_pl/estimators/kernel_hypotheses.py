"""The kernel of any shape that the edges of a photo show, under a hypothesis.

A power spectrum says how much a kernel blurs each frequency, and nothing of where it moves it: the
path of a camera shake cannot be read off it. Edges say both, because they were sharp. From a coarse
to a fine scale, two problems are solved in turn,

    S = argmin ||k * S - g||^2 + w ||grad S||_0     an image of few, sharp edges
    k = argmin ||k * grad S - grad g||_W^2 + c ||k||^2,    then k >= 0, small entries 0, sum k = 1

with g the grey photo in [0, 1]. The gradients of S are wrong by about as much at every frequency,
but those of white noise grow with it, and would decide alone at the highest. So a frequency counts
by the variance of both, W = 1 / (1 + (n / e)^2 |D|^2), with D that of the gradient and n the noise.
What the noise alone makes of an entry of k is known with that, and no entry below a multiple of it
is kept. Where a threshold m is given, the smallest pixel of every small
patch of S is set to zero if it lies below m: blur makes dark pixels brighter, because brighter ones
reach into them. A kernel and the scene may be shifted against each other without a trace in the
photo, so the centroid of k is moved to its middle: the restored photo then lies where the blurred
one does.

No w, m and side of k suit every photo, and nothing in these two problems tells which one did: what
a kernel is worth is seen in the image that it leads to.

Sources: Xu, Zheng and Jia, Unnatural L0 sparse representation for natural image deblurring, 2013
(S); Wen, Ying, Liu and Truong, A simple local minimal intensity prior and an improved algorithm for
blind image deblurring, 2020 (m); Cho and Lee, Fast motion deblurring, 2009 (k); Fergus et al.,
Removing camera shake from a single photograph, 2006 (scales).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from d2ir_pl.estimators.kernel_shapes import cleaned
from d2ir_pl.operators.convolution import fast_size, transfer_function

# Settings were chosen on photographs with synthetic shakes (docs/experiments.md).
EDGE_DECAY, MIN_EDGE_WEIGHT = 1 / 1.1, 1e-4
"""What a round multiplies w by, and where it stays; m likewise."""
MIN_MINIMAL = 1e-4
PATCH = 0.025
"""Side of the patches whose smallest pixel counts, as a share of that of the photo."""
KERNEL_WEIGHT = 2.0
"""c, for a photo of 256x256 pixels: it grows with the number of pixels."""
EDGE_ERROR = 0.007
"""e, the standard deviation of the error of a gradient of S."""
NOISE_FLOOR = 4.0
"""Entries of k below so many standard deviations of what the noise makes of them are noise."""
KERNEL_ITERATIONS = 25
"""Conjugate-gradient iterations for k."""
ROUNDS = 5
"""Rounds of S and k at every scale."""
MIN_KERNEL = 3
"""Side of the coarsest kernel."""
MAX_COUPLING = 1e5
"""Largest weight of the auxiliary gradient; it is multiplied from 2 w on."""
COUPLING_GROWTH = 2.0


@dataclass(frozen=True)
class Hypothesis:
    """What is assumed about a photo to find its kernel.

    Attributes:
        size: side of the kernel in pixels, odd.
        edge_weight: w at the coarsest scale: how strong edges are that count, for [0, 1].
        minimal: m at the coarsest scale, in [0, 1]; 0 leaves dark pixels alone.
    """

    size: int
    edge_weight: float
    minimal: float = 0.0


def kernel_of_edges(windows: Tensor, hypothesis: Hypothesis, noise: float = 0.0) -> Tensor:
    """The kernel `(size, size)` of a correlation that a hypothesis leads to, centred.

    Args:
        windows: `(N, h, w)` parts of one grey photo in [0, 1], which share the kernel.
        hypothesis: what is assumed.
        noise: standard deviation of their noise, in the same units.

    Returns:
        A kernel without negative entries, with sum 1.
    """
    weight, minimal, size = hypothesis.edge_weight, hypothesis.minimal, hypothesis.size
    kernel = None
    for side in scales(size):
        averaged = noise * side / size
        blurred = periodic(_resized(windows, side / size), side)
        kernel = two_points(side) if kernel is None else _grown(kernel, side)
        inner = round(windows.shape[-2] * side / size), round(windows.shape[-1] * side / size)
        for i in range(ROUNDS):
            sharp = _sharp_edges(blurred, kernel, weight, minimal, inner)
            kernel = _least_squares(sharp, blurred, side, averaged)
            kernel = cleaned(kernel, islands=i == ROUNDS - 1)
            weight = max(EDGE_DECAY * weight, MIN_EDGE_WEIGHT)
            minimal = max(EDGE_DECAY * minimal, MIN_MINIMAL) if minimal else 0.0
    assert kernel is not None
    return kernel


def scales(size: int) -> list[int]:
    """Sides of the kernel from coarse to fine, odd, about a factor of sqrt(2) apart."""
    sides = [size]
    while sides[-1] > MIN_KERNEL:
        side = math.floor(sides[-1] / math.sqrt(2))
        sides.append(max(MIN_KERNEL, min(side + 1 - side % 2, sides[-1] - 2)))
    return sides[::-1]


def _resized(x: Tensor, factor: float) -> Tensor:
    if factor == 1:
        return x
    size = [max(4, round(n * factor)) for n in x.shape[-2:]]
    return F.interpolate(x[None], size, mode="bicubic", antialias=True)[0]


def _grown(kernel: Tensor, side: int) -> Tensor:
    grown = F.interpolate(kernel[None, None], (side, side), mode="bicubic")[0, 0].clamp_min(0)
    return grown / grown.sum().clamp_min(1e-12)


def two_points(side: int) -> Tensor:
    """The smallest blur that starts the search: two equal neighbours."""
    kernel = torch.zeros(side, side)
    kernel[side // 2, side // 2 - 1 : side // 2 + 1] = 0.5
    return kernel


def periodic(x: Tensor, margin: int) -> Tensor:
    """Give x `(N, H, W)` a margin at its right and bottom that leads smoothly back to its start.

    The margin blends the mirror images of both ends, and makes sizes for which FFTs are fast.
    """
    for _ in range(2):
        width = min(fast_size(x.shape[-1] + margin) - x.shape[-1], x.shape[-1])
        t = torch.linspace(0, 1, width + 2)[1:-1]
        blend = t * t * (3 - 2 * t)
        mirrored = x.flip(-1)
        after, before = mirrored[..., :width], mirrored[..., -width:]
        x = torch.cat([x, after + blend * (before - after)], -1).mT
    return x


def gradient(x: Tensor) -> tuple[Tensor, Tensor]:
    """Forward differences along x and y on a circle."""
    return torch.roll(x, -1, -1) - x, torch.roll(x, -1, -2) - x


def divergence(h_x: Tensor, h_y: Tensor) -> Tensor:
    """The transpose of `gradient`."""
    return torch.roll(h_x, 1, -1) - h_x + torch.roll(h_y, 1, -2) - h_y


def roughness(size: tuple[int, int]) -> Tensor:
    """`(H, W / 2 + 1)` squared transfer function of the gradient."""
    f_y, f_x = torch.fft.fftfreq(size[0])[:, None], torch.fft.rfftfreq(size[1])
    squares: Tensor = 4 * ((math.pi * f_y).sin() ** 2 + (math.pi * f_x).sin() ** 2)
    return squares


def _sharp_edges(
    g: Tensor, kernel: Tensor, weight: float, minimal: float, inner: tuple[int, int]
) -> Tensor:
    """The images S `(N, H, W)` of sharp edges for periodic g `(N, H, W)`, starting from g."""
    size = (g.shape[-2], g.shape[-1])
    blur = transfer_function(kernel[None], size)[:, 0]
    data, gain, rough = blur.conj() * torch.fft.rfft2(g), blur.abs() ** 2, roughness(size)
    s, coupling = g, 2 * weight
    patch = max(2, int(PATCH * (inner[0] + inner[1]) / 2))
    while coupling < MAX_COUPLING:
        if minimal:
            s = _without_minima(s, patch, minimal)
        s_x, s_y = gradient(s)
        edge = s_x**2 + s_y**2 >= weight / coupling
        pull = torch.fft.rfft2(divergence(edge * s_x, edge * s_y))
        s = torch.fft.irfft2((data + coupling * pull) / (gain + coupling * rough), s=size)
        coupling *= COUPLING_GROWTH
    return s


def _without_minima(s: Tensor, side: int, threshold: float) -> Tensor:
    """Set the smallest pixel of every patch of s `(N, H, W)` to 0 where it is below m."""
    height, width = (n // side * side for n in s.shape[-2:])
    inside = s[..., :height, :width]
    patches = inside.unflatten(-1, (-1, side)).unflatten(-3, (-1, side))  # N, i, side, j, side
    least = patches.amin((-3, -1), keepdim=True)
    low = (patches == least) & (least < threshold)
    kept = torch.where(low, 0, patches).flatten(-4, -3).flatten(-2, -1)
    s = s.clone()
    s[..., :height, :width] = kept
    return s


def _least_squares(sharp: Tensor, blurred: Tensor, side: int, noise: float) -> Tensor:
    """The kernel `(side, side)` before its constraints, by conjugate gradients.

    On a circle the normal equations are a correlation with the autocorrelation of grad S, of which
    the lags within a kernel are enough. Entries that noise alone may have made are 0.
    """
    size = (sharp.shape[-2], sharp.shape[-1])
    s, g = torch.fft.rfft2(sharp), torch.fft.rfft2(blurred)
    rough = roughness(size)
    rough = rough / (1 + rough * (noise / EDGE_ERROR) ** 2)
    power = (rough * s.abs() ** 2).sum(0)
    cross = (rough * (s * g.conj())).sum(0)
    lags = _middle(torch.fft.irfft2(power.to(s.dtype), s=size), 2 * side - 1)
    right = _middle(torch.fft.irfft2(cross, s=size), side)
    ridge = KERNEL_WEIGHT * sharp.numel() / 256**2
    circle = fast_size(3 * side - 2)
    response = torch.fft.rfft2(lags, s=(circle, circle))

    def normal(k: Tensor) -> Tensor:
        spectrum = torch.fft.rfft2(k, s=(circle, circle)) * response
        full: Tensor = torch.fft.irfft2(spectrum, s=(circle, circle))
        return full[side - 1 : 2 * side - 1, side - 1 : 2 * side - 1] + ridge * k

    k = torch.full_like(right, 1 / side**2)
    r = right - normal(k)
    p, rr = r, r.square().sum()
    for _ in range(KERNEL_ITERATIONS):
        a_p = normal(p)
        curvature = (p * a_p).sum()
        # Once a kernel has converged, rounding decides the sign of the curvature.
        step = rr / curvature if curvature > 1e-12 else 0.0
        k, r = k + step * p, r - step * a_p
        rr, before = r.square().sum(), rr
        p = r + rr / before.clamp_min(1e-20) * p
    spread = noise * (rough.mean() / lags[side - 1, side - 1].clamp_min(1e-12)).sqrt()
    return torch.where(k < NOISE_FLOOR * spread, 0, k)


def _middle(x: Tensor, side: int) -> Tensor:
    """The values `(side, side)` around the origin of a circle, which comes to the middle."""
    i = torch.arange(side) - side // 2
    return x[i % x.shape[-2]][:, i % x.shape[-1]]
