"""Photographs made smaller with and without anti-aliasing, and restored at their size.

    python -m benchmarks.reduced
    python -m benchmarks.reduced --photographs FOLDER --limit 4 --size 144 --factors 2,3,4

Each photograph is reduced by each factor in four ways, gets white noise, and is restored as
`super_resolution_x4` (bicubic, with anti-aliasing) and as `super_resolution_aliased` do, both
without a choice, and as `super_resolution_x4` chooses by spectrum and edges. A line of the table is
the mean of the photographs of one way: PSNR in dB of the enlarged photo and of these three, and how
many were taken for aliased or said to look so. Settings are chosen on other photographs than the
eight in the public domain that are the default.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks import tables
from benchmarks.kinds import RADIUS
from benchmarks.tasks import SIZE, in_eight_bits
from benchmarks.written import photographs
from d2ir_pl import restore
from d2ir_pl.degradations import Downsampling
from d2ir_pl.diagnosis.aliased import FOUND, sampled
from d2ir_pl.diffusion.randomness import image_generator, normal_like
from d2ir_pl.priors import Prior, load_prior
from d2ir_pl.priors.memory import keep_freed_memory
from d2ir_pl.priors.precision import DTYPES, resolve
from d2ir_pl.restoration.configs import load
from d2ir_pl.results.metrics import psnr

WAYS = {
    "bicubic": {"mode": "bicubic", "antialias": True},
    "area": {"mode": "area"},
    "linear, aliased": {"mode": "bilinear"},
    "cubic, aliased": {"mode": "bicubic"},
}
"""The ways in which photographs are made smaller: arguments of PyTorch's `interpolate`."""


def reduced(clean: Tensor, factor: int, way: str, noise: float, name: str) -> Tensor:
    """A small photo of 8 bits.

    Args:
        clean: `(3, H, W)` in [-1, 1].
        factor: by which both sides shrink.
        way: one of `WAYS`.
        noise: standard deviation in [0, 1].
        name: name of the photograph, from which the noise is drawn.
    """
    y = F.interpolate(clean[None], scale_factor=1 / factor, **WAYS[way])  # type: ignore[arg-type]
    y = y + 2 * noise * normal_like(y, [image_generator(0, name)])
    return in_eight_bits(y[0])


def scores(y: Tensor, clean: Tensor, factor: int, prior: Prior) -> tuple[list[float], bool, bool]:
    """PSNR in dB of the enlarged photo, as `bicubic`, as aliased, as chosen; what was said.

    Args:
        y: `(3, h, w)` the small photo.
        clean: `(3, H, W)` the photograph.
        factor: by which it was made smaller.
        prior: the diffusion prior.

    Returns:
        The scores, whether it was taken for aliased, and whether it was only said to look so.
    """
    enlarged = F.interpolate(y[None], clean.shape[-2:], mode="bicubic").clamp(-1, 1)
    images = [enlarged]
    for config, kernel in (("x4", "bicubic"), ("aliased", "bilinear_aliased")):
        family = Downsampling(factor, kernel)  # type: ignore[arg-type]
        method = load(f"super_resolution_{config}").method
        restored = restore((y + 1) / 2, family, method, prior, second_opinion=False)
        images.append(restored.restoration.x0.clamp(-1, 1))
    _, sentence = sampled(y, Downsampling(factor), may_change=True)
    taken = sentence == FOUND
    images.append(images[2] if taken else images[1])
    found = [float(psnr(image, clean[None])) for image in images]
    return found, taken, bool(sentence) and not taken


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark with the arguments of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--photographs", type=Path, help="a folder; eight of the public domain")
    parser.add_argument("--limit", type=int, help="only the first so many photographs")
    parser.add_argument("--size", type=int, default=SIZE, help="side of the photographs' crops")
    parser.add_argument("--factors", default="4", help="some, with commas between")
    parser.add_argument("--noises", default="0", help="in [0, 1], with commas between")
    options = parser.parse_args(arguments)
    prior = load_prior("natural-small").cast(DTYPES[resolve("auto", torch.device("cpu"))])
    clean = photographs(options.photographs, options.size, options.limit)
    heads = ("made by", "photos", "taken for aliased", "said", "enlarged", "`bicubic`")
    print(tables.head(*heads, "`bilinear_aliased`", "chosen"))
    for way in WAYS:
        rows = []
        factors, noises = (
            map(int, options.factors.split(",")),
            map(float, options.noises.split(",")),
        )
        for factor, noise, name in itertools.product(factors, noises, clean):
            side = options.size - options.size % factor
            inner = clean[name][:, RADIUS : RADIUS + side, RADIUS : RADIUS + side]
            rows.append(scores(reduced(inner, factor, way, noise, name), inner, factor, prior))
        means = [statistics.mean(column) for column in zip(*(row[0] for row in rows), strict=True)]
        taken, said = sum(row[1] for row in rows), sum(row[2] for row in rows)
        texts = (f"{value:.2f}" for value in means)
        print(tables.row(way, len(rows), taken, said, *texts), flush=True)


if __name__ == "__main__":
    keep_freed_memory()
    main()
