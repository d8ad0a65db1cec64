"""Shaken photographs with the truth about them: made of sharp ones, or read from a folder."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.tasks import PHOTOGRAPHS, photograph_file
from d2ir_pl.diffusion.randomness import image_generator, normal_like
from d2ir_pl.errors import UsageError
from d2ir_pl.image_io import read_image
from d2ir_pl.operators.shake_paths import GENERATORS, drawn_shake

SIZES = (9, 13, 17, 25, 31, 41, 51, 61)
"""Sides in pixels of the kernels that are drawn, in turn."""
NOISE = (0.01, 0.02)
"""Standard deviations of the noise in [0, 1], in turn."""
NIGHT = 0.3
"""What the brightness of a photograph is multiplied by where there are lamps."""
LAMPS, DIMMEST, BRIGHTEST, LAMP_WIDTH = 8, 20.0, 300.0, 0.7
"""Number of lamps on 256x256 pixels, their light in whites of a pixel, and their width in pixels as
a lens shows them."""


@dataclass(frozen=True)
class Shaken:
    """A shaken photo, and what it should have been.

    Attributes:
        name: what it is called, without an ending.
        y: `(3, h, w)` shaken photo in [-1, 1].
        x: `(3, h, w)` sharp image in [-1, 1].
        kernel: `(k, k)` true kernel of a correlation with sum 1.
        about: the shake in words.
    """

    name: str
    y: Tensor
    x: Tensor
    kernel: Tensor
    about: str = ""


def made(files: list[Path], size: int, linear: bool, lamps: bool = False) -> Iterator[Shaken]:
    """Shake the middles of photographs.

    Each is correlated with a kernel of one of `GENERATORS`, noise is added, and 8 bits are kept.
    The border is nobody's mirror: a margin of the photograph is shaken with it.

    Args:
        files: sharp photographs; those smaller than a crop with its margin are left out.
        size: side of the crops in pixels.
        linear: blur intensities as they fall on the sensor, which is what a camera does, instead of
            those of the sRGB file.
        lamps: darken the photographs, and let lamps burn in them that are brighter than white.
    """
    kinds, count = list(GENERATORS), 0
    for file in files:
        side = SIZES[count % len(SIZES)]
        wide = size + side - 1
        clean = read_image(file).pixels
        if min(clean.shape[-2:]) < wide:
            continue
        top, left = ((n - wide) // 2 for n in clean.shape[-2:])
        clean = clean[:, top : top + wide, left : left + wide]
        kind = kinds[(count + count // len(SIZES)) % len(kinds)]
        noise = NOISE[count // 2 % len(NOISE)]
        generator = image_generator(0, f"shake/{file.stem}")
        kernel = drawn_shake(generator, side, kind)
        to, back = (to_linear, to_srgb) if linear else (same, same)
        light = to((clean + 1) / 2)
        if lamps:
            light = NIGHT * light + _lamps(wide, generator)
            clean = 2 * back(light.clamp_max(1)) - 1
        y = back(F.conv2d(light[:, None], kernel[None, None])[:, 0].clamp_max(1))
        y = y + noise * normal_like(y[None], [generator])[0]
        y = (y.clamp(0, 1) * 255).round() / 127.5 - 1
        r = side // 2
        how = f"{', linear' if linear else ''}{', lamps' if lamps else ''}"
        about = f"{kind}, {side} pixels, noise {noise}{how}"
        x = clean[:, r : r + size, r : r + size]
        yield Shaken(f"{count:02d}_{file.stem}", y, x, kernel, about)
        count += 1


def _lamps(side: int, generator: torch.Generator) -> Tensor:
    """The light `(3, side, side)` of lamps at random places, in whites."""
    light, t = torch.zeros(3, side, side), torch.arange(side)
    for _ in range(round(LAMPS * (side / 256) ** 2)):
        row, column, bright, *tint = torch.rand(6, generator=generator).tolist()
        amount = DIMMEST * (BRIGHTEST / DIMMEST) ** bright
        bells = [torch.exp(-(((t - side * at) / LAMP_WIDTH) ** 2) / 2) for at in (row, column)]
        spot = bells[0][:, None] * bells[1] / (2 * math.pi * LAMP_WIDTH**2)
        light += amount * (0.7 + 0.3 * torch.tensor(tint))[:, None, None] * spot
    return light


def photographs(folder: Path | None) -> list[Path]:
    """The files of a folder and those below it, or the public-domain photographs."""
    if folder is None:
        return [photograph_file(name) for name in PHOTOGRAPHS]
    endings = {".png", ".jpg", ".jpeg", ".webp"}
    found = sorted(p for p in folder.rglob("*") if p.suffix.lower() in endings)
    if not found:
        raise UsageError(f"{folder} holds no photographs: give a folder with PNG or JPEG files")
    return found


def read(folder: Path) -> Iterator[Shaken]:
    """The photos of a folder: `input/NAME.png`, and `reference/NAME.npz` with `x` and `kernel`.

    `x` is `(h, w)` or `(h, w, 3)` in [0, 1]. Whether a kernel is a correlation or its mirror is
    seen in which of the two explains the photo.

    Raises:
        UsageError: if there are none, or a photo has no reference.
    """
    files = sorted((folder / "input").glob("*.png"))
    if not files:
        raise UsageError(f"{folder} holds no input/*.png: give a folder with input and reference")
    for file in files:
        reference = folder / "reference" / f"{file.stem}.npz"
        if not reference.is_file():
            raise UsageError(f"{reference} is missing: each photo needs its reference")
        with np.load(reference) as arrays:
            x = torch.from_numpy(arrays["x"].astype(np.float32))
            kernel = torch.from_numpy(arrays["kernel"].astype(np.float32))
        x = 2 * (x.expand(3, -1, -1) if x.ndim == 2 else x.permute(2, 0, 1)) - 1
        y = read_image(file).pixels
        yield Shaken(file.stem, y, x, _as_correlation(y, x, kernel / kernel.sum()))


def _as_correlation(y: Tensor, x: Tensor, kernel: Tensor) -> Tensor:
    """A kernel, mirrored in its middle where that explains y better, at the best shift."""

    def misfit(k: Tensor) -> float:
        blurred = F.conv2d(x.mean(0)[None, None], k[None, None])[0, 0]
        r, reach = k.shape[-1] // 2, 4
        inner = blurred[reach:-reach, reach:-reach]
        h, w = inner.shape
        grey, shifts = y.mean(0), range(2 * reach + 1)
        squares = [
            (grey[r + i : r + i + h, r + j : r + j + w] - inner).square().mean()
            for i in shifts
            for j in shifts
        ]
        return float(torch.stack(squares).min())

    return min(kernel, kernel.flip(0, 1), key=misfit)


Light = Callable[[Tensor], Tensor]


def same(x: Tensor) -> Tensor:
    """The values as they are."""
    return x


def to_linear(x: Tensor) -> Tensor:
    """The intensity of an sRGB value, both in [0, 1]. Source: IEC 61966-2-1."""
    return torch.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055).clamp_min(0) ** 2.4)


def to_srgb(x: Tensor) -> Tensor:
    """The sRGB value of an intensity, both in [0, 1]. Source: IEC 61966-2-1."""
    return torch.where(x <= 0.0031308, 12.92 * x, 1.055 * x.clamp_min(1e-8) ** (1 / 2.4) - 0.055)
