"""Camera shakes: how well their kernels and images are found, in Levin's protocol.

    python -m benchmarks.shakes                            # public-domain photographs, 256x256
    python -m benchmarks.shakes --size 512 --linear
    python -m benchmarks.shakes --lamps                    # at night, with lamps that leave trails
    python -m benchmarks.shakes --linear --known --response srgb    # what the response is worth
    python -m benchmarks.shakes --photographs FOLDER --limit 16
    python -m benchmarks.shakes --data FOLDER              # input/*.png and reference/*.npz

A photo and its kernel may be shifted against each other, which nobody can see, and nothing is known
of what lies outside. So 15 pixels of border are left out, and the shift by quarters of a pixel, up
to 5, is taken that fits best. The error ratio divides the squared error by that of a sparse
deconvolution which is told the true kernel; up to 2, a kernel counts as found.

Source: Levin, Weiss, Durand and Freeman, Understanding and evaluating blind deconvolution
algorithms, 2009; the sparse deconvolution: Levin, Fergus, Durand and Freeman, Image and depth from
a conventional camera with a coded aperture, 2007.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks import tables
from benchmarks.shake_set import Shaken, made, photographs, read
from d2ir_pl.degradations import Blur, Degradation, Phi
from d2ir_pl.degradations.convolutional_blur import Response
from d2ir_pl.diffusion.randomness import image_generator
from d2ir_pl.image_io.pictures import as_picture
from d2ir_pl.operators.convolution import ConvolutionOperator
from d2ir_pl.priors import Prior, load_prior
from d2ir_pl.priors.memory import keep_freed_memory
from d2ir_pl.priors.precision import DTYPES, resolve
from d2ir_pl.restoration import Problem
from d2ir_pl.restoration.configs import Setup, load
from d2ir_pl.results.metrics import kernel_similarity

BORDER, REACH, STEP = 15, 5, 0.25
"""Pixels of border that are left out, largest shift, and the step of shifts."""
SPARSE_WEIGHT, EXPONENT = 0.001, 0.8
"""Weight of the gradients' power in the sparse deconvolution, and its exponent."""
REWEIGHTINGS, ITERATIONS = 3, 60
"""How often it is reweighted, and conjugate-gradient iterations each time."""


def aligned_error(x: Tensor, reference: Tensor) -> tuple[float, int]:
    """The smallest sum of squared differences over shifts, and the number of values.

    Args:
        x: `(C, H, W)` restored image in [0, 1].
        reference: `(C, H, W)` the true one.
    """
    inner = reference[:, BORDER:-BORDER, BORDER:-BORDER].double()
    h, w = inner.shape[-2:]
    wide = F.pad(x[None].double(), (1, 1, 1, 1), mode="replicate")[0]

    def error(dy: float, dx: float) -> float:
        i, j = math.floor(dy), math.floor(dx)
        u, v = dy - i, dx - j
        part = wide[:, BORDER + 1 + i :, BORDER + 1 + j :][:, : h + 1, : w + 1]
        rows = (1 - u) * part[:, :h] + u * part[:, 1 : h + 1]
        moved = (1 - v) * rows[:, :, :w] + v * rows[:, :, 1 : w + 1]
        return float((moved - inner).square().sum())

    whole = range(-REACH, REACH + 1)
    _, y0, x0 = min((error(i, j), i, j) for i in whole for j in whole)
    near = [STEP * n for n in range(-4, 5)]
    ends = (-REACH, REACH)
    rows = [y0 + d for d in near if ends[0] <= y0 + d <= ends[1]]
    columns = [x0 + d for d in near if ends[0] <= x0 + d <= ends[1]]
    return min(error(i, j) for i in rows for j in columns), inner.numel()


def sparse_deconvolution(y: Tensor, kernel: Tensor) -> Tensor:
    """The image `(C, h, w)` that explains a photo by a kernel with sparse gradients.

    argmin ||k * x - y||^2 + w sum_d c_d |d x|^0.8, d first and second differences, by iteratively
    reweighted least squares; x reaches beyond the photo by the kernel's radius.

    Args:
        y: `(C, h, w)` photo in [0, 1].
        kernel: `(k, k)` of a correlation.
    """
    r = kernel.shape[-1] // 2
    y = y[:, None]
    x = F.pad(y, (r,) * 4, mode="replicate")
    size, seen = (x.shape[-2], x.shape[-1]), (y.shape[-2], y.shape[-1])
    blur = ConvolutionOperator(kernel[None], size, seen, "extend")
    weights = [torch.ones_like(d) for d in _differences(x)]
    for _ in range(REWEIGHTINGS):

        def normal(v: Tensor, weights: list[Tensor] = weights) -> Tensor:
            pairs = zip(weights, _differences(v), strict=True)
            rough = _transposed([w * d for w, d in pairs], v)
            return blur.adjoint(blur.forward(v)) + SPARSE_WEIGHT * rough

        residual = blur.adjoint(y) - normal(x)
        p, rr = residual, residual.square().sum()
        for _ in range(ITERATIONS):
            a_p = normal(p)
            step = rr / (p * a_p).sum()
            x, residual = x + step * p, residual - step * a_p
            rr, before = residual.square().sum(), rr
            p = residual + rr / before * p
        weights = [
            s * d.abs().clamp_min(0.01) ** (EXPONENT - 2)
            for s, d in zip((1, 1, 0.25, 0.25, 0.25), _differences(x), strict=True)
        ]
    return x[:, 0, r:-r, r:-r]


