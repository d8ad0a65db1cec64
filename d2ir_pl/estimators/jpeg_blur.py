"""The width of a blur that a photo had before JPEG compressed it.

Rounding to zero takes away what a blur has left of the high frequencies, so that the spectrum of
the decoded photo says little. The rounded coefficients still do. For an image whose power falls as
in `spectrum.py`, P(f) = c |f|^-a exp(-4 pi^2 w^2 |f|^2), the DCT coefficient k of a block has the
variance

    v_k = sum_f P(f) |B_k(f)|^2,

B_k the Fourier transform of its basis function, and white noise that was there before the
compression adds n^2 to each. With a Laplace law of that variance, the likelihood of the levels to
which the coefficients were rounded gives the most likely w, n and a: photos of smooth things have
a larger a, which would pass for a blur if a were fixed. Blocks are flat or busy: each of GROUPS has
a c of its own.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from d2ir_pl.estimators.jpeg_tables import GROUPS, laplace_log_likelihood
from d2ir_pl.estimators.remembered import remembered
from d2ir_pl.estimators.widths import MIN_WIDTH
from d2ir_pl.operators.jpeg_transform import BLOCK, analyze

# Widths in pixels that are compared: beyond the last, blocks of 8 pixels are flat.
MAX_WIDTH = 4.0
STEP = 0.1
# Exponents that are compared: from that of most photographs to that of smooth ones. A larger one
# can explain a blur away (docs/experiments.md).
EXPONENTS = (2.4, 2.8, 3.2)
# Standard deviations in grey levels of the noise that are compared.
NOISES = (0.0, 0.7, 1.0, 1.4, 2.0, 2.8, 4.0, 5.6, 8.0, 12.0)
# Most blocks that are looked at.
MAX_BLOCKS = 8192
# Side in pixels of the periodic image whose frequencies the sum runs over.
PERIOD = 256


@dataclass(frozen=True)
class BeforeJpeg:
    """What a photo was like before JPEG compressed it.

    Attributes:
        width: width in pixels of an isotropic Gaussian blur, from MIN_WIDTH (sharp) to MAX_WIDTH.
        noise: standard deviation in grey levels of white noise in the luminance.
    """

    width: float
    noise: float


@remembered
def before_jpeg(y: Tensor, table: Tensor) -> BeforeJpeg:
    """The most likely blur and noise before the compression, given the rounded coefficients.

    Args:
        y: `(3, H, W)` decoded photo in [-1, 1], turned as it was stored.
        table: `(8, 8)` quantisation steps of the luminance in grey levels.
    """
    steps = table.double()
    blocks = analyze(y.double(), (1, 1)).luma.flatten(0, 1)
    level = (blocks[:: -(-len(blocks) // MAX_BLOCKS)] / steps).round().abs().flatten(1)[:, 1:]
    order = level.sum(1).argsort(stable=True)
    groups = level[order].chunk(GROUPS)
    scale = torch.logspace(-2, 6, 49, dtype=torch.float64)[:, None, None]
    best = (-math.inf, 0.0, 0.0)
    for exponent, noise in itertools.product(EXPONENTS, NOISES):
        widths, shape = _scales(exponent)
        b = (((2 * (scale * shape).square()) + noise**2) / 2).sqrt()
        likelihood = laplace_log_likelihood(groups, steps.flatten()[1:], b).amax(1).sum(0)
        i = int(likelihood.argmax())
        best = max(best, (float(likelihood[i]), float(widths[i]), noise))
    return BeforeJpeg(width=best[1], noise=best[2])


@cache
def _scales(exponent: float) -> tuple[Tensor, Tensor]:
    """Widths `(W,)`, and for each the standard deviation of 63 coefficients, `(W, 63)`.

    They are relative to that of the first coefficient, all but the mean of a block.
    """
    f = torch.fft.fftfreq(PERIOD, dtype=torch.float64)
    n = torch.arange(BLOCK, dtype=torch.float64)
    basis = torch.cos((2 * n + 1) * n[:, None] * math.pi / (2 * BLOCK))
    basis /= basis.norm(dim=1, keepdim=True)
    wave = torch.exp(-2j * math.pi * n[:, None] * f)
    gain = (basis.to(wave) @ wave).abs().square()
    radius = torch.hypot(f[:, None], f)
    law = radius.clamp_min(1 / PERIOD) ** -exponent
    law[0, 0] = 0
    widths = torch.arange(MIN_WIDTH, MAX_WIDTH + STEP / 2, STEP, dtype=torch.float64)
    power = law * torch.exp(-4 * math.pi**2 * (widths[:, None, None] * radius) ** 2)
    deviation = (gain @ power @ gain.mT).flatten(1)[:, 1:].sqrt()
    return widths, deviation / deviation[:, :1]
