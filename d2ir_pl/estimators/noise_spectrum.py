"""The noise of a photo by frequency: cameras, JPEG and enlarging leave none that is white."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from d2ir_pl.estimators.cosine_threshold import thresholded
from d2ir_pl.operators.noise_shape import PER_CYCLE, on_grid
from d2ir_pl.operators.opponent import from_opponent, to_opponent

BLOCK = PER_CYCLE // 2
"""Side in pixels of the blocks whose cosine transforms show the noise by frequency."""
STRIDE = 8
RADII = 24
"""Number of radii, in units of 1 / (2 BLOCK) cycles a pixel, of which a spectrum is known."""
MIN_BLOCKS = 200
"""Fewer blocks say nothing about a spectrum: a photo of 128x128 pixels has 225, so that those of a
tone below `QUANTILE` are two."""

# Chosen on simulated camera photos with known noise and on sound ones (docs/experiments.md).
QUANTILE = 0.05
"""Share of the blocks of like brightness that hold noise alone."""
TONES = 6
"""Number of groups of blocks of like brightness: bright and dark areas differ in noise."""
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
FALL = 2.2
"""Fall of the amplitude from the middle to the high frequencies above which noise is coloured."""
EVEN = 1.4
"""Fall of the amplitude from the middle to the finest frequencies below which it is that of noise:
texture falls more."""
STEEPEST = 16.0
"""Largest fall from the middle to the finest frequencies that a camera leaves: what falls more, in
an enlarged photo for example, is texture."""
ROUNDING = 2 / 255 / math.sqrt(12)
"""Standard deviation of the rounding to 8 bits, in [-1, 1]."""
LEAST_FINE = 2 * 0.00125
"""Amplitude at the finest frequencies that is assumed where rounding hides it."""

_MIDDLE, _HIGH, _FINEST = (4, 8), (12, 16), (16, RADII)
_BANDS = (0, 4, 6, 8, 10, 13, 17, RADII)
_REDUNDANCY = 0.6
"""Share of the coefficients of a band that count as independent: neighbouring ones are alike."""
_FIRST, _LAST, _FACTOR = 0.02, 0.45, math.sqrt(2)


@dataclass(frozen=True, eq=False)
class NoiseSpectrum:
    """Stationary noise: its power by frequency, in luminance and two differences of colours.

    Args:
        power: `(3, RADII)` variance in the units of the image's square, at spatial frequencies of
            radius k / (2 BLOCK) cycles a pixel; constant and equal for white noise.
    """

    power: Tensor

    @property
    def level(self) -> float:
        """Standard deviation of the luminance at an eighth to a quarter of a cycle a pixel."""
        return math.sqrt(float(self.power[0, slice(*_MIDDLE)].mean()))

    @property
    def coloured(self) -> bool:
        """Whether the noise is not white: its luminance falls toward high frequencies."""
        return self.level > FALL * math.sqrt(float(self.power[0, slice(*_HIGH)].mean()))

    @property
    def even(self) -> bool:
        """Whether the noise of the luminance is white to its finest frequencies, as no texture."""
        finest = math.sqrt(float(self.power[0, slice(*_FINEST)].mean()))
        return self.level < EVEN * finest

    @property
    def width(self) -> float:
        """Standard deviation in pixels of the Gaussian that would leave this fall of white noise.

        It is that of the luminance from the middle to the high frequencies.
        """
        low, high = (float(self.power[0, slice(*band)].mean()) for band in (_MIDDLE, _HIGH))
        far, near = (sum(band) / (4 * BLOCK) for band in (_HIGH, _MIDDLE))
        fall = math.log(max(low, 1e-12) / max(high, 1e-12))
        return math.sqrt(max(0.0, fall) / (far**2 - near**2)) / (2 * math.pi)

    def sigma(self, height: int, width: int) -> float:
        """Standard deviation of a channel, the mean of all, in an image of this size."""
        power = self.on_grid(height, width)
        twice = torch.full((power.shape[-1],), 2.0)
        twice[0] = 1.0
        if width % 2 == 0:
            twice[-1] = 1.0
        return math.sqrt(float((power.cpu() * twice).sum()) / (3 * height * width))

    def on_grid(self, height: int, width: int) -> Tensor:
        """The power `(3, height, width // 2 + 1)` at the frequencies of a real Fourier transform.

        It is that of a coefficient of an orthonormal transform, and sigma^2 everywhere for white
        noise.
        """
        return on_grid(self.power, (height, width))

    def halved(self) -> NoiseSpectrum:
        """The spectrum of the photo at half its height and width."""
        radius = torch.arange(RADII, device=self.power.device) / 2
        below = radius.long()
        share = radius - below
        power = (1 - share) * self.power[:, below] + share * self.power[:, below + 1]
        return NoiseSpectrum(power / 4)

    def scaled(self, factor: float) -> NoiseSpectrum:
        """The spectrum of the noise times a factor."""
        return NoiseSpectrum(factor**2 * self.power)


def complement(power: Tensor, sigma: float, white: Tensor) -> Tensor:
    """Noise that together with noise of a spectrum is white, as far as that stays below sigma.

    Its power is max(0, sigma^2 - power) at each frequency and in each opponent channel.

    Args:
        power: `(3, h, w // 2 + 1)` power of the noise that is there; see `NoiseSpectrum.on_grid`.
        sigma: standard deviation of the sum.
        white: `(..., 3, h, w)` standard normal noise that it is made of.
    """
    gain = (sigma**2 - power).clamp_min(0).sqrt()
    coloured = torch.fft.irfft2(torch.fft.rfft2(white) * gain, s=white.shape[-2:])
    return from_opponent(coloured)


def reduce_half(x: Tensor) -> Tensor:
    """Images `(B, 3, h, w)` at half their height and width, without aliasing."""
    size = [max(1, round(n / 2)) for n in x.shape[-2:]]
    return F.interpolate(x, size=size, mode="bicubic", antialias=True, align_corners=False)


def enlarge(x: Tensor, like: Tensor) -> Tensor:
    """Images `(B, 3, h, w)` enlarged to the height and width of others."""
    return F.interpolate(x, size=like.shape[-2:], mode="bicubic", align_corners=False)


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
    little, so that the tone with the least of it limits that of the others.

    Args:
        y: `(1, 3, h, w)` photo in [-1, 1].
        camera: whether it is a sharp photo with the noise of a camera, which falls toward the
            finest frequencies by no more than `STEEPEST`, and is in all tones what the tone with
            the least of it tells. If not, as in a blurred photo, each tone tells its own, and half
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
    order = tones[seen].argsort()
    tones = tones[seen][order]
    small, removed = reduce_half(y), _FIRST
    opponent = to_opponent(small)
    while True:
        guide = from_opponent(thresholded(opponent, THRESHOLD * removed))
        rest = y - enlarge(guide, y)
        powers = _blocks(to_opponent(rest)[0]).square()[seen][order]
        level = _root_mean_square(_amplitudes(powers, _MIDDLE, torch.ones_like(tones)))
        if level < BELIEVED * removed or removed >= _LAST:
            break
        removed *= _FACTOR
    if not camera:
        return _spectrum(powers, level)
    # Texture adds to what is found, and never takes from it: no tone has more noise than the least
    # of all tones allows.
    shape = _shape(tones)
    level, finest = (
        _root_mean_square(shape) * float(_amplitudes(powers, band, shape).min())
        for band in (_MIDDLE, _FINEST)
    )
    finest = math.sqrt(max(finest**2 - ROUNDING**2, LEAST_FINE**2))
    return _spectrum(powers, min(level, STEEPEST * finest))


def _spectrum(powers: Tensor, level: float) -> NoiseSpectrum:
    """A spectrum of the shape that the blocks with the least power have.

    Args:
        powers: `(M, 3, BLOCK, BLOCK)` squared coefficients of blocks.
        level: amplitude of the luminance in the middle band.
    """
    radius = _radius(powers)
    middle = powers[:, 0][:, _within(radius, _MIDDLE)].mean(1)
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
    return NoiseSpectrum(torch.cat([luminance, power[1:]]).clamp_max(level**2))


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


def _root_mean_square(x: Tensor) -> float:
    return math.sqrt(float(x.square().mean()))


def _shape(tones: Tensor) -> Tensor:
    """Noise of a camera at mean intensities of blocks in [-1, 1], in units of its own.

    That of light goes with the intensity to the power -0.1 after a gamma of 2.2, and that of
    electronics faster. Toward black and white it may be less.
    """
    bright = (tones + 1) / 2
    curve = (torch.minimum(bright, 1 - bright) / ENDS).clamp(0.2, 1)
    return bright.clamp_min(ENDS) ** -DARKER * curve


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
    blocks = _unfolded(x).transpose(0, 1)
    transformed: Tensor = basis @ blocks @ basis.mT
    return transformed


def _unfolded(x: Tensor) -> Tensor:
    """Overlapping blocks `(C, M, BLOCK, BLOCK)` of `(C, h, w)`."""
    return x.unfold(-2, BLOCK, STRIDE).unfold(-2, BLOCK, STRIDE).flatten(1, 2)


def _radius(like: Tensor) -> Tensor:
    """`(BLOCK, BLOCK)` radius of each coefficient of a block."""
    k = torch.arange(BLOCK, device=like.device)
    return torch.hypot(k[:, None].float(), k.float())


def _within(radius: Tensor, band: tuple[int, int]) -> Tensor:
    return (radius >= band[0]) & (radius < band[1])
