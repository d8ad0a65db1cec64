"""How `auto` does on what cameras and programs write: blurs and noise, stored in several formats.

    python -m benchmarks.formats
    python -m benchmarks.formats --limit 2 --formats png,jpeg90 --noises 0,0.01
    python -m benchmarks.formats --photographs FOLDER

Each photograph, at half its size, is blurred by a Gaussian, gets white noise, is stored as a file,
and restored from that file. A line of the table is the mean of the photographs: PSNR in dB of the
file and of what `auto` makes of it, the gain on the photograph that gains least, and what `auto`
took the files for. Settings are chosen on other photographs than the eight in the public domain
that are the default.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from benchmarks import tables
from benchmarks.kinds import RADIUS
from benchmarks.tasks import PHOTOGRAPHS, SIZE, blurred, centre, photograph_file
from d2ir_pl import restore
from d2ir_pl.diffusion.randomness import image_generator, normal_like
from d2ir_pl.image_io import as_picture, read_image
from d2ir_pl.operators.kernels import gaussian_kernel
from d2ir_pl.priors import Prior, load_prior
from d2ir_pl.priors.memory import keep_freed_memory
from d2ir_pl.priors.precision import DTYPES, resolve
from d2ir_pl.results.metrics import psnr

FORMATS = ("png", "jpeg75", "jpeg85", "jpeg90", "jpeg93", "jpeg95", "jpeg97", "webp80")
BLURS = (0.0, 1.0, 1.6, 2.5)
NOISES = (0.0, 0.01, 0.03, 0.05)


@dataclass(frozen=True)
class Outcome:
    """What `auto` made of one file.

    Attributes:
        before: PSNR in dB of the file.
        after: PSNR in dB of what was made of it.
        kinds: what the file was taken for.
    """

    before: float
    after: float
    kinds: str


def degrade(wide: Tensor, width: float, noise: float, name: str) -> Tensor:
    """Blur, noise and 8 bits.

    Args:
        wide: `(3, H, W)` in [-1, 1], with a margin of `RADIUS` pixels that is cut off.
        width: standard deviation of the Gaussian in pixels.
        noise: standard deviation in [0, 1].
        name: name of the photograph, from which the noise is drawn.
    """
    y = wide[:, RADIUS:-RADIUS, RADIUS:-RADIUS]
    if width:
        kernel = gaussian_kernel(width**2 * torch.eye(2)[None], 2 * RADIUS + 1)[0]
        y = blurred(wide, kernel, "cropped")
    return (y + 2 * noise * normal_like(y[None], [image_generator(0, name)])[0]).clamp(-1, 1)


def store(y: Tensor, form: str, folder: Path) -> Path:
    """Write an image as `png`, or as `jpeg` or `webp` with the quality at its end."""
    kind = form.rstrip("0123456789")
    path = folder / f"photo.{kind}"
    picture = as_picture(y)
    if kind == "png":
        picture.save(path)
    else:
        picture.save(path, quality=int(form.removeprefix(kind)))
    return path


def trial(path: Path, clean: Tensor, prior: Prior) -> Outcome:
    """Restore a file by `auto`."""
    restored = restore(path, "auto", prior=prior)
    y = read_image(path).pixels[None]
    return Outcome(
        float(psnr(y, clean[None])),
        float(psnr(restored.restoration.x0, clean[None])),
        restored.reasons[0].removeprefix("taken for: "),
    )


def line(form: str, width: float, noise: float, outcomes: Sequence[Outcome]) -> str:
    """The line of a cell."""
    gains = [o.after - o.before for o in outcomes]
    kinds = ", ".join(f"{k} ({n})" for k, n in Counter(o.kinds for o in outcomes).most_common())
    means = (
        statistics.mean(o.before for o in outcomes),
        statistics.mean(o.after for o in outcomes),
    )
    numbers = [f"{value:.2f}" for value in means]
    return tables.row(form, width or "sharp", noise, *numbers, f"{min(gains):+.2f}", kinds)


def photographs(folder: Path | None, size: int, limit: int | None) -> dict[str, Tensor]:
    """The centres of photographs with a margin of `RADIUS` pixels, by their names."""
    files = (
        [photograph_file(name) for name in PHOTOGRAPHS]
        if folder is None
        else sorted(p for p in folder.rglob("*") if p.suffix in Image.registered_extensions())
    )
    side = size + 2 * RADIUS
    return {file.stem: centre(read_image(file).pixels, side) for file in files[:limit]}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark with the arguments of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--photographs", type=Path, help="a folder; eight of the public domain")
    parser.add_argument("--limit", type=int, help="only the first so many photographs")
    parser.add_argument("--size", type=int, default=SIZE, help="side of the photographs' crops")
    parser.add_argument("--formats", default=",".join(FORMATS), help="some, with commas between")
    parser.add_argument("--blurs", default=",".join(map(str, BLURS)), help="widths in pixels")
    parser.add_argument("--noises", default=",".join(map(str, NOISES)), help="in [0, 1]")
    options = parser.parse_args(arguments)
    prior = load_prior("natural-small").cast(DTYPES[resolve("auto", "cpu")])
    clean = photographs(options.photographs, options.size, options.limit)
    print(tables.head("file", "blur", "noise", "input", "auto", "least gain", "taken for"))
    cells = itertools.product(
        options.formats.split(","),
        map(float, options.blurs.split(",")),
        map(float, options.noises.split(",")),
    )
    with tempfile.TemporaryDirectory() as folder:
        for form, width, noise in cells:
            outcomes = []
            for name, wide in clean.items():
                path = store(degrade(wide, width, noise, name), form, Path(folder))
                inner = wide[:, RADIUS:-RADIUS, RADIUS:-RADIUS]
                outcomes.append(trial(path, inner, prior))
            print(line(form, width, noise, outcomes), flush=True)


if __name__ == "__main__":
    keep_freed_memory()
    main()
