"""Photographs damaged as they are in the world: by lenses, hands, sensors, files and time.

What a camera does happens in linear light: blur, exposure, and noise whose variance grows with the
light and which is interpolated with the colours. Its picture is encoded in sRGB, sharpened and
compressed. What happens to a print happens to that picture: scratches, fading, a border.
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw
from torch import Tensor

from d2ir_pl.degradations.parametric_blur import disk_kernel
from d2ir_pl.operators.encoding import from_light, to_light
from d2ir_pl.operators.kernels import gaussian_kernel

KINDS = (
    *("undamaged", "noise", "jpeg", "gaussian", "defocus", "shake"),
    *("dark", "night", "faded", "scratched", "framed"),
)
"""The kinds of damage. A `night` is dark, and has lamps."""

BLURS = ("gaussian", "defocus", "shake")
"""Those that are blurs."""


@dataclass(frozen=True)
class Camera:
    """What a camera does to the light that it got.

    Attributes:
        noise: standard deviation of the noise where the light is white.
        coarse: standard deviation in pixels by which the noise is smoothed.
        sharpening: how much of the detail within a pixel is added.
        quality: quality of its JPEG; None for none.
    """

    noise: float
    coarse: float
    sharpening: float
    quality: int | None


def damaged(photograph: Tensor, kind: str, seed: int) -> Tensor:
    """A photograph `(3, H, W)` in [-1, 1] with one kind of damage, in 8 bits.

    Args:
        photograph: an undamaged one.
        kind: one of `KINDS`.
        seed: of everything that is drawn.
    """
    g = np.random.default_rng(seed)
    light = to_light((photograph + 1) / 2)
    if kind in BLURS:
        light = _blurred(light, _blur(kind, g))
    elif kind in ("dark", "night"):
        light = light * math.exp(-g.uniform(math.log(12), math.log(100)))
    if kind == "night":
        light = light + _lamps(g, light.shape[-2:])
    y = _photographed(light, _camera(g, kind), g)
    if kind == "faded":
        contrast = g.uniform(0.35, 0.55) + g.uniform(-0.06, 0.06, 3)
        offset = g.uniform(0.2, 0.35) + np.array([0.05, 0.02, -0.04]) * g.uniform(0.5, 1.5)
        y = y * _channels(contrast) + _channels(offset)
    elif kind == "scratched":
        y = _scratched(y, g)
    elif kind == "framed":
        y = _framed(y, g)
    return stored(y, _camera(g, kind).quality if kind in ("faded", "scratched", "framed") else None)


def blur(kind: str, seed: int) -> Tensor:
    """The kernel `(k, k)` by which `damaged` blurs the light.

    Args:
        kind: one of `BLURS`.
        seed: as `damaged` takes it.
    """
    return _blur(kind, np.random.default_rng(seed))


def _blur(kind: str, g: np.random.Generator) -> Tensor:
    if kind == "gaussian":
        return gaussian_kernel(torch.eye(2)[None] * float(g.uniform(1.1, 3.2)) ** 2, 25)[0]
    if kind == "defocus":
        radius = math.exp(g.uniform(math.log(2), math.log(8)))
        return disk_kernel(torch.tensor([radius]), 19)[0]
    return _path(g, math.exp(g.uniform(math.log(7), math.log(40))))


def _camera(g: np.random.Generator, kind: str) -> Camera:
    good = kind in ("undamaged", "faded", "scratched", "framed")
    noise = g.uniform(0, 0.006 if good else 0.02)
    if kind == "noise":
        noise = g.uniform(0.03, 0.12)
    elif kind in ("dark", "night"):
        noise = g.uniform(0.002, 0.006)
    quality = int(g.integers(85 if good else 70, 98))
    if kind == "jpeg":
        quality = int(g.integers(25, 75))
    compressed = kind == "jpeg" or g.random() < 0.6
    coarse, sharpening = g.uniform(0, 0.9) * (g.random() < 0.6), g.uniform(0.3, 1.2)
    return Camera(noise, coarse, sharpening * (g.random() < 0.35), quality if compressed else None)


def _photographed(light: Tensor, camera: Camera, g: np.random.Generator) -> Tensor:
    """The intensities in [0, 1] that a camera writes."""
    n = torch.from_numpy(g.standard_normal(light.shape)).float()
    n = n * camera.noise * (0.15 * light.mean() + light).clamp_min(0).sqrt()
    if camera.coarse > 0.1:
        n = 0.6 * n + 0.9 * _smooth(n, camera.coarse)
    y = from_light(light + n).clamp(0, 1)
    y = (y + camera.sharpening * (y - _smooth(y, 1.0))).clamp(0, 1)
    return (stored(y, camera.quality) + 1) / 2


def stored(y: Tensor, quality: int | None) -> Tensor:
    """Intensities `(3, H, W)` in 8 bits, after JPEG if a quality is given, in [-1, 1]."""
    pixels = (y.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
    if quality is not None:
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "JPEG", quality=quality)
        pixels = np.array(Image.open(file))
    return torch.from_numpy(pixels).permute(2, 0, 1).float() / 127.5 - 1


def _smooth(x: Tensor, width: float) -> Tensor:
    return _blurred(x, gaussian_kernel(torch.eye(2)[None] * width**2, 7)[0])


def _blurred(x: Tensor, kernel: Tensor) -> Tensor:
    radius = min(kernel.shape[-1] // 2, *(n - 1 for n in x.shape[-2:]))
    kernel = kernel.to(x)[None, None]
    return F.conv2d(F.pad(x[:, None], (radius,) * 4, mode="reflect"), kernel)[:, 0]


def _path(g: np.random.Generator, length: float) -> Tensor:
    """The kernel of a hand that moves on while it turns, a path of so many pixels' extent."""
    steps, place, direction = 200, np.zeros(2), g.uniform(0, 2 * math.pi)
    turning, places = g.uniform(0.05, 0.3), [np.zeros(2)]
    for _ in range(steps - 1):
        direction += turning * g.standard_normal() + math.pi * (g.random() < 0.005)
        place = place + np.array([math.cos(direction), math.sin(direction)])
        places.append(place)
    path = np.array(places)
    path = path * length / max(np.ptp(path, axis=0).max(), 1e-9)
    path = path - (path.max(0) + path.min(0)) / 2
    radius = math.ceil(np.abs(path).max()) + 2
    kernel = torch.zeros(2 * radius + 1, 2 * radius + 1)
    for x, y in path + radius:
        i, j, v, u = int(y), int(x), y - int(y), x - int(x)
        square = torch.outer(torch.tensor([1 - v, v]), torch.tensor([1 - u, u])).float()
        kernel[i : i + 2, j : j + 2] += square
    return kernel / kernel.sum()


