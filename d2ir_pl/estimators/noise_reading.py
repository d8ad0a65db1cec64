"""The noise of a photo by frequency, read off its quietest blocks."""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor

from d2ir_pl.estimators.cosine_threshold import thresholded
from d2ir_pl.estimators.noise_spectrum import (
    BLOCK,
    FINEST,
    MIDDLE,
    RADII,
    NoiseSpectrum,
    enlarge,
    reduce_half,
)
from d2ir_pl.estimators.remembered import remembered
from d2ir_pl.operators.opponent import from_opponent, to_opponent

# Chosen on simulated camera photos with known noise and on sound ones (docs/experiments.md).
STRIDE = 8
MIN_BLOCKS = 200
"""Fewer blocks say nothing about a spectrum: a photo of 128x128 pixels has 225, so that those of a
tone below `QUANTILE` are two."""
QUANTILE = 0.05
"""Share of the blocks of like brightness that hold noise alone."""
TONES = 6
"""Number of groups of blocks of like brightness: bright and dark areas differ in noise."""
LEAST = 2
"""Number of the groups with the least noise that limit the others."""
BELIEVED = 1.2
"""Noise found, in units of what was removed to find it, below which it is believed."""
THRESHOLD = 1.2
"""Threshold on the coefficients of the guide at half the size, in units of what is removed: about
twice the noise, which has half of its amplitude there."""
DARKER = 0.3
"""Noise is stronger in dark tones: its amplitude goes with the intensity to minus this power."""
ENDS = 0.15
"""Distance from black and white, in intensities, within which the tone curves of cameras take
contrast away, and noise with it."""
STEEPEST = 16.0
"""Largest fall from the middle to the finest frequencies that a camera leaves: what falls more, in
an enlarged photo for example, is texture."""
ROUNDING = 2 / 255 / math.sqrt(12)
"""Standard deviation of the rounding to 8 bits, in [-1, 1]."""
LEAST_FINE = 2 * 0.00125
"""Amplitude at the finest frequencies that is assumed where rounding hides it."""
_BANDS = (0, 4, 6, 8, 10, 13, 17, RADII)
_REDUNDANCY = 0.6
"""Share of the coefficients of a band that count as independent: neighbouring ones are alike."""
_FIRST, _LAST, _FACTOR = 0.02, 0.45, math.sqrt(2)


