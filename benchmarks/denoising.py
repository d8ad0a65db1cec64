"""A prior as a remover of white noise of a known level, beside published denoisers.

    python -m benchmarks.denoising
    python -m benchmarks.denoising --priors natural-small,own.safetensors --images FOLDER --bm3d

Each image gets white noise of standard deviation sigma (of 255 grey levels), and the prior its
timestep with that ratio of noise to signal: x0 of sqrt(alpha_bar_t) y. The table is the PSNR in dB,
the mean over the images, neither clipped nor rounded before. The second table is the mean squared
error of the predicted noise, E |eps - eps_theta(x_t, t)|^2, at some timesteps; a prior that knows
nothing has 1. By default the images are public-domain photographs, whole; FOLDER may hold others,
such as CBSD68, on which the published numbers below the table were measured: only on that set can
they be compared.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks import tables
from benchmarks.tasks import GREY, PHOTOGRAPHS, photograph_file
from d2ir_pl.diffusion.randomness import image_generator, normal_like
from d2ir_pl.image_io import read_image
from d2ir_pl.inputs.finding import find_items
from d2ir_pl.priors import Prior, load_prior
from d2ir_pl.priors.precision import DTYPES
from d2ir_pl.results.metrics import psnr

SIGMAS = (5, 15, 25, 50, 100)
"""Standard deviations of the noise, in grey levels."""
TIMESTEPS = (50, 100, 200, 400, 800)
"""Timesteps at which the error of the predicted noise is measured."""

PUBLISHED: dict[str, tuple[float | None, ...]] = {
    "BM3D (Dabov et al. 2007)": (None, 33.52, 30.71, 27.38, None),
    "DnCNN (Zhang et al. 2017)": (None, 33.90, 31.24, 27.95, None),
    "FFDNet (Zhang et al. 2018)": (None, 33.87, 31.21, 27.96, None),
    "DRUNet (Zhang et al. 2021)": (None, 34.30, 31.69, 28.51, None),
}
"""Means over the colour images of CBSD68; not run here."""
SOURCE = """\
Published numbers: means over CBSD68, as tabulated by Zhang et al., Plug-and-play image restoration
with deep denoiser prior, IEEE TPAMI, 2021; on other images they are no comparison."""


def noisy(clean: Tensor, level: float, name: str) -> Tensor:
    """An image with white noise that belongs to its name and the level."""
    return clean + level * normal_like(clean, [image_generator(0, f"{name} {level:.6f}")])


@torch.no_grad()
def denoised(prior: Prior, y: Tensor, level: float) -> Tensor:
    """What the prior makes of images with white noise of that standard deviation in [-1, 1]."""
    t = prior.schedule.nearest(level)
    return prior.x0(math.sqrt(prior.schedule.level(t)) * y, t)


def bm3d(y: Tensor, level: float) -> Tensor:
    """What BM3D makes of an image with noise of that level (the extra `benchmark`)."""
    from bm3d import bm3d_rgb  # it is slow to import

    unit = ((y[0] + 1) / 2).permute(1, 2, 0).double().numpy()
    found = torch.from_numpy(np.asarray(bm3d_rgb(unit, level / 2)))
    return 2 * found.permute(2, 0, 1)[None].float() - 1


@torch.no_grad()
def noise_error(prior: Prior, clean: Tensor, t: int, name: str) -> float:
    """Mean squared error of the predicted noise of an image at a timestep."""
    level = prior.schedule.level(t)
    noise = normal_like(clean, [image_generator(0, f"{name} {t}")])
    x_t = math.sqrt(level) * clean + math.sqrt(1 - level) * noise
    return float((prior.eps(x_t, t) - noise).square().mean())


def images(folder: Path | None, size: int) -> dict[str, Tensor]:
    """Clean images `(1, 3, H, W)` by their names, the middle of those that are larger.

    Args:
        folder: where they lie; public-domain photographs if None.
        size: largest height and width in pixels.
    """
    if folder is None:
        files = {name: photograph_file(name) for name in PHOTOGRAPHS if name not in GREY}
        found = {name: read_image(path).pixels for name, path in files.items()}
    else:
        found = {i.name: read_image(i.path).pixels for i in find_items(str(folder), None)}
    cut = {}
    for name, image in found.items():
        top, left = (max(0, (n - size) // 2) for n in image.shape[-2:])
        cut[name] = image[None, :, top : top + size, left : left + size]
    return cut


def main(arguments: Sequence[str] | None = None) -> None:
    """Print both tables for the arguments of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--priors", default="natural-small", help="names or files, with commas")
    parser.add_argument("--images", type=Path, help="folder; public-domain photographs if left out")
    parser.add_argument("--size", type=int, default=512, help="largest side in pixels")
    parser.add_argument("--bm3d", action="store_true", help="a row for BM3D on the same images")
    parser.add_argument("--sigmas", default=",".join(map(str, SIGMAS)), help="of 255")
    parser.add_argument("--precision", choices=sorted(DTYPES), default="fp32")
    options = parser.parse_args(arguments)
    sigmas = [float(sigma) for sigma in options.sigmas.split(",")]
    clean = images(options.images, options.size)
    priors = {name: load_prior(name) for name in options.priors.split(",")}
    for prior in priors.values():
        prior.cast(DTYPES[options.precision])

    print(f"PSNR in dB, mean of {len(clean)} images, by the noise in grey levels\n")
    print(tables.head("denoiser", *(f"{sigma:g}" for sigma in sigmas)), flush=True)
    denoisers: dict[str, Callable[[Tensor, float], Tensor]]
    denoisers = {name: partial(denoised, prior) for name, prior in priors.items()}
    if options.bm3d:
        denoisers["BM3D, run here"] = bm3d
    for name, denoise in denoisers.items():
        means = []
        for sigma in sigmas:
            level = 2 * sigma / 255
            scores = [
                float(psnr(denoise(noisy(x, level, key), level), x)) for key, x in clean.items()
            ]
            means.append(f"{sum(scores) / len(scores):.2f}")
        print(tables.row(name, *means), flush=True)
    for name, published in PUBLISHED.items():
        known = dict(zip(SIGMAS, published, strict=True))
        row = [known.get(int(sigma)) for sigma in sigmas]
        cells = ("-" if value is None else f"{value:.2f}" for value in row)
        print(tables.row(f"{name}, published for CBSD68", *cells))
    print(f"\n{SOURCE}")
    print("\nMean squared error of the predicted noise, by timestep\n")
    print(tables.head("prior", *map(str, TIMESTEPS)), flush=True)
    for name, prior in priors.items():
        row = []
        for t in TIMESTEPS:
            errors = [noise_error(prior, x, t, key) for key, x in clean.items()]
            row.append(sum(errors) / len(errors))
        print(tables.row(name, *(f"{error:.4f}" for error in row)), flush=True)


if __name__ == "__main__":
    main()