def _differences(x: Tensor) -> list[Tensor]:
    d_x, d_y = x.diff(dim=-1), x.diff(dim=-2)
    return [d_x, d_y, d_x.diff(dim=-1), d_y.diff(dim=-2), d_x.diff(dim=-2)]


def _transposed(values: list[Tensor], like: Tensor) -> Tensor:
    """The transpose of `_differences`."""
    with torch.enable_grad():
        x = torch.zeros_like(like, requires_grad=True)
        total = torch.stack(
            [(d * v).sum() for d, v in zip(_differences(x), values, strict=True)]
        ).sum()
        (back,) = torch.autograd.grad(total, x)
    return back


def setup_of(config: str, response: Response) -> Setup:
    """What restores shaken photos: a shipped config, with a blur of some response.

    Args:
        config: name of the config.
        response: how the camera has stored light, for its blur.
    """
    return load(config, {"degradation": {"init_args": {"response": response}}})


def row(
    shaken: Shaken, setup: Setup, known: bool, prior: Prior, output: Path | None
) -> list[float]:
    """PSNR of the input and of the restored photo, error ratio, kernel similarity, and seconds.

    Args:
        shaken: a photo and the truth about it.
        setup: what restores it.
        known: whether it is told the true kernel.
        prior: the prior.
        output: folder that the photo, its restoration and its kernel go to.
    """
    degradation: Degradation = setup.degradation
    if known:
        assert isinstance(degradation, Blur)
        logits = shaken.kernel.clamp_min(1e-30).log()[None]
        degradation = degradation.resized(shaken.kernel.shape[-1]).told(Phi(logits=logits))
    start = time.perf_counter()
    problem = Problem.of(shaken.y[None], degradation, [image_generator(0, shaken.name)])
    result = setup.method.restore(problem, prior)
    seconds = time.perf_counter() - start
    grey = bool((shaken.x == shaken.x[:1]).all())

    def unit(x: Tensor) -> Tensor:
        image = ((x.clamp(-1, 1) + 1) / 2 * 255).round() / 255
        return image.mean(0, keepdim=True) if grey else image

    x = (shaken.x + 1) / 2
    x = x[:1] if grey else x
    error, count = aligned_error(unit(result.x0[0]), x)
    before, _ = aligned_error(unit(shaken.y), x)
    told, _ = aligned_error(sparse_deconvolution(unit(shaken.y), shaken.kernel), x)
    assert isinstance(degradation, Blur)
    kernel = degradation.kernel(result.phi)[0]
    if output is not None:
        output.mkdir(parents=True, exist_ok=True)
        as_picture(result.x0[0]).save(output / f"{shaken.name}.png")
        as_picture(shaken.y).save(output / f"{shaken.name}_shaken.png")
        picture = 2 * kernel / kernel.max() - 1
        as_picture(picture.expand(3, -1, -1)).save(output / f"{shaken.name}_kernel.png")
    psnrs = (-10 * math.log10(e / count) for e in (before, error))
    similarity = float(kernel_similarity(kernel, shaken.kernel))
    return [*psnrs, error / told, similarity, seconds]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark with the arguments of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, help="a set with references; made if absent")
    parser.add_argument("--photographs", type=Path, help="sharp ones that the set is made of")
    parser.add_argument("--size", type=int, default=256, help="side of their crops")
    parser.add_argument("--linear", action="store_true", help="blur them in linear light")
    parser.add_argument("--lamps", action="store_true", help="darken them, and add lamps")
    parser.add_argument("--limit", type=int, help="only the first so many")
    parser.add_argument("--config", default="blind_deblur_kernel")
    parser.add_argument(
        "--response",
        choices=get_args(Response),
        default="linear",
        help="what the blur is told of how the camera has stored light",
    )
    parser.add_argument("--known", action="store_true", help="tell it the true kernels")
    parser.add_argument("--precision", choices=["auto", "bf16", "fp32"], default="auto")
    parser.add_argument("--output", type=Path, help="folder for photos, restorations and kernels")
    options = parser.parse_args(arguments)
    if options.data is None:
        files = photographs(options.photographs)
        photos = made(files, options.size, options.linear, options.lamps)
    else:
        photos = read(options.data)
    prior = load_prior("natural-small").cast(DTYPES[resolve(options.precision, "cpu")])
    print(tables.head("photo", "shake", "input", "PSNR", "error ratio", "similarity", "s"))
    rows, setup = [], setup_of(options.config, options.response)
    for shaken in islice(photos, options.limit):
        rows.append(row(shaken, setup, options.known, prior, options.output))
        shown = [f"{value:.2f}" for value in rows[-1]]
        print(tables.row(shaken.name, shaken.about, *shown), flush=True)
    means = [f"{statistics.mean(column):.2f}" for column in zip(*rows, strict=True)]
    print(tables.row("mean", "", *means))
    found = sum(values[2] <= 2 for values in rows)
    worse = sum(values[1] < values[0] for values in rows)
    print(f"\nError ratio up to 2: {found} of {len(rows)}; below their input: {worse}.")


if __name__ == "__main__":
    keep_freed_memory()
    main()
