"""How `denoising` does on photos of real cameras, beside BM3D and total variation.

    python -m benchmarks.real_noise FOLDER
    python -m benchmarks.real_noise FOLDER --methods denoising --precision bf16-mixed
    python -m benchmarks.real_noise FOLDER --methods bm3d --strengths 0.04,0.06

FOLDER holds noisy photos in `input/` and the same scenes without noise, under the same names, in
`reference/`, as data sets of real noise do. A line of the table is a photo: PSNR in dB over its
three channels. BM3D is told a constant noise and total variation a constant weight, the same for
all photos: each strength has its column. Settings are chosen on other photos.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks import tables
from benchmarks.classical import smooth
from d2ir_pl import restore
from d2ir_pl.image_io import read_image
from d2ir_pl.priors import load_prior
from d2ir_pl.priors.precision import DTYPES, Precision, resolve
from d2ir_pl.results.metrics import psnr

METHODS = ("denoising", "auto", "bm3d", "tv")
Image = NDArray[np.float64]
Denoise = Callable[[Path], Tensor]
"""Restores the photo of a file: `(1, 3, H, W)` in [-1, 1]."""


def pairs(folder: Path) -> list[tuple[Path, Path]]:
    """The noisy photos of a folder, each with its reference.

    Raises:
        ValueError: if there are none.
    """
    found = [(p, folder / "reference" / p.name) for p in sorted((folder / "input").glob("*"))]
    found = [(noisy, clean) for noisy, clean in found if clean.is_file()]
    if not found:
        raise ValueError(f"{folder} needs photos in input/ and, of the same names, in reference/")
    return found


def shipped(config: str, prior_name: str, precision: Precision) -> Denoise:
    """What a shipped config makes of a photo."""
    prior = load_prior(prior_name)
    prior.cast(DTYPES[resolve(precision, torch.device("cpu"))])
    return lambda path: restore(path, config, prior=prior).restoration.x0


def classical(restored: Callable[[Image], Image]) -> Denoise:
    """What a function of images `(H, W, 3)` in [0, 1] makes of a photo."""

    def denoise(path: Path) -> Tensor:
        y = (np.moveaxis(read_image(path).pixels.double().numpy(), 0, -1) + 1) / 2
        x = torch.from_numpy(np.moveaxis(restored(y), -1, 0)).float()
        return x[None].clamp(0, 1) * 2 - 1

    return denoise


def bm3d(noise: float) -> Denoise:
    """BM3D for colour photos, of the package `bm3d` (the extra `benchmark`)."""
    from bm3d import bm3d_rgb  # it is slow to import

    return classical(lambda y: np.asarray(bm3d_rgb(y, noise)))


def table(photos: Sequence[tuple[Path, Path]], methods: Mapping[str, Denoise]) -> None:
    """Print a line for each photo as soon as it is done, and the means."""
    print(tables.head("photo", "input", *methods))
    rows = []
    for noisy, clean in photos:
        x = read_image(clean).pixels[None]
        images = [read_image(noisy).pixels[None], *(f(noisy) for f in methods.values())]
        rows.append([float(psnr(image, x)) for image in images])
        print(tables.row(noisy.stem, *(f"{value:.2f}" for value in rows[-1])), flush=True)
    means = [statistics.mean(column) for column in zip(*rows, strict=True)]
    print(tables.row("mean", *(f"{value:.2f}" for value in means)))


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--methods", default="denoising,bm3d,tv", help=", ".join(METHODS))
    parser.add_argument("--strengths", default="0.05", help="BM3D's noise and TV's weight")
    parser.add_argument("--prior", default="natural-small")
    parser.add_argument("--precision", choices=("auto", *DTYPES), default="auto")
    parser.add_argument("--limit", type=int, default=None, help="only the first photos")
    options = parser.parse_args(arguments)
    methods: dict[str, Denoise] = {}
    for name in options.methods.split(","):
        if name not in METHODS:
            parser.error(f"method {name!r} is unknown: use {', '.join(METHODS)}")
        if name in ("denoising", "auto"):
            methods[f"`{name}`"] = shipped(name, options.prior, options.precision)
            continue
        for strength in map(float, options.strengths.split(",")):
            if name == "bm3d":
                methods[f"BM3D, {strength}"] = bm3d(strength)
            else:
                methods[f"TV, {strength}"] = classical(
                    lambda y, weight=strength: smooth(y, weight, channel_axis=-1)  # type: ignore[misc]
                )
    table(pairs(options.folder)[: options.limit], methods)


if __name__ == "__main__":
    main()
