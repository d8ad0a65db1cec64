"""The noise of a photo by frequency: cameras, JPEG and enlarging leave none that is white."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from d2ir_pl.operators.noise_shape import PER_CYCLE, on_grid
from d2ir_pl.operators.opponent import from_opponent

BLOCK = PER_CYCLE // 2
"""Side in pixels of the blocks whose cosine transforms show the noise by frequency."""
RADII = 24
"""Number of radii, in units of 1 / (2 BLOCK) cycles a pixel, of which a spectrum is known."""

# Chosen on simulated camera photos with known noise and on sound ones (docs/experiments.md).
FALL = 2.2
"""Fall of the amplitude from the middle to the high frequencies above which noise is coloured."""
SLIGHT = 1.25
"""The same where the noise is alike all over the photo and in the colours: cameras leave that."""
ALIKE = 0.75
"""`NoiseSpectrum.uneven` below which a photo is full of noise; more of it tells nothing, because a
photo may be flat beside what is not."""
COLOURFUL = 0.4
"""Coarse noise of the colours, in units of that of the luminance, above which it is no texture."""
WHITE_COLOURS = 0.1
"""The same above which it tells whether noise is white."""
COLOURLESS = 0.05
"""The same below which the colours do not confirm that it is noise: a grey texture has none either,
and the codecs of grey photos leave none."""
EVEN = 1.4
"""Fall of the amplitude from the middle to the finest frequencies below which it is that of noise:
texture falls more."""
COMMON = 0.7
"""Noise of the differences of colours, in units of that of the luminance, below which the channels
share most of theirs."""

MIDDLE, HIGH, FINEST = (4, 8), (12, 16), (16, RADII)
"""Bands of radii: the first one, and the one after the last."""


@dataclass(frozen=True, eq=False)
class NoiseSpectrum:
    """Stationary noise: its power by frequency, in luminance and two differences of colours.

    Args:
        power: `(3, RADII)` variance in the units of the image's square, at spatial frequencies of
            radius k / (2 BLOCK) cycles a pixel; constant and equal for white noise.
        uneven: logarithm of the median over the least power of the blocks that it was read off: 0.4
            to 0.8 where they hold noise alone, and more where some hold texture.
    """

    power: Tensor
    uneven: float = math.inf

    @property
    def level(self) -> float:
        """Standard deviation of the luminance at an eighth to a quarter of a cycle a pixel."""
        return math.sqrt(float(self.power[0, slice(*MIDDLE)].mean()))

    @property
    def coloured(self) -> bool:
        """Whether the noise is not white: its luminance falls toward high frequencies.

        Texture falls as well, but less of it is seen in the colours, and it is seldom as even.
        Where the noise of the colours is white, what falls in the luminance is texture.
        """
        fall = self.level / math.sqrt(max(float(self.power[0, slice(*HIGH)].mean()), 1e-12))
        colours = math.sqrt(float(self.power[1:, slice(*MIDDLE)].mean()))
        finer = math.sqrt(float(self.power[1:, slice(*HIGH)].mean()))
        if colours > WHITE_COLOURS * self.level and colours < SLIGHT * finer:
            return False
        alike = self.uneven < ALIKE and colours > COLOURFUL * self.level
        return fall > (SLIGHT if alike else FALL)

    @property
    def confirmed(self) -> bool:
        """Whether the colours have noise as well, which the texture of a grey scene has not."""
        return math.sqrt(float(self.power[1:, slice(*MIDDLE)].mean())) > COLOURLESS * self.level

    @property
    def even(self) -> bool:
        """Whether the noise of the luminance is white to its finest frequencies, as no texture."""
        finest = math.sqrt(float(self.power[0, slice(*FINEST)].mean()))
        return self.level < EVEN * finest

    @property
    def shared(self) -> bool:
        """Whether it is white in the luminance, and the colours have less of it.

        The channels share such noise, as that of film and of JPEGs, whose colours are coarse.
        """
        grey, *colours = (float(p.mean()) for p in self.power[:, FINEST[0] :])
        return self.even and max(colours) < COMMON**2 * grey

    @property
    def width(self) -> float:
        """Standard deviation in pixels of the Gaussian that would leave this fall of white noise.

        It is that of the luminance from the middle to the high frequencies.
        """
        low, high = (float(self.power[0, slice(*band)].mean()) for band in (MIDDLE, HIGH))
        far, near = (sum(band) / (4 * BLOCK) for band in (HIGH, MIDDLE))
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

    def to(self, like: Tensor) -> NoiseSpectrum:
        """The spectrum with its power as tensors like another: of its type, and on its device."""
        return NoiseSpectrum(self.power.to(like), self.uneven)

    def halved(self) -> NoiseSpectrum:
        """The spectrum of the photo at half its height and width."""
        radius = torch.arange(RADII, device=self.power.device) / 2
        below = radius.long()
        share = radius - below
        power = (1 - share) * self.power[:, below] + share * self.power[:, below + 1]
        return NoiseSpectrum(power / 4, self.uneven)

    def scaled(self, factor: float) -> NoiseSpectrum:
        """The spectrum of the noise times a factor."""
        return NoiseSpectrum(factor**2 * self.power, self.uneven)


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
