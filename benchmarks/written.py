"""Photographs as cameras and programs write them: blurred, with noise of a colour, and stored."""

from __future__ import annotations

import io
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from benchmarks.kinds import RADIUS
from benchmarks.tasks import PHOTOGRAPHS, blurred, centre, photograph_file
from d2ir_pl.diffusion.randomness import image_generator, normal_like
from d2ir_pl.image_io import as_picture, read_image
from d2ir_pl.operators.kernels import gaussian_kernel

SUFFIXES = {"rgb": "jpeg", "cmyk": "jpeg", "twice": "jpeg", "offgrid": "png", "turned": "png"}
"""The suffixes of files whose format has another name."""
COLOURS = ("correlated", "bayer", "light")
"""Noise that is not white: smoothed by 0.8 pixels, of a sensor that sees one colour a pixel, and
with a variance that grows with the light."""


def degrade(wide: Tensor, width: float, noise: float, name: str, colour: str = "") -> Tensor:
    """Blur and noise.

    Args:
        wide: `(3, H, W)` in [-1, 1], with a margin of `RADIUS` pixels that is cut off.
        width: standard deviation of the Gaussian in pixels.
        noise: standard deviation in [0, 1].
        name: name of the photograph, from which the noise is drawn.
        colour: one of `COLOURS`; white noise if it is none of them.
    """
    y = wide[:, RADIUS:-RADIUS, RADIUS:-RADIUS]
    if width:
        kernel = gaussian_kernel(width**2 * torch.eye(2)[None], 2 * RADIUS + 1)[0]
        y = blurred(wide, kernel, "cropped")
    n = 2 * noise * normal_like(y[None], [image_generator(0, name)])[0]
    if colour == "correlated":
        kernel = gaussian_kernel(0.8**2 * torch.eye(2)[None], 7)[0]
        n = blurred(F.pad(n[None], (3, 3, 3, 3), mode="circular")[0], kernel, "cropped")
        n = n * 2 * noise / n.std().clamp_min(1e-12)
    elif colour == "light":
        n = n * (0.1 + 3 * (y + 1) / 2).sqrt()
    y = (y + n).clamp(-1, 1)
    return _demosaiced(y) if colour == "bayer" else y


def _demosaiced(y: Tensor) -> Tensor:
    """What is left where a sensor saw one colour a pixel, the others interpolated linearly."""
    seen = torch.zeros_like(y)
    seen[0, ::2, ::2] = seen[1, ::2, 1::2] = seen[1, 1::2, ::2] = seen[2, 1::2, 1::2] = 1
    taps = torch.tensor([0.5, 1.0, 0.5])
    kernel = torch.outer(taps, taps)[None, None]
    total, count = (
        F.conv2d(F.pad(image[:, None], (1, 1, 1, 1), mode="reflect"), kernel)[:, 0]
        for image in (y * seen, seen)
    )
    return torch.where(seen == 1, y, total / count)


def store(y: Tensor, form: str, folder: Path) -> Path:
    """Write an image in a format that may have its quality at its end."""
    kind = form.rstrip("0123456789")
    path = folder / f"photo.{SUFFIXES.get(kind, kind)}"
    picture = as_picture(y)
    quality = int(form.removeprefix(kind) or 100)
    if kind == "twice":
        height, width = y.shape[-2:]
        picture = decoded(picture, 80).crop((5, 3, width, height))
    elif kind == "offgrid":
        picture = decoded(picture, quality).crop((5, 3, *picture.size))
    elif kind == "turned":
        picture = decoded(picture, quality).transpose(Image.Transpose.ROTATE_90)
    elif kind == "cmyk":
        picture = picture.convert("CMYK")
    if path.suffix == ".heic":
        import pillow_heif  # of the extra `photos`

        pillow_heif.from_pillow(picture).save(path, quality=quality)
    elif path.suffix == ".png":
        picture.save(path)
    elif kind == "rgb":
        picture.save(path, quality=quality, keep_rgb=True)
    else:
        picture.save(path, quality=quality)
    return path


def decoded(picture: Image.Image, quality: int) -> Image.Image:
    """What is left of a picture after JPEG."""
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=quality)
    return Image.open(stream).convert("RGB")


def aligned(clean: Tensor, form: str) -> Tensor:
    """The clean image as a file of a format shows it: cropped or turned."""
    if form.startswith(("twice", "offgrid")):
        return clean[:, 3:, 5:]
    return torch.rot90(clean, 1, (1, 2)) if form.startswith("turned") else clean


def processed(y: Tensor, clean: Tensor, process: str) -> tuple[Tensor, Tensor]:
    """A photo as a program has changed it before it is stored, and the clean image beside it."""
    if process == "sharpened":
        mean = F.avg_pool2d(F.pad(y[None], (1, 1, 1, 1), mode="reflect"), 3, 1)[0]
        return (y + 0.7 * (y - mean)).clamp(-1, 1), clean
    if process == "gamma":
        y, clean = (2 * ((image + 1) / 2).clamp(0, 1) ** 0.7 - 1 for image in (y, clean))
    if process == "enlarged":
        small = F.interpolate(y[None], scale_factor=2 / 3, mode="bicubic", antialias=True)
        y = F.interpolate(small, y.shape[-2:], mode="bicubic")[0].clamp(-1, 1)
    return y, clean


def photographs(folder: Path | None, size: int, limit: int | None) -> dict[str, Tensor]:
    """The centres of photographs with a margin of `RADIUS` pixels, by their names."""
    files = (
        [photograph_file(name) for name in PHOTOGRAPHS]
        if folder is None
        else sorted(p for p in folder.rglob("*") if p.suffix in Image.registered_extensions())
    )
    side = size + 2 * RADIUS
    return {file.stem: centre(read_image(file).pixels, side) for file in files[:limit]}
