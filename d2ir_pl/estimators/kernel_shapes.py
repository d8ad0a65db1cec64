"""What makes an array a blur kernel: no negative entries, sum 1, its centroid in the middle."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from d2ir_pl.operators.kernels import kernel_centroid

EMPTY = 1e-9
"""Largest entry below which an array is no kernel."""
NOTHING = 1e-6
"""Part of the largest entry of a kernel up to which an entry holds nothing."""
FLOOR = 0.05
"""Entries of a kernel below this part of the largest one are noise."""
ISLAND = 0.1
"""Share of the sum of a kernel that a connected part needs to be kept at all."""
BORDER = 0.1
"""Width of the margin of a kernel that `cut_off` looks at, over its side."""
CENTRINGS, RINGING = 4, 0.03
"""Shifts that centre a kernel, and the part of its largest entry below which they ring."""


def trimmed(kernel: Tensor) -> Tensor:
    """The kernel `(k, k)` without a margin of entries that hold nothing, k odd and at least 3."""
    middle = kernel.shape[-1] // 2
    places = (kernel > NOTHING * kernel.max()).nonzero() - middle
    reach = max(1, int(places.abs().max())) if len(places) else 1
    inner = slice(middle - reach, middle + reach + 1)
    kernel = kernel[inner, inner]
    return kernel / kernel.sum()


def cleaned(kernel: Tensor, islands: bool) -> Tensor:
    """Put an array on the simplex without its small entries, and centre it by whole pixels.

    Args:
        kernel: `(k, k)`.
        islands: whether small parts that do not touch the others are removed.
    """
    kernel = kernel.nan_to_num(0, 0, 0).clamp_min(0)
    if kernel.max() < EMPTY:  # one that leaves a photo as it is
        kernel[kernel.shape[0] // 2, kernel.shape[1] // 2] = 1
    kernel = kernel * (kernel >= FLOOR * kernel.max())
    if islands:
        kernel = _without_islands(kernel)
    kernel = kernel / kernel.sum()
    side = kernel.shape[-1]
    x, y = kernel_centroid(kernel[None])[0].round().long().tolist()
    kernel = F.pad(kernel, (side,) * 4)[side + y : 2 * side + y, side + x : 2 * side + x]
    return kernel / kernel.sum().clamp_min(1e-12)


def cut_off(kernel: Tensor) -> float:
    """Share of the sum of a kernel `(k, k)` that lies in the outer tenth of its sides.

    A path that was found within them leaves it empty. Where nothing was found, or what is there
    goes on outside, it is not.
    """
    half = kernel.shape[-1] // 2
    offset = (torch.arange(kernel.shape[-1], device=kernel.device) - half).abs()
    outer = torch.maximum(offset[:, None], offset) > half - max(1, round(BORDER * len(offset)))
    return float(kernel[outer].sum() / kernel.sum())


def centred(kernel: Tensor) -> Tensor:
    """Move the centroid of a kernel `(k, k)` into its middle by parts of a pixel.

    It is done by Fourier shifts. A shift makes small entries of both signs, whose removal moves
    the centroid again.
    """
    side, room = kernel.shape[-1], kernel.shape[-1] // 2 + 1
    size = side + 2 * room
    spectrum = torch.fft.rfft2(F.pad(kernel, (room,) * 4))
    f_y = torch.fft.fftfreq(size, device=kernel.device)[:, None]
    f_x = torch.fft.rfftfreq(size, device=kernel.device)
    shift, moved = torch.zeros(2, device=kernel.device), kernel
    for _ in range(CENTRINGS):
        shift = shift + kernel_centroid(moved[None])[0]
        turned = spectrum * torch.exp(2j * math.pi * (f_x * shift[0] + f_y * shift[1]))
        moved = torch.fft.irfft2(turned, s=(size, size))[room:-room, room:-room].clamp_min(0)
        moved = moved * (moved >= RINGING * moved.max())
        moved = moved / moved.sum().clamp_min(1e-12)
    return moved


def likeness(a: Tensor, b: Tensor) -> float:
    """The cosine of two kernels, of any sides, at their best shift."""
    size = (a.shape[-1] + b.shape[-1],) * 2
    product = torch.fft.rfft2(a, s=size) * torch.fft.rfft2(b, s=size).conj()
    return float(torch.fft.irfft2(product, s=size).max() / (a.norm() * b.norm()))


def _without_islands(kernel: Tensor) -> Tensor:
    """Remove the connected parts of a kernel that hold less than a share of its sum.

    The largest stays where all of them do.
    """
    inside = kernel > 0
    label = torch.arange(1.0, kernel.numel() + 1).view_as(kernel) * inside
    while True:  # the largest label spreads over each part
        spread = F.max_pool2d(label[None, None], 3, 1, 1)[0, 0] * inside
        if torch.equal(spread, label):
            break
        label = spread
    index = label.long().flatten()
    mass = kernel.new_zeros(kernel.numel() + 1).index_add(0, index, kernel.flatten())
    least = torch.minimum(ISLAND * kernel.sum(), mass.max())
    return kernel * (mass[index] >= least).view_as(kernel)