def _lamps(g: np.random.Generator, size: torch.Size) -> Tensor:
    """Light of a few lamps."""
    rows, columns = torch.meshgrid(torch.arange(size[0]), torch.arange(size[1]), indexing="ij")
    light = torch.zeros(3, *size)
    for _ in range(int(g.integers(2, 7))):
        y, x, width = g.uniform(0, size[0]), g.uniform(0, size[1]), g.uniform(1, 5)
        spot = torch.exp(-((rows - y) ** 2 + (columns - x) ** 2) / (2 * width**2))
        light = light + g.uniform(0.5, 3) * _channels(np.array([1, 0.9, 0.7])) * spot
    return light


def _scratched(y: Tensor, g: np.random.Generator) -> Tensor:
    """Scratches and cracks of a print, white where its paper shows and black otherwise."""
    height, width = y.shape[-2:]
    drawing = Image.new("L", (4 * width, 4 * height))
    pen = ImageDraw.Draw(drawing)
    for _ in range(int(g.integers(3, 9))):
        x, z = g.uniform(0, 4 * width), g.uniform(0, 4 * height)
        direction, bend = g.uniform(0, 2 * math.pi), g.choice([0.02, 0.2])
        step = g.uniform(0.2, 0.9) * 4 * max(height, width) / 60
        thickness, points = g.uniform(5, 14), [(x, z)]
        for _ in range(60):
            direction += bend * g.standard_normal()
            x, z = x + step * math.cos(direction), z + step * math.sin(direction)
            points.append((x, z))
        pen.line(points, fill=255, width=round(thickness))
    mask = np.array(drawing.resize((width, height), Image.Resampling.BOX)) / 255
    covered = torch.from_numpy(mask).float() * g.uniform(0.8, 1)
    paper = _channels(np.array([0.93, 0.92, 0.88]) if g.random() < 0.8 else np.full(3, 0.07))
    return y * (1 - covered) + paper * covered


def _framed(y: Tensor, g: np.random.Generator) -> Tensor:
    """A letterbox, or a frame on all sides."""
    y, n, colour = y.clone(), int(g.integers(6, 40)), float(g.choice([0.0, 1.0, 0.9]))
    y[:, :n] = y[:, -n:] = colour
    if g.random() < 0.5:
        y[:, :, :n] = y[:, :, -n:] = colour
    return y


def _channels(values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> Tensor:
    return torch.from_numpy(np.asarray(values, np.float32))[:, None, None]
