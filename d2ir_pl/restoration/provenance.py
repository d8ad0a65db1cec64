"""How much of a restored image its photo tells, and how much the prior has filled in.

The linear solve that makes an image consistent with a photo knows this. With A the derivative of
the degradation, sigma the noise and tau_k the amplitude of details of size k,

    R_k = (A^T A + sigma^2 / tau_k^2)^-1 A^T A

takes the true details to what the photo tells of them (the resolution matrix of inverse theory).
R_k is 1 where the photo shows them above its noise, and 0 where it says nothing: in a hole, and
at frequencies that a blur has taken. The share that is filled in at a pixel is 1 - (R_k v, v) /
(v, v), around it, for white noise v of that size. Where A does the same to all colours, R_k does
too, and the noise of a single one is enough.

Source: Backus and Gilbert, The resolving power of gross earth data, 1968; the inner products with
white noise: Hutchinson, A stochastic estimator of the trace of the influence matrix, 1990.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from d2ir_pl.estimators.noise_spectrum import enlarge, reduce_half
from d2ir_pl.operators.freed_memory import give_back, one_by_one
from d2ir_pl.operators.linear import Size, colours_alike, joined, per_image, size_of
from d2ir_pl.operators.opponent import from_opponent, to_opponent
from d2ir_pl.restoration.data_step import data_step
from d2ir_pl.restoration.problem import Problem, mean_square
from d2ir_pl.restoration.result import Provenance, Restoration

_logger = logging.getLogger(__name__)

SCALES = 4
"""Number of sizes of details: 2 to 4 pixels, and each twice as large as the one before."""
ITERATIONS = 4
"""Conjugate-gradient iterations of a solve; more change the share by less than 0.01."""
CELL = 1
"""Side in pixels of the squares over which the finest details are looked at, with those beside
them; for each further size it is twice as large. With 3, holes of 40 pixels are half told."""
FAINT = 2 / 255
"""Amplitude of details below which they hardly count, in [-1, 1]."""
MOST_KEPT = 2**22
"""Values of the noise of a size of details, at most, if it is kept for other photos as large."""


@torch.no_grad()
def provenance(problem: Problem, restoration: Restoration) -> Provenance:
    """What of restored images comes from their photos, and what from the prior.

    Args:
        problem: what was to be solved.
        restoration: its solution.
    """
    x0 = restoration.x0
    size = size_of(x0)
    x = problem.degradation.frame.embed(x0)
    operator, residual = problem.linearize(x, restoration.phi)
    sigma = restoration.sigma_y
    if restoration.model_error is not None:
        sigma = (sigma**2 + restoration.model_error**2).sqrt()
    variance = per_image(problem.sigma_of(residual).square() * (sigma / problem.sigma_y) ** 2)
    whole, colours = size_of(x), 1 if colours_alike(operator) else 3
    del residual, x  # a large photo fills the memory
    give_back(x0)
    # Sums over the sizes, as the maps of a large photo fill the memory.
    filled, weight = (x0.new_zeros(len(x0), 1, *size) for _ in range(2))
    by_size = []
    for k, own in enumerate(details(x0)):
        power = own.square().mean((2, 3), keepdim=True) + FAINT**2
        energy = _around(own.square() + FAINT**2, CELL)
        white, frequencies = _white(x0, (colours, *whole), k)
        v = white.expand(len(x0), *white.shape[1:])
        v = v if colours == 1 else from_opponent(v * power.sqrt())
        del own, white
        give_back(x0)
        # Noise spreads evenly over all frequencies, of which details of this size are a share.
        rho = variance * frequencies / power.mean(1, keepdim=True)
        nothing = v.new_zeros(()).expand_as(v)
        told = data_step(operator, operator.forward(v), nothing, rho, ITERATIONS)[0]
        # What lies around the photo is seen by nobody.
        v, told = problem.crop(v), problem.crop(told)
        seen, own = (_around(v * other, CELL * 2**k) for other in (told, v))
        del v, told
        # A small photo has no details of the largest sizes, of which nothing is filled in then.
        share = torch.where(own > 0, 1 - seen / own, 0)
        share, energy = (
            F.interpolate(values, size, mode="bilinear") for values in (share.clamp(0, 1), energy)
        )
        own_filled = share * energy
        by_size.append(own_filled.sum((1, 2, 3)) / energy.sum((1, 2, 3)))
        filled += own_filled
        weight += energy
        del own_filled, energy, share
        give_back(x0)
    return Provenance(
        filled / weight,
        torch.stack(by_size, 1),
        filled.sum((1, 2, 3)) / weight.sum((1, 2, 3)),
        left_over(problem, restoration),
    )


def left_over(problem: Problem, restoration: Restoration) -> Tensor:
    """`(B, SCALES)` what is left unexplained of photos at each size of details, over their noise.

    With r the residual, N its number of values at the frequencies of a size and F the unitary
    Fourier transform, it is sqrt(sum |F r|^2 / N) / sigma_y, which is 1 for white noise. Values of
    which the photo says nothing are not counted. NaN where there are no such frequencies.

    Args:
        problem: what was to be solved.
        restoration: its solution.
    """
    if restoration.reblurred is None:
        return restoration.x0.new_full((len(restoration.x0), SCALES), math.nan)
    residual = problem.residual_of(restoration.reblurred, restoration.phi)
    share = restoration.residual / mean_square(residual).clamp_min(1e-20)
    if residual.shape != problem.y.shape:  # coefficients
        residual, share = problem.y - restoration.reblurred, torch.ones_like(share)
    planes = residual.flatten(1, -3)
    power: Tensor | float = 0.0
    for part in one_by_one(planes):
        power = power + torch.fft.rfft2(part, norm="ortho").abs().square().sum(1, keepdim=True)
    bands, counts = _bands(size_of(residual), planes.device)
    means = torch.where(bands, power, 0).sum((2, 3)) / (planes.shape[1] * counts)
    return (share[:, None] * means).sqrt() / restoration.sigma_y[:, None]


def with_provenance(problem: Problem, restoration: Restoration) -> Restoration:
    """A restoration that says where it comes from; itself where that cannot be computed."""
    try:
        return replace(restoration, provenance=provenance(problem, restoration))
    except Exception:  # such as memory that runs out: the restoration is there all the same
        _logger.info("where the restoration comes from is not known", exc_info=True)
        return restoration


def details(x: Tensor) -> Iterator[Tensor]:
    """The details of images of each size in opponent colours, at resolutions that hold them."""
    x = to_opponent(x)
    for _ in range(SCALES):
        smaller = reduce_half(x)
        own = [x - enlarge(smaller, x)]
        x = smaller
        yield own.pop()  # which is not kept here


def _white(like: Tensor, size: tuple[int, int, int], k: int) -> tuple[Tensor, float]:
    """White noise of the frequencies of a size of details, and their share of all frequencies."""
    if math.prod(size) > MOST_KEPT:
        fine, share = _drawn(size, k)
        return fine.to(like), share
    return _kept_noise(size, k, like.device, like.dtype)


@lru_cache(maxsize=SCALES)  # those of the last size of photos
def _kept_noise(
    size: tuple[int, int, int], k: int, device: torch.device, dtype: torch.dtype
) -> tuple[Tensor, float]:
    fine, share = _drawn(size, k)
    return fine.to(device, dtype), share


def _drawn(size: tuple[int, int, int], k: int) -> tuple[Tensor, float]:
    """`_white` on the CPU, `(1, C, H, W)` for a size (C, H, W)."""
    drawn = torch.randn(1, *size, generator=Generator().manual_seed(k))
    band, s = _frequencies(*size[1:], k), size[1:]
    parts = [torch.fft.irfft2(torch.fft.rfft2(part) * band, s=s) for part in one_by_one(drawn)]
    fine = joined(parts, 1)
    return fine, max(float(fine.square().mean()), 1e-6)


@lru_cache(maxsize=1)  # those of the last size of photos
def _bands(size: Size, device: torch.device) -> tuple[Tensor, Tensor]:
    """`_frequencies` of all sizes of details, `(SCALES, h, w // 2 + 1)`, and their numbers."""
    bands = torch.stack([_frequencies(*size, k) for k in range(SCALES)]).to(device)
    return bands, bands.sum((1, 2))


def _frequencies(height: int, width: int, k: int) -> Tensor:
    """Which values of `rfft2` belong to the k-th size of details."""
    rows, columns = torch.fft.fftfreq(height)[:, None], torch.fft.rfftfreq(width)
    highest = torch.maximum(rows.abs(), columns)
    return (highest > 2.0 ** -(k + 2)) & (highest <= 2.0 ** -(k + 1))


def _around(values: Tensor, cell: int) -> Tensor:
    """`(B, 1, h, w)`: sums over the channels, and means over squares and those beside them."""
    total = values.sum(1, keepdim=True)
    cell = min(cell, *size_of(total))
    if cell > 1:
        total = F.avg_pool2d(total, cell, ceil_mode=True, count_include_pad=False)
    return F.avg_pool2d(total, 3, 1, 1, count_include_pad=False)
