"""How the variance of a photo's noise depends on its brightness."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from d2ir_pl.estimators.noise_level import (
    BLOCK,
    MARGIN,
    NORMAL_MAD,
    block_activity,
    blocks_of_band,
    estimate_sigma,
    is_grey,
)
from d2ir_pl.estimators.remembered import remembered
from d2ir_pl.operators.opponent import to_opponent

TONES = 8
"""Number of groups of blocks of like brightness."""
FLAT = 0.3
"""Share of the blocks of a group, the flattest ones, that its noise is read off."""
MIN_BLOCKS = 20
"""Fewer flat blocks, counted in each difference of colours, say nothing about a curve."""
LOW = 0.35
"""Quantile of the variances that a curve goes through: texture adds to them, and never takes."""
# Chosen on photographs with white noise and with that of light (docs/experiments.md).
EVIDENT, EXPLAINED = 0.06, 0.35
"""Error in the logarithm of the variance that a curve has to save, at least, over white noise, and
share of that error that it may leave, at most."""
LEAST_RATIO = 1.5
"""Least ratio of the noise of black and white that counts as none of white noise."""
LEAST_SIGMA, LEAST_SIGMA_OF_GREY = 0.04, 0.1
"""Noise in [-1, 1] below which a curve is worth nothing, or is texture where no colours tell."""
RATIOS = torch.logspace(-math.log10(64), math.log10(64), 49, dtype=torch.float64)
"""Ratios of the variance at white to that at black that are tried."""


@dataclass(frozen=True)
class NoiseCurve:
    """The variance of Poisson-Gaussian noise, var(v) = gain v + offset, at intensities v in [0, 1].

    The light has noise of the gain, whose inverse is the number of photons of a white pixel, and
    the electronics of the offset. After a tone curve dark values have more, and the gain is
    negative.

    Args:
        gain: difference of the variances at white and at black.
        offset: variance at black, positive, as is its sum with the gain.
    """

    gain: float
    offset: float

    def mean_variance(self, y: Tensor) -> float:
        """Mean variance over a photo in [-1, 1], NaN where a pixel is not observed, in [0, 1]."""
        return self.gain * float((y.nanmean() + 1) / 2) + self.offset

    def sigma_of(self, y: Tensor) -> float:
        """Root mean square of the noise of such a photo, in its units."""
        return 2 * math.sqrt(self.mean_variance(y))

    @property
    def ratio(self) -> float:
        """Standard deviation at white over that at black."""
        return math.sqrt((self.gain + self.offset) / self.offset)

    @property
    def stabilized_sigma(self) -> float:
        """Standard deviation of the noise of what `stabilize` returns, in [-1, 1]."""
        return 2 / self._most

    def stabilize(self, y: Tensor) -> Tensor:
        """The generalized Anscombe transform, scaled to [-1, 1]: its noise has one variance.

        z(v) = (2 / gain) (sqrt(gain v + c) - sqrt(c)),    c = offset + 3/8 gain^2,

        whose noise has the variance 1, and of which 2 z(v) / z(1) - 1 is returned.

        Args:
            y: photo in [-1, 1], any shape.

        Source: Starck, Murtagh and Bijaoui, Image Processing and Data Analysis, 1998, chapter 2.
        """
        v = ((y + 1) / 2).clamp(0, 1)
        z = 2 * v / ((self.gain * v + self._shifted).sqrt() + math.sqrt(self._shifted))
        return 2 * z / self._most - 1

    def unstabilize(self, z: Tensor) -> Tensor:
        """The asymptotically unbiased inverse of `stabilize` for an estimate of its mean.

        Source: Anscombe, The transformation of Poisson, binomial and negative-binomial data, 1948.
        """
        z = self._most * (z + 1) / 2
        v = z * math.sqrt(self._shifted) + self.gain * (z.square() + 1) / 4
        return 2 * v - 1

    @property
    def _shifted(self) -> float:
        return self.offset + 3 / 8 * self.gain**2

    @property
    def _most(self) -> float:
        """z(1)."""
        return 2 / (math.sqrt(self.gain + self._shifted) + math.sqrt(self._shifted))


def sigma_of_mixture(y: Tensor) -> Tensor:
    """`(B,)` root mean square of noise that may depend on the brightness.

    The median that `estimate_sigma` takes is less, where a part of the photo has little noise.

    Args:
        y: `(B, 3, H, W)` in [-1, 1], NaN where a pixel is not observed.
    """
    photos = y.detach().cpu().split(1)
    return torch.cat([y.new_full((1,), _sigma_of_one(photo)) for photo in photos])


@remembered
def _sigma_of_one(y: Tensor) -> float:
    """`sigma_of_mixture` of a batch of one."""
    found = float(estimate_sigma(y))
    curve = noise_curve(y) if y.shape[1] == 3 else None
    return found if curve is None else max(found, curve.sigma_of(y))


@remembered
def noise_curve(y: Tensor) -> NoiseCurve | None:
    """Fit the variance of a photo's noise by brightness; None where it seems to be the same.

    The finest diagonal wavelet band of the differences of colours in the flattest blocks of like
    brightness is noise, and texture where there is any. Among curves var(v) = gain v + offset, the
    one is taken for which the logarithms of the groups' variances have the least asymmetric
    absolute error, so that groups with texture count as too noisy.

    Args:
        y: `(1, 3, h, w)` photo in [-1, 1], NaN where a pixel is not observed.

    Source: Foi, Trimeche, Katkovnik and Egiazarian, Practical Poissonian-Gaussian noise modeling
    and fitting for single-image raw-data, 2008, for the model.
    """
    if min(y.shape[-2:]) < 2 * BLOCK:
        return None
    blocks = _Blocks.of(y)
    groups = list(blocks.groups())
    if len(groups) < 3 or sum(count for *_, count in groups) < MIN_BLOCKS * BLOCK**2:
        return None
    tones, variances, counts = torch.tensor(groups, dtype=torch.float64).T
    weights = counts / counts.sum()
    rest = variances.log() - (1 + (RATIOS[:, None] - 1) * tones).log()
    levels = torch.stack([_low(own, weights) for own in rest])
    rest = rest - levels[:, None]
    errors = torch.where(rest > 0, LOW * rest, (LOW - 1) * rest) @ weights
    best = int(errors.argmin())
    offset = float(levels[best].exp())
    curve = NoiseCurve((float(RATIOS[best]) - 1) * offset, offset)
    apart = max(curve.ratio, 1 / curve.ratio)
    left, white = float(errors[best]), float(errors[len(RATIOS) // 2])
    if apart < LEAST_RATIO or white - left < EVIDENT or left > EXPLAINED * white:
        return None
    least = LEAST_SIGMA_OF_GREY if is_grey(y).item() else LEAST_SIGMA
    return curve if curve.sigma_of(y) >= least else None


def _low(values: Tensor, weights: Tensor) -> Tensor:
    """The weighted `LOW` quantile."""
    order = values.argsort()
    return values[order][int((weights[order].cumsum(0) >= LOW).nonzero()[0])]


class _Blocks(NamedTuple):
    """Blocks of a photo that are neither clipped nor hidden, the darkest first.

    They are those of two differences of its colours, in which there is little texture, and of the
    brightness of a grey photo.

    Attributes:
        tones: `(M,)` mean intensities in [0, 1], of those channels whose noise they have.
        order: `(M,)` numbers of the blocks, the flattest first.
        values: `(M, N)` magnitudes of the finest band in these units; 0 or NaN tell nothing.
    """

    tones: Tensor
    order: Tensor
    values: Tensor

    @staticmethod
    def of(y: Tensor) -> _Blocks:
        means = F.avg_pool2d(y, BLOCK)
        if is_grey(y).item():
            seen, tones = y[:, :1], means[0, :1].flatten(1)
        else:  # the noise of a difference has the mean variance of its channels, by their weights
            seen = to_opponent(y)[:, 1:]
            shares = to_opponent(torch.eye(3, dtype=y.dtype, device=y.device)[..., None, None])
            tones = torch.einsum("kc,cm->km", shares[:, 1:, 0, 0].T.square(), means[0].flatten(1))
        values = blocks_of_band(seen)[0].flatten(1, 2)
        kept = (1 - means.abs().amax(1).flatten() >= MARGIN).nonzero()[:, 0]
        tones, values = tones[:, kept].flatten(), values[:, kept].flatten(0, 1)
        order = tones.argsort()
        activity = block_activity(y).flatten()[kept].repeat(len(seen[0]))
        return _Blocks((tones[order] + 1) / 2, activity[order].argsort(), values[order].abs() / 2)

    def groups(self) -> Iterator[tuple[float, float, int]]:
        """Tone, variance and number of values of the flat blocks of each group of like tones."""
        place = torch.empty_like(self.order)
        place[self.order] = torch.arange(len(self.order), device=self.order.device)
        for group in torch.arange(len(self.tones)).tensor_split(TONES):
            flat = group[place[group].argsort()[: math.ceil(FLAT * len(group))]]
            values = self.values[flat].flatten()
            values = values[values > 0]
            if len(values) >= BLOCK**2:
                variance = float(values.median() / NORMAL_MAD) ** 2
                yield float(self.tones[flat].mean()), variance, len(values)
