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

import torch
from torch import Tensor

from d2ir_pl.operators.constants import kept
from d2ir_pl.operators.convolution import fast_size
from d2ir_pl.operators.linear import size_of

# Settings were chosen on photographs with synthetic shakes (docs/experiments.md).
WEAK = 0.5
"""Share of the gradients of x that are set to zero."""
KERNEL_WEIGHT = 20.0
"""c for 256x256 pixels in [0, 1]: it grows with the number of pixels."""
DOUBT_WEIGHT = 0.2
"""What c grows by where x is doubtful, over the sum of the squared gradients of x that count."""
ITERATIONS = 100


def refitted(x: Tensor, y: Tensor, kernel: Tensor, doubt: float = 0.0) -> Tensor:
    """The kernel `(k, k)` that explains a photo by a restoration of it.

    Args:
        x: `(h, w)` restored grey image in [0, 1], of the part of the scene that y shows.
        y: `(h, w)` grey photo in [0, 1].
        kernel: `(k, k)` of a correlation, where the search starts; k odd.
        doubt: how doubtful x is, in [0, 1]. Errors of its gradients count as errors of the
            variables do in a regression, which make a fit too sure: c grows in proportion.
    """
    side = kernel.shape[-1]
    r = side // 2
    size = (fast_size(x.shape[-2] + r), fast_size(x.shape[-1] + r))
    # Gradients of x begin r pixels later, so that the first entry of k is at the first pixel.
    gradients, target, inside = x.new_zeros(3, 2, *size)
    for i, axis in enumerate((-1, -2)):
        d_x, d_y = x.diff(dim=axis), y.diff(dim=axis)
        h, w = size_of(d_y)
        strong = d_x.abs() >= d_x.abs().flatten().quantile(WEAK)
        gradients[i, r : r + h, r : r + w] = strong * d_x
        target[i, r : h - r, r : w - r] = d_y[r : h - r, r : w - r]
        inside[i, r : h - r, r : w - r] = 1
    spectra = torch.fft.rfft2(gradients)
    energy = gradients.square().sum()
    weight = KERNEL_WEIGHT * x.numel() / 256**2 + doubt * DOUBT_WEIGHT * energy
    # The largest eigenvalue is at most the largest power of a frequency.
    bound = spectra.abs().square().sum(0).max() + weight
    transposed, left_over = spectra / bound, 1 - weight / bound

    def stepped(k: Tensor) -> Tensor:
        """A step down the gradient, whose length is 1 / bound."""
        found = torch.fft.irfft2(spectra * torch.fft.rfft2(k, s=size).conj(), s=size)
        left = torch.addcmul(target, inside, found, value=-1)
        slope = torch.fft.irfft2((transposed * torch.fft.rfft2(left).conj()).sum(0), s=size)
        return torch.addcmul(slope[:side, :side], left_over, k)

    k = ahead = kernel
    t = 1.0
    for _ in range(ITERATIONS):
        following = on_simplex(stepped(ahead))
        u = (1 + math.sqrt(1 + 4 * t * t)) / 2
        ahead = torch.lerp(k, following, 1 + (t - 1) / u)
        k, t = following, u
    return k


def on_simplex(k: Tensor) -> Tensor:
    """The nearest array without negative entries whose sum is 1.

    It is max(k - theta, 0). With entries u_j in descending order, theta is the largest of
    (u_1 + ... + u_j - 1) / j: that grows with j as long as u_j is above it. So it is found without
    asking the device how many entries are left.

    Source: Held, Wolfe and Crowder, Validation of subgradient optimization, 1974.
    """
    sums, shares = k.flatten().sort(descending=True).values.cumsum(0), _shares(k, k.numel())
    return (k - torch.addcmul(-shares, sums, shares).amax()).clamp_min(0)


@kept
def _shares(count: int) -> Tensor:
    """1 / j for j = 1, 2, ..."""
    return 1 / torch.arange(1, count + 1)
