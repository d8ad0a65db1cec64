"""A blur kernel fitted to a photo and a restoration of it.

    k = argmin ||k * grad x - grad y||^2 + c ||k||^2    over k >= 0, sum k = 1

on the part of the photo where the kernel stays inside x. The smaller half of the gradients of x is
set to zero: what is weak in a restoration is more often wrong than what is strong. Accelerated
projected gradients solve it.

Sources: Cho and Lee, Fast motion deblurring, 2009 (strong gradients alone); Beck and Teboulle, A
fast iterative shrinkage-thresholding algorithm, 2009; Duchi et al., Efficient projections onto the
l1-ball, 2008, figure 1 (the projection).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from d2ir_pl.operators.constants import kept
from d2ir_pl.operators.convolution import fast_size
from d2ir_pl.operators.kernels import padded
from d2ir_pl.operators.linear import per_image, size_of

# Settings were chosen on photographs with synthetic shakes (docs/experiments.md).
WEAK = 0.5
"""Share of the gradients of x that are set to zero."""
KERNEL_WEIGHT = 20.0
"""c for 256x256 pixels in [0, 1]: it grows with the number of pixels."""
DOUBT_WEIGHT = 0.2
"""What c grows by where x is doubtful, over the sum of the squared gradients of x that count."""
ITERATIONS = 100
ROOM = 16
"""What the room for a kernel beside an image is a multiple of, so that kernels of several sides
have the same step length."""


def refitted(
    x: Tensor, y: Tensor, kernels: Sequence[Tensor], doubts: Sequence[float]
) -> list[Tensor]:
    """The kernels `(k, k)` that explain photos by restorations of them, each by itself.

    Args:
        x: `(n, h, w)` restored grey images in [0, 1], of the parts of the scenes that y shows.
        y: `(n, h, w)` grey photos in [0, 1].
        kernels: `(k, k)` of correlations, where the searches start, each with an odd k of its own.
            A fit is the same beside others, to rounding, where their `room_of` is.
        doubts: how doubtful each x is, in [0, 1]. Errors of its gradients count as errors of the
            variables do in a regression, which make a fit too sure: c grows in proportion.
    """
    reaches = [kernel.shape[-1] // 2 for kernel in kernels]
    side = 2 * max(reaches) + 1
    room = room_of(side)
    size = (fast_size(x.shape[-2] + room), fast_size(x.shape[-1] + room))
    gradients, target, inside = _gradients(x, y, reaches, size)
    spectra = torch.fft.rfft2(gradients)
    energy = gradients.square().sum((1, 2, 3))
    least = KERNEL_WEIGHT * x[0].numel() / 256**2
    grown = zip(doubts, energy.unbind(), strict=True)
    weight = torch.stack([least + doubt * DOUBT_WEIGHT * own for doubt, own in grown])
    # The largest eigenvalue is at most the largest power of a frequency.
    bound = spectra.abs().square().sum(1).amax((1, 2)) + weight
    transposed, left_over = spectra / per_image(bound), (1 - weight / bound)[:, None, None]

    def stepped(k: Tensor) -> Tensor:
        """A step down the gradient, whose length is 1 / bound."""
        k_spectra = torch.fft.rfft2(k, s=size).conj()[:, None]
        found = torch.fft.irfft2(spectra * k_spectra, s=size)
        left = torch.addcmul(target, inside, found, value=-1)
        slope = torch.fft.irfft2((transposed * torch.fft.rfft2(left).conj()).sum(1), s=size)
        return torch.addcmul(slope[:, :side, :side], left_over, k)

    k = ahead = torch.stack([padded(kernel, side) for kernel in kernels])
    outside = _outside(k, reaches)
    t = 1.0
    for _ in range(ITERATIONS):
        moved = stepped(ahead)
        following = on_simplex(moved if outside is None else moved.masked_fill_(outside, -math.inf))
        u = (1 + math.sqrt(1 + 4 * t * t)) / 2
        ahead = torch.lerp(k, following, 1 + (t - 1) / u)
        k, t = following, u
    return [padded(own, 2 * reach + 1) for own, reach in zip(k, reaches, strict=True)]


def room_of(side: int) -> int:
    """Pixels beside an image that a fit of kernels of a side has."""
    return -(-(side // 2) // ROOM) * ROOM


def _gradients(
    x: Tensor, y: Tensor, reaches: Sequence[int], size: tuple[int, int]
) -> tuple[Tensor, Tensor, Tensor]:
    """Strong gradients of x, those of y, and 1 where kernels stay inside x; `(n, 2, *size)` each.

    Args:
        x: `(n, h, w)` restored images.
        y: `(n, h, w)` photos.
        reaches: how many pixels each kernel reaches to each side.
        size: height and width of a circle.
    """
    # Gradients of x begin so much later, so that the first entry of k is at the first pixel.
    r = max(reaches)
    gradients, target, inside = x.new_zeros(3, len(x), 2, *size)
    for i, axis in enumerate((-1, -2)):
        d_x, d_y = x.diff(dim=axis), y.diff(dim=axis)
        h, w = size_of(d_y)
        strong = d_x.abs() >= d_x.abs().flatten(1).quantile(WEAK, 1)[:, None, None]
        gradients[:, i, r : r + h, r : r + w] = strong * d_x
        for b, own in enumerate(reaches):
            target[b, i, own : h - own, own : w - own] = d_y[b, own : h - own, own : w - own]
            inside[b, i, own : h - own, own : w - own] = 1
    return gradients, target, inside


def _outside(k: Tensor, reaches: Sequence[int]) -> Tensor | None:
    """Which entries of `(n, side, side)` no kernel of its reach has; None where they have all."""
    if len({*reaches}) == 1:
        return None
    outside, middle = torch.ones_like(k, dtype=torch.bool), k.shape[-1] // 2
    for b, own in enumerate(reaches):
        inner = slice(middle - own, middle + own + 1)
        outside[b, inner, inner] = False
    return outside


def on_simplex(k: Tensor) -> Tensor:
    """The nearest arrays `(..., h, w)` without negative entries whose sum is 1.

    Each is max(k - theta, 0). With entries u_j in descending order, theta is the largest of
    (u_1 + ... + u_j - 1) / j: that grows with j as long as u_j is above it. So it is found without
    asking the device how many entries are left. Entries of minus infinity stay 0.

    Source: Held, Wolfe and Crowder, Validation of subgradient optimization, 1974.
    """
    entries = k.flatten(-2)
    sums, shares = entries.sort(descending=True).values.cumsum(-1), _shares(k, entries.shape[-1])
    theta = torch.addcmul(-shares, sums, shares).amax(-1)[..., None, None]
    return (k - theta).clamp_min(0)


@kept
def _shares(count: int) -> Tensor:
    """1 / j for j = 1, 2, ..."""
    return 1 / torch.arange(1, count + 1)
