"""What makes the noise of photos differ from white noise of its level: its spectrum."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from d2ir_pl.operators.constants import kept
from d2ir_pl.operators.linear import Size, rows_of, size_of
from d2ir_pl.operators.opponent import from_opponent, to_opponent

PER_CYCLE = 32
"""Number of radii of a spectrum from the frequency 0 to a cycle a pixel."""


@dataclass(frozen=True, eq=False)
class NoiseShape:
    """The shape of the noise n of photos, whose level is sigma.

    With F the Fourier transform of luminance and two differences of colours (`to_opponent`), and p
    the relative power at each frequency, whose mean is 1,

        n = sigma F* diag(sqrt p) F w,        w ~ N(0, I).

    White noise has p = 1 everywhere. The photo counts as periodic in this.

    Args:
        power: `(B, 3, K)` relative power p in luminance and both differences, at frequencies of a
            radius of k / `PER_CYCLE` cycles a pixel, positive; the last holds for all beyond.
    """

    power: Tensor
    _weights: dict[Size, Tensor] = field(default_factory=dict, repr=False)

    @staticmethod
    def join(shapes: Sequence[NoiseShape | None]) -> NoiseShape:
        """The shape of a batch made of several, of which None is white, and not all are."""
        white = torch.ones_like(next(shape.power for shape in shapes if shape is not None))
        return NoiseShape(torch.cat([white if s is None else s.power for s in shapes]))

    def select(self, rows: Sequence[int]) -> NoiseShape:
        """The shape of some photos of the batch."""
        return NoiseShape(rows_of(self.power, rows))

    def whiten(self, n: Tensor) -> Tensor:
        """F* diag(1 / sqrt p) F n: noise `(B, 3, h, w)` made white, of the same level.

        It is its own transpose.
        """
        spectrum = torch.fft.rfft2(to_opponent(n)) * self.weight(size_of(n)).sqrt()
        return from_opponent(torch.fft.irfft2(spectrum, s=size_of(n)))

    def weight(self, size: Size) -> Tensor:
        """1 / p `(B, 3, h, w // 2 + 1)` at the frequencies of a real Fourier transform."""
        if size not in self._weights:
            self._weights[size] = 1 / on_grid(self.power, size)
        return self._weights[size]

    def complement(self, white: Tensor) -> tuple[Tensor, Tensor]:
        """What makes noise of this shape and of level 1 white, and the level `(B,)` of the sum.

        Args:
            white: `(B, 3, h, w)` standard normal noise that it is made of.
        """
        power = on_grid(self.power, size_of(white))
        most = power.amax((1, 2, 3), keepdim=True)
        missing = torch.fft.rfft2(white) * (most - power).sqrt()
        noise = from_opponent(torch.fft.irfft2(missing, s=size_of(white)))
        return noise, most[:, 0, 0, 0].sqrt()

    def with_white(self, share: Tensor) -> NoiseShape:
        """The shape of a sum of noise of this shape and white noise of a variance.

        Args:
            share: `(B,)` variance of the white noise, in units of that of the noise.
        """
        added = share[:, None, None]
        return NoiseShape((self.power + added) / (1 + added))


def on_grid(power: Tensor, size: Size) -> Tensor:
    """Powers of radii `(..., K)` at the frequencies `(..., h, w // 2 + 1)` of a real transform."""
    place = radius(power, *size).clamp_max(power.shape[-1] - 1 - 1e-3)
    below = place.long()
    return torch.lerp(power[..., below], power[..., below + 1], place - below)


@kept
def radius(height: int, width: int) -> Tensor:
    """Radius of each frequency as `torch.fft.rfft2` orders them, in units of 1 / PER_CYCLE."""
    vertical, horizontal = torch.fft.fftfreq(height)[:, None], torch.fft.rfftfreq(width)
    return PER_CYCLE * torch.hypot(vertical, horizontal)