@remembered
def read_spectrum(
    y: Tensor, camera: bool = True, observed: Tensor | None = None
) -> NoiseSpectrum | None:
    """Estimate the noise of a photo by frequency.

    A guide without noise and fine detail is made at half the photo's size, by thresholds that
    noise of any colour stays below. What the guide lacks is noise, and texture where there is any.
    Of the blocks of like brightness, those with the least of it hold noise alone: a low quantile
    of their powers, corrected for what it is among blocks of equal noise, is the noise of that
    brightness, or more than it where all blocks hold texture. More is removed until the noise that
    is found is about what was removed. From one tone to another the noise of a camera changes
    little, so that the tones with the least of it limit that of the others.

    Args:
        y: `(1, 3, h, w)` photo in [-1, 1].
        camera: whether it is a sharp photo with the noise of a camera, which falls toward the
            finest frequencies by no more than `STEEPEST`, and is in all tones what the tones with
            the least of it tell. If not, as in a blurred photo, each tone tells its own, and half
            of `MIN_BLOCKS` are enough, because most hold little texture.
        observed: `(1, 1, h, w)`, 0 where a pixel is no part of the photo; None where all are.

    Returns:
        The spectrum, or None for a photo that is too small to show one.
    """
    if min(y.shape[-2:]) < BLOCK:
        return None
    tones = _blocks(to_opponent(y)[0])[:, 0, 0, 0] / BLOCK / math.sqrt(3)
    seen = tones.abs() < 0.95
    if observed is not None:
        seen &= _unfolded(observed[0]).amin((-1, -2))[0] == 1
    if int(seen.sum()) < (MIN_BLOCKS if camera else MIN_BLOCKS // 2):
        return None
    order = seen.nonzero()[:, 0][tones[seen].argsort()]
    tones = tones[order]
    small, removed = reduce_half(y), _FIRST
    opponent = to_opponent(small)
    while True:
        guide = from_opponent(thresholded(opponent, THRESHOLD * removed))
        rest = y - enlarge(guide, y)
        powers = _blocks(to_opponent(rest)[0])[order].square_()
        level = _root_mean_square(_amplitudes(powers, MIDDLE, torch.ones_like(tones)))
        if level < BELIEVED * removed or removed >= _LAST:
            break
        removed *= _FACTOR
    if not camera:
        return _spectrum(powers, level)
    # A block that a codec has emptied holds the rounding to 8 bits, and says nothing of the noise.
    full = powers[:, 0][:, _within(_radius(powers), MIDDLE)].mean(1) > 2 * ROUNDING**2
    if int(full.sum()) >= MIN_BLOCKS:
        powers, tones = powers[full], tones[full]
    level, finest = (_amplitude(powers, band, tones) for band in (MIDDLE, FINEST))
    finest = math.sqrt(max(finest**2 - ROUNDING**2, LEAST_FINE**2))
    uneven = (_unevenness(powers, MIDDLE) + _unevenness(powers, FINEST)) / 2
    return _spectrum(powers, min(level, STEEPEST * finest), uneven)


def _spectrum(powers: Tensor, level: float, uneven: float = math.inf) -> NoiseSpectrum:
    """A spectrum of the shape that the blocks with the least power have.

    Args:
        powers: `(M, 3, BLOCK, BLOCK)` squared coefficients of blocks.
        level: amplitude of the luminance in the middle band.
        uneven: as the spectrum has it.
    """
    radius = _radius(powers)
    middle = powers[:, 0][:, _within(radius, MIDDLE)].mean(1)
    quiet = powers[middle <= middle.quantile(0.3)].mean(0)
    edges = list(itertools.pairwise(_BANDS))
    bands = [quiet[:, _within(radius, band)].mean(1) for band in edges]
    for i in range(len(bands) - 2, -1, -1):
        bands[i] = torch.maximum(bands[i], bands[i + 1])
    power = torch.cat(
        [band[:, None].expand(3, b - a) for band, (a, b) in zip(bands, edges, strict=True)], 1
    )
    found = NoiseSpectrum(power)
    luminance = (level / max(found.level, 1e-9)) ** 2 * power[:1]
    return NoiseSpectrum(torch.cat([luminance, power[1:]]).clamp_max(level**2), uneven)


def _amplitudes(powers: Tensor, band: tuple[int, int], expected: Tensor) -> Tensor:
    """`(TONES,)` amplitudes of the noise of the luminance in a band of radii, for each tone.

    Args:
        powers: `(M, 3, BLOCK, BLOCK)` squared coefficients of blocks, in the order of their tones.
        band: first radius, and the one after the last.
        expected: `(M,)` noise of each block, in whose units the result is.
    """
    inside = _within(_radius(powers), band)
    blocks = powers[:, 0][:, inside].mean(1) / expected.square()
    lowest = torch.stack([tone.quantile(QUANTILE) for tone in blocks.tensor_split(TONES)])
    return (lowest / _quantile_of_mean_square(int(_REDUNDANCY * int(inside.sum())))).sqrt()


def _unevenness(powers: Tensor, band: tuple[int, int]) -> float:
    """Logarithm of the median over the least power of the luminance's blocks, mean of the tones."""
    blocks = powers[:, 0][:, _within(_radius(powers), band)].mean(1).clamp_min(1e-12)
    tones = blocks.tensor_split(TONES)
    ratios = [tone.quantile(0.5) / tone.quantile(QUANTILE) for tone in tones]
    return float(torch.stack(ratios).log().mean())


def _amplitude(powers: Tensor, band: tuple[int, int], tones: Tensor) -> float:
    """Root mean square over the tones of the noise that those with the least of it allow.

    Texture adds to what is found, and never takes from it. Tones near black and white count where
    there are no others.

    Args:
        powers: `(M, 3, BLOCK, BLOCK)` squared coefficients of blocks, in the order of their tones.
        band: first radius, and the one after the last.
        tones: `(M,)` mean intensities of the blocks in [-1, 1].
    """
    shape = _shape(tones)
    found = _amplitudes(powers, band, shape)
    inside = torch.stack([_curve(tone).mean() for tone in tones.tensor_split(TONES)]) > 0.5
    least = (found[inside] if bool(inside.any()) else found).sort().values[:LEAST]
    return _root_mean_square(shape) * _root_mean_square(least)


def _root_mean_square(x: Tensor) -> float:
    return math.sqrt(float(x.square().mean()))


def _shape(tones: Tensor) -> Tensor:
    """Noise of a camera at mean intensities of blocks in [-1, 1], in units of its own.

    That of light goes with the intensity to the power -0.1 after a gamma of 2.2, and that of
    electronics faster. Toward black and white it may be less.
    """
    return ((tones + 1) / 2).clamp_min(ENDS) ** -DARKER * _curve(tones)


def _curve(tones: Tensor) -> Tensor:
    """What the tone curve of a camera leaves of the noise, at least."""
    bright = (tones + 1) / 2
    return (torch.minimum(bright, 1 - bright) / ENDS).clamp(0.2, 1)


def _quantile_of_mean_square(count: int) -> float:
    """The `QUANTILE` of the mean square of some independent standard normal variables.

    Source: Wilson and Hilferty, The distribution of chi-square, 1931.
    """
    z = math.sqrt(2) * float(torch.erfinv(torch.tensor(2 * QUANTILE - 1)))
    spread = 2 / (9 * count)
    return (1 - spread + z * math.sqrt(spread)) ** 3


def _blocks(x: Tensor) -> Tensor:
    """Orthonormal cosine transforms `(M, 3, BLOCK, BLOCK)` of overlapping blocks of `(3, h, w)`."""
    n = torch.arange(BLOCK, dtype=torch.float64)
    basis = torch.cos((n + 0.5) * n[:, None] * math.pi / BLOCK) * math.sqrt(2 / BLOCK)
    basis[0] /= math.sqrt(2)
    basis = basis.to(x)
    # Channel by channel, as blocks that overlap fill the memory several times.
    planes = [basis @ _unfolded(plane[None])[0] @ basis.mT for plane in x]
    return torch.stack(planes, 1)


def _unfolded(x: Tensor) -> Tensor:
    """Overlapping blocks `(C, M, BLOCK, BLOCK)` of `(C, h, w)`."""
    return x.unfold(-2, BLOCK, STRIDE).unfold(-2, BLOCK, STRIDE).flatten(1, 2)


def _radius(like: Tensor) -> Tensor:
    """`(BLOCK, BLOCK)` radius of each coefficient of a block."""
    k = torch.arange(BLOCK, device=like.device)
    return torch.hypot(k[:, None].float(), k.float())


def _within(radius: Tensor, band: tuple[int, int]) -> Tensor:
    return (radius >= band[0]) & (radius < band[1])
