"""A blur kernel of any shape, estimated from the edges of one photo.

A power spectrum says how much a kernel blurs each frequency, and nothing of where it moves it: the
path of a camera shake cannot be read off it. Edges say both, because they were sharp. From a coarse
to a fine scale, two problems are solved in turn,

    S = argmin ||k * S - g||^2 + w ||grad S||_0     an image of few, sharp edges
    k = argmin ||k * grad S - grad g||^2 + c ||k||^2,    then k >= 0, small entries 0, sum k = 1

with g the grey photo. A kernel and the scene may be shifted against each other without a trace in
the photo, so the centroid of k is moved to its middle: the restored photo then lies where the
blurred one does. S is no good picture of the scene, but its edges are where those of the scene
are, and k follows from them. Both have closed forms in the Fourier domain (S with an auxiliary
gradient, by half-quadratic splitting).

Sources: Xu, Zheng and Jia, Unnatural L0 sparse representation for natural image deblurring, 2013
(S); Cho and Lee, Fast motion deblurring, 2009 (k); Fergus et al., Removing camera shake from a
single photograph, 2006 (scales).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from d2ir_pl.estimators.kernel_hypotheses import gradient, two_points
from d2ir_pl.estimators.kernel_shapes import centred
from d2ir_pl.operators.convolution import transfer_function
from d2ir_pl.operators.kernels import kernel_centroid

# Settings were chosen on 28 photographs with camera shakes (docs/experiments.md).
# Side in pixels of the part of a large photo that is looked at, its middle.
MAX_SIDE = 512
# Standard deviation that the grey photo is brought to, so that w means the same for any contrast.
CONTRAST = 0.15
# w at the coarsest scale, what a round multiplies it by, and where it stays.
EDGE_WEIGHT, EDGE_DECAY, MIN_EDGE_WEIGHT = 8e-3, 0.9, 1e-4
# c, in units of the mean power of grad S.
KERNEL_WEIGHT = 0.3
# Entries below this part of the largest one are noise.
NOISE_FLOOR = 0.1
# Rounds of S and k at every scale, and the side of the coarsest kernel.
ROUNDS = 5
MIN_KERNEL = 5
# Largest weight of the auxiliary gradient; it doubles from 2 w on.
MAX_COUPLING = 1e3


def edge_kernel(y: Tensor, size: int) -> Tensor | None:
    """The kernel `(size, size)` of a correlation, centred, that blurred an image `(C, H, W)`.

    Computed on the CPU, image by image: thresholds decide, and they must not depend on what else
    is in a batch.

    Args:
        y: one blurred image; colours are averaged.
        size: side of the kernel in pixels, odd.

    Returns:
        None where nothing can be said: an image less than three kernels high or wide, or flat.
    """
    height, width = (min(n, MAX_SIDE) for n in y.shape[-2:])
    if min(height, width) < 3 * size:
        return None
    top, left = (y.shape[-2] - height) // 2, (y.shape[-1] - width) // 2
    grey = y.detach().cpu().float().mean(0)[top : top + height, left : left + width]
    spread = float(grey.std())
    if spread < 1e-3:
        return None
    grey = (grey - grey.mean()) * (CONTRAST / spread)
    kernel, weight = None, EDGE_WEIGHT
    for side in _scales(size):
        blurred = _periodic(_resized(grey, side / size), 2 * side)
        kernel = two_points(side) if kernel is None else _cleaned(_grown(kernel, side), 0.0)
        for _ in range(ROUNDS):
            sharp = _sharp_edges(blurred, kernel, weight)
            kernel = _cleaned(_least_squares(sharp, blurred, side), NOISE_FLOOR)
            weight = max(EDGE_DECAY * weight, MIN_EDGE_WEIGHT)
    assert kernel is not None
    return centred(kernel)


def _scales(size: int) -> list[int]:
    """Sides of the kernel from coarse to fine, odd, about a factor of sqrt(2) apart."""
    sides = [size]
    while sides[-1] > MIN_KERNEL:
        side = round(sides[-1] / math.sqrt(2))
        sides.append(min(side + 1 - side % 2, sides[-1] - 2))
    return sides[::-1]


def _resized(x: Tensor, factor: float) -> Tensor:
    if factor == 1:
        return x
    return F.interpolate(x[None, None], scale_factor=factor, mode="bicubic", antialias=True)[0, 0]


def _grown(kernel: Tensor, side: int) -> Tensor:
    return F.interpolate(kernel[None, None], (side, side), mode="bicubic")[0, 0]


def _periodic(x: Tensor, margin: int) -> Tensor:
    """Give x `(H, W)` a margin at its right and bottom that leads smoothly back to its beginning.

    The margin blends the mirror images of both ends.
    """
    t = torch.linspace(0, 1, margin)
    blend = t * t * (3 - 2 * t)
    for _ in range(2):
        after = x.flip(1)[:, :margin]
        before = x.flip(1)[:, -margin:]
        x = torch.cat([x, after + blend * (before - after)], 1).T
    return x


def _sharp_edges(g: Tensor, kernel: Tensor, weight: float) -> Tensor:
    """The image S of sharp edges for a periodic g; the iteration starts from g."""
    size = (g.shape[0], g.shape[1])
    blur = transfer_function(kernel[None], size)[0, 0]
    point = torch.zeros(size)
    point[0, 0] = 1
    d_x, d_y = (torch.fft.rfft2(d) for d in gradient(point))
    data, gain = blur.conj() * torch.fft.rfft2(g), blur.abs() ** 2
    roughness = d_x.abs() ** 2 + d_y.abs() ** 2
    s, coupling = g, 2 * weight
    while coupling < MAX_COUPLING:
        s_x, s_y = gradient(s)
        edge = s_x**2 + s_y**2 >= weight / coupling
        h_x, h_y = torch.fft.rfft2(edge * s_x), torch.fft.rfft2(edge * s_y)
        pull = d_x.conj() * h_x + d_y.conj() * h_y
        s = torch.fft.irfft2((data + coupling * pull) / (gain + coupling * roughness), s=size)
        coupling *= 2
    return s


def _least_squares(sharp: Tensor, blurred: Tensor, side: int) -> Tensor:
    """The kernel k `(side, side)` before its constraints, for periodic images."""
    pairs = zip(gradient(sharp), gradient(blurred), strict=True)
    spectra = [(torch.fft.rfft2(s), torch.fft.rfft2(b)) for s, b in pairs]
    power = torch.stack([s.abs() ** 2 for s, _ in spectra]).sum(0)
    cross = torch.stack([s * b.conj() for s, b in spectra]).sum(0)
    kernel = torch.fft.irfft2(cross / (power + KERNEL_WEIGHT * power.mean()), s=sharp.shape)
    return torch.roll(kernel, (side // 2, side // 2), (0, 1))[:side, :side]


def _cleaned(kernel: Tensor, floor: float) -> Tensor:
    """Put a kernel on the simplex without its small entries, and centre it by whole pixels.

    Args:
        kernel: `(side, side)`.
        floor: share of the largest entry below which entries are removed.
    """
    kernel = _on_simplex(kernel, floor)
    side = kernel.shape[0]
    x, y = kernel_centroid(kernel[None])[0].round().long().tolist()
    kernel = F.pad(kernel, (side,) * 4)[side + y : 2 * side + y, side + x : 2 * side + x]
    return kernel / kernel.sum().clamp_min(1e-12)


def _on_simplex(kernel: Tensor, floor: float) -> Tensor:
    """Set negative entries and those below a share of the largest to 0, and scale to sum 1."""
    kernel = kernel.clamp_min(0)
    kernel = kernel * (kernel >= floor * kernel.max())
    return kernel / kernel.sum().clamp_min(1e-12)
