"""Parameters of a blur of any shape, read off the power spectrum of the blurred photo.

Natural images have a power spectrum close to a power law of the spatial frequency f. A kernel with
transfer function K multiplies it by |K(f)|^2, and white noise adds a constant:

    P(f) = c |f|^-a |K(f)|^2 + n.

The periodogram, averaged over cells of the frequency plane with m values each, I, follows P but for
two errors of its logarithm: chance, with variance 1 / m, and what sets one photo apart from the
law, with variance tau^2. The kernel and c minimise

    sum_cells (log I - log P)^2 / (tau^2 + 1 / m).

Whittle's likelihood (see `spectrum.py`) has no tau. A few cells at the zeros of K then decide, and
it read one path in fifteen at half its length. The zeros also give the sum many local minima, so a
grid is searched first, and then the surroundings of its best points.

A scene of few directions, as a fence, has little power across them, which looks like a blur. So
where parameters are looked for, the law has directions u of its own,

    P(f) = c |f|^-a |K(f)|^2 exp(sum_j u_j b_j(f)) + n,

with b as in `scene_directions.py`, and the distance of u from what photographs have is a cost too.
Of sizes that explain a photo about as well, the least is taken: too little sharpening loses some
of the detail, and too much invents more. Lines in a scene are left, which any size explains the
better the larger it is: a size counts only if larger ones explain the photo worse.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Self

import torch
from torch import Tensor

from d2ir_pl.estimators.noise_level import grey_variance
from d2ir_pl.estimators.periodogram import MIN_FREQUENCY, cell_means, periodogram
from d2ir_pl.estimators.remembered import remembered
from d2ir_pl.estimators.scene_directions import misfit_of_scenes

# How often the spacing of the grid is halved around its best point.
REFINEMENTS = 5
# How many points of the grid are refined.
STARTS = 10
# Iterations that fit the scale c; more change nothing.
SCALE_ITERATIONS = 3
# By how much a size may explain a photo worse than another, to be taken for as good as that.
AS_GOOD = 5.0
# tau: how far the logarithm of a photo's power strays from the law.
LAW_SCATTER = 0.5


def most_likely_kernel(
    y: Tensor,
    sigma_y: Tensor,
    candidates: Sequence[Tensor],
    kernel: Callable[[Tensor], Tensor],
    rounded: bool = False,
) -> Tensor:
    """The parameters whose kernel best explains each image's power spectrum.

    Args:
        y: `(B, C, H, W)` blurred, noisy images.
        sigma_y: `(B,)` standard deviation of the noise of one channel, in the units of y.
        candidates: for each of P parameters, evenly spaced values, or a single known one. The
            first ones stand for a sharp image: an image that says nothing gets them.
        kernel: from parameters `(N, P)` in double precision to kernels `(N, k, k)`, k odd.
        rounded: whether a compression has rounded detail below sigma_y away.

    Returns:
        `(B, P)` parameters, less than one spacing away from a candidate.

    Source: the law, Field 1987, and Whittle 1953, as in `spectrum.py`.
    """
    columns = [values.double() for values in candidates]
    grid = torch.cartesian_prod(*columns).view(-1, len(columns))
    if len(grid) == 1:
        return grid.to(y).expand(len(y), -1).clone()
    search = _Search(tuple(columns), grid, kernel(grid), kernel, rounded)
    photos, sigmas = y.detach().cpu().split(1), sigma_y.detach().cpu().split(1)
    found = [_most_likely(*one, search) for one in zip(photos, sigmas, strict=True)]
    return torch.stack(found).to(y)


@dataclass(frozen=True, eq=False)
class _Search:
    """Where parameters are looked for.

    Attributes:
        columns: evenly spaced values of each parameter.
        grid: `(N, P)` all of their combinations.
        kernels: `(N, k, k)` the kernels of these.
        kernel: from parameters to kernels.
        rounded: whether detail below the noise was rounded away.
    """

    columns: tuple[Tensor, ...]
    grid: Tensor
    kernels: Tensor
    kernel: Callable[[Tensor], Tensor] = field(compare=False)
    rounded: bool


@remembered
def _most_likely(y: Tensor, sigma_y: Tensor, search: _Search) -> Tensor:
    """`most_likely_kernel` of a batch of one, `(P,)`."""
    grid = search.grid
    (spectrum,) = _spectra(y, sigma_y, 3 * search.kernels.shape[-1] + 1)
    if search.rounded:
        spectrum = spectrum.above_rounding()
    if not spectrum.shows_signal():
        return grid[0]
    cost = spectrum.cost_of_scenes(search.kernels).view(len(search.columns[0]), -1)
    # One start for each value of the first parameter: grid points next to each other lead to the
    # same minimum, and a narrow minimum may look shallow from a point of the grid.
    profile = cost.amin(1)
    lowest = profile[: _before_the_end(profile.tolist())].argsort(stable=True)[:STARTS]
    starts = grid.view(*cost.shape, -1)[lowest, cost.argmin(1)[lowest]]
    return _refined(starts, search.columns, spectrum, search.kernel)


def _before_the_end(profile: Sequence[float]) -> int:
    """How many sizes there are before the misfit falls toward the largest one.

    A size is told by a least misfit between larger and smaller ones. The lines of a scene look
    blurred by whatever is largest.
    """
    count = len(profile)
    while count > 1 and profile[count - 1] < profile[count - 2]:
        count -= 1
    return count


def spectral_misfit(y: Tensor, sigma_y: Tensor, kernels: Tensor) -> Tensor:
    """The misfit `(B, N)` of each image's power spectrum to each of N kernels.

    Only comparisons between the kernels of one image mean something. A spectrum does not see the
    phase of a kernel's transfer function.

    Args:
        y: `(B, C, H, W)` blurred, noisy images.
        sigma_y: `(B,)` standard deviation of the noise of one channel, in the units of y.
        kernels: `(B, N, k, k)`, k odd.
    """
    spectra = _spectra(y.detach().cpu(), sigma_y.cpu(), 3 * kernels.shape[-1] + 1)
    rows = kernels.double().cpu()
    return torch.stack([s.cost(k) for s, k in zip(spectra, rows, strict=True)]).to(y)


def _refined(
    points: Tensor,
    columns: Sequence[Tensor],
    spectrum: _Spectrum,
    kernel: Callable[[Tensor], Tensor],
) -> Tensor:
    """The point `(P,)` that descents from some points `(M, P)` of a grid lead to.

    Of several that explain the spectrum about as well, it is that of the least first parameter.
    """
    spacing = torch.stack([v[1] - v[0] if len(v) > 1 else v.new_zeros(()) for v in columns])
    # The point itself is the first of its neighbours, to win ties.
    axis = torch.tensor([0.0, -1.0, 1.0], dtype=points.dtype)
    offsets = torch.cartesian_prod(*[axis] * len(columns)).view(-1, len(columns)) * spacing
    rows = torch.arange(len(points))
    for i in range(1, REFINEMENTS + 1):
        near = points[:, None] + offsets / 2**i
        costs = spectrum.cost_of_scenes(kernel(near.flatten(0, 1))).view(len(points), -1)
        points = near[rows, costs.argmin(1)]
    least = costs.amin(1)
    good = points[least <= least.min() + AS_GOOD]
    return good[good[:, 0].argmin()]


@dataclass(frozen=True)
class _Spectrum:
    """Power of one image, averaged over the cells of a coarse grid of frequencies.

    Attributes:
        power: `(F,)` mean of the periodogram in each cell, and `count` how many values it has.
        law: `(F,)` mean of |f|^-a in each cell.
        frequency: `(F, 2)` of each cell in cycles a pixel.
        cell: `(F,)` position of each cell in the flattened `rfft2` of `size` x `size` values.
        size: cells are 1 / size cycles a pixel wide.
        noise: the constant n.
    """

    power: Tensor
    count: Tensor
    law: Tensor
    frequency: Tensor
    cell: Tensor
    size: int
    noise: Tensor

    def shows_signal(self) -> bool:
        """Whether the power exceeds that of the noise by four standard errors of its mean."""
        excess = (self.count * (self.power - self.noise)).sum()
        return len(self.power) >= 8 and bool(excess > 4 * self.noise * self.count.sum().sqrt())

    def above_rounding(self) -> Self:
        """The same where power below the noise says no more than that there is little.

        Rounding to zero leaves cells with far less. That would count against every kernel that
        leaves anything there.
        """
        return replace(self, power=self.power.maximum(self.noise))

    def cost(self, kernels: Tensor) -> Tensor:
        """`(N,)` misfits of kernels `(N, k, k)`, each at its best c, by Gauss-Newton in log c."""
        shape, weight = self._shape(kernels), self._weight()
        log_power = self.power.clamp_min(1e-30).log()
        c = ((self.power - self.noise).sum() / shape.sum(1, keepdim=True)).clamp_min(1e-12)
        for _ in range(SCALE_ITERATIONS):
            model = c * shape + self.noise
            slope = c * shape / model
            step = (slope * (log_power - model.log())) @ weight / (slope**2 @ weight)
            # A large step would leave the range in which it is a good one.
            c = c * step.clamp(-1, 1).exp()[:, None]
        misfit: Tensor = (log_power - (c * shape + self.noise).log()) ** 2 @ weight
        return misfit

    def cost_of_scenes(self, kernels: Tensor) -> Tensor:
        """`(N,)` misfits of kernels `(N, k, k)`, each at its best c and directions of the scene."""
        shape, weight = self._shape(kernels), self._weight()
        return misfit_of_scenes(self.power, weight, self.frequency, shape, self.noise)

    def _shape(self, kernels: Tensor) -> Tensor:
        """`(N, F)`: the law of each kernel without its scale."""
        transfer = torch.fft.rfft2(kernels, s=(self.size, self.size)).flatten(1)[:, self.cell]
        shape: Tensor = self.law * (transfer.real**2 + transfer.imag**2)
        return shape

    def _weight(self) -> Tensor:
        return 1 / (LAW_SCATTER**2 + 1 / self.count)


def _spectra(y: Tensor, sigma_y: Tensor, size: int) -> list[_Spectrum]:
    """The spectrum of each image on cells of 1 / size cycles a pixel."""
    power, frequency = periodogram(y)
    keep = frequency.norm(dim=1) > MIN_FREQUENCY
    power, frequency = power[:, keep], frequency[keep]
    power, law, count, place = cell_means(power, frequency, size)
    cell = place[:, 1] % size * (size // 2 + 1) + place[:, 0]  # 1/2 and -1/2 are the same
    noise = grey_variance(y, sigma_y)
    # A floor keeps the likelihood finite where there is neither signal nor noise.
    floor = 1e-4 * power.mean(1) + 1e-14
    return [
        _Spectrum(p, count, law, place.double() / size, cell, size, n)
        for p, n in zip(power, noise.clamp_min(floor), strict=True)
    ]
