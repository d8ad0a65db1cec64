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

from d2ir_pl.operators.convolution import fast_size, wrapped

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
    spectra, targets, inside = [], [], torch.zeros(2, *size, device=x.device)
    energy = 0.0
    for i, axis in enumerate((-1, -2)):
        d_x, d_y = x.diff(dim=axis), y.diff(dim=axis)
        strong = d_x.abs() >= d_x.abs().flatten().quantile(WEAK)
        spectra.append(torch.fft.rfft2(strong * d_x, s=size))
        energy += float((strong * d_x).square().sum())
        target = torch.zeros(size, device=x.device)
        target[: d_y.shape[-2], : d_y.shape[-1]] = d_y
        targets.append(target)
        inside[i, r : d_y.shape[-2] - r, r : d_y.shape[-1] - r] = 1
    s, target = torch.stack(spectra), inside * torch.stack(targets)
    place = torch.arange(side, device=x.device) - r
    rows, columns = place % size[0], place % size[1]
    weight = KERNEL_WEIGHT * x.numel() / 256**2 + doubt * DOUBT_WEIGHT * energy

    def correlated(k: Tensor) -> Tensor:
        spectrum = torch.fft.rfft2(wrapped(k[None], size))
        found: Tensor = torch.fft.irfft2(s * spectrum.conj(), s=size)
        return found

    def gradient(k: Tensor) -> Tensor:
        left = inside * correlated(k) - target
        spectrum = (s * torch.fft.rfft2(left).conj()).sum(0)
        slope: Tensor = torch.fft.irfft2(spectrum, s=size)[rows][:, columns]
        return slope + weight * k

    # The largest eigenvalue is at most the largest power of a frequency.
    bound = float((s.abs() ** 2).sum(0).max()) + weight
    k = ahead = kernel
    t = 1.0
    for _ in range(ITERATIONS):
        following = on_simplex(ahead - gradient(ahead) / bound)
        u = (1 + math.sqrt(1 + 4 * t * t)) / 2
        ahead = following + (t - 1) / u * (following - k)
        k, t = following, u
    return k


def on_simplex(k: Tensor) -> Tensor:
    """The nearest array without negative entries whose sum is 1.

    It is max(k - theta, 0). With entries u_j in descending order, theta is the largest of
    (u_1 + ... + u_j - 1) / j: that grows with j as long as u_j is above it. So it is found without
    asking the device how many entries are left.

    Source: Held, Wolfe and Crowder, Validation of subgradient optimization, 1974.
    """
    excess = k.flatten().sort(descending=True).values.cumsum(0) - 1
    return (k - (excess / torch.arange(1, k.numel() + 1, device=k.device)).amax()).clamp_min(0)
