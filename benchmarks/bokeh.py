"""Sharp subjects before soft grounds, which are no blurred photos.

    python -m benchmarks.bokeh
    python -m benchmarks.bokeh --photographs FOLDER --limit 40 --side 320
    python -m benchmarks.bokeh --restore --limit 6 --side 256

Each photo has the ground of one photograph, out of focus by a disk in linear light, and on it a
sharp piece of another, as large as 10 to 60 % of it, with the rim that a lens leaves. The light of
bright points is raised before, as real lamps are brighter than white. Half of them are JPEG files
of quality 85 to 97. The table has a line for each size of the subject: how many photos, how many of
them count as blurred and as what, and with `--restore` the mean and the least gain in dB of
`predict --config auto`, of which nothing is to be gained.
"""

from __future__ import annotations

import argparse
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from benchmarks import tables
from benchmarks.diagnosis import cut, findings
from benchmarks.tasks import photograph_files
from d2ir_pl import restore
from d2ir_pl.degradations.parametric_blur import disk_kernel
from d2ir_pl.image_io import read_image
from d2ir_pl.operators.encoding import from_light, to_light
from d2ir_pl.results.metrics import psnr

SIZES = (0.1, 0.2, 0.35, 0.6)
"""Shares of the photo that the subject takes."""
RADII = 2.5, 12.0
"""Smallest and largest radius in pixels of the disks of the ground."""
LAMPS = 0.8
"""Light from which a pixel of the ground is taken for that of a lamp."""


@dataclass(frozen=True)
class Bokeh:
    """A sharp subject before a soft ground.

    Attributes:
        photo: `(3, H, W)` in [-1, 1].
        subject: `(1, H, W)`, 1 where the subject is and 0 on the ground.
        radius: radius in pixels of the disks of the ground.
        quality: quality of its JPEG file; None for PNG.
    """

    photo: Tensor
    subject: Tensor
    radius: float
    quality: int | None


def bokeh(ground: Tensor, subject: Tensor, share: float, seed: int) -> Bokeh:
    """Lay a sharp photograph's piece on another one that is out of focus.

    Args:
        ground: `(3, H, W)` in [-1, 1].
        subject: `(3, H, W)` in [-1, 1], of whose middle a piece is taken.
        share: share of the photo that the subject takes.
        seed: of everything that is drawn.
    """
    g = np.random.default_rng(seed)
    radius = math.exp(g.uniform(math.log(RADII[0]), math.log(RADII[1])))
    light = to_light((ground + 1) / 2)
    light = light * (1 + 3 * (light > LAMPS))
    r = math.ceil(radius) + 1
    kernel = disk_kernel(torch.tensor([radius]), 2 * r + 1)[:, None]
    soft = F.conv2d(F.pad(light[:, None], (r,) * 4, mode="reflect"), kernel)[:, 0]
    rim = _outline(soft.shape[-2:], share, g)
    blended = rim * to_light((subject + 1) / 2) + (1 - rim) * soft
    noise = torch.from_numpy(g.standard_normal(light.shape)).float() * g.uniform(0, 0.006)
    photo = from_light((blended + noise * blended.clamp_min(0.02).sqrt()).clamp(0, 1))
    quality = int(g.integers(85, 98)) if g.random() < 0.5 else None
    return Bokeh(photo * 2 - 1, (rim > 0.5).float(), radius, quality)


def _outline(size: torch.Size, share: float, g: np.random.Generator) -> Tensor:
    """A bent ellipse of so large a share, whose rim is as wide as a pixel."""
    height, width = size
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    place = g.uniform(0.4, 0.6, 2)
    y, x = rows - place[0] * height, columns - place[1] * width
    stretch = math.exp(g.uniform(-0.3, 0.3))
    angle = torch.atan2(y, x)
    bent = 1.0 + sum(
        a * torch.sin(n * angle + p)
        for n, a, p in zip((2, 3, 5), g.uniform(0, 0.15, 3), g.uniform(0, 6.3, 3), strict=True)
    )
    far: Tensor = ((y * stretch) ** 2 + (x / stretch) ** 2).sqrt() / bent
    edge = float(far.flatten().kthvalue(max(1, int(share * far.numel()))).values)
    return (edge - far + 0.5).clamp(0, 1)[None].float()


def save(made: Bokeh, stem: Path) -> Path:
    """Write a photo as the file that it is, and return its path."""
    pixels = ((made.photo + 1) * 127.5).round().clamp(0, 255).byte().permute(1, 2, 0).numpy()
    path = stem.with_suffix(".png" if made.quality is None else ".jpg")
    if made.quality is None:
        Image.fromarray(pixels).save(path)
    else:
        Image.fromarray(pixels).save(path, quality=made.quality)
    return path


def gain(path: Path, made: Bokeh) -> float:
    """Gain in dB of `auto`, measured against the photo as it was before compression."""
    result = restore(path, "auto")
    before, truth = read_image(path).pixels[None], made.photo[None].clamp(-1, 1)
    return float(psnr(result.photo.pixels[None], truth) - psnr(before, truth))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark with the arguments of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--photographs", type=Path, help="a folder; scikit-image's if absent")
    parser.add_argument("--limit", type=int, default=8, help="photos of each size of the subject")
    parser.add_argument("--side", type=int, default=384, help="largest side in pixels")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--save", type=Path, help="a folder for the photos")
    parser.add_argument("--restore", action="store_true", help="restore them as well")
    options = parser.parse_args(arguments)
    files = photograph_files(options.photographs)
    print(tables.head("subject", "photos", "blurred", "taken for", "mean dB", "least dB"))
    with TemporaryDirectory() as temporary:
        folder = options.save or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for k, share in enumerate(SIZES):
            print(_line(files, folder, share, k, options), flush=True)


def _line(
    files: list[Path], folder: Path, share: float, k: int, options: argparse.Namespace
) -> str:
    """The line of a size of the subject."""
    counts: Counter[str] = Counter()
    gained: list[float] = []
    for i in range(options.limit):
        number = options.seed + k + i * len(SIZES)
        ground, subject = (files[(i * 7919 + k + n) % len(files)] for n in (0, 3))
        pieces = [cut(read_image(path).pixels, options.side) for path in (ground, subject)]
        size = [min(p.shape[d] for p in pieces) for d in (1, 2)]
        ground_y, subject_y = (p[:, : size[0], : size[1]] for p in pieces)
        made = bokeh(ground_y, subject_y, share, number)
        path = save(made, folder / f"{round(100 * share):02d}_{i:02d}_{subject.stem}")
        counts[" + ".join(findings(read_image(path)))] += 1
        if options.restore:
            gained.append(gain(path, made))
    blurred = sum(n for word, n in counts.items() if set(word.split(" + ")) & BLURS)
    taken = ", ".join(f"{word} ({count})" for word, count in counts.most_common())
    dB = [f"{sum(gained) / len(gained):+.2f}", f"{min(gained):+.2f}"] if gained else ["", ""]
    return tables.row(f"{share:.0%}", options.limit, blurred, taken, *dB)


BLURS = {"shaken", "out of focus", "soft"}
"""What blurred photos are taken for."""


if __name__ == "__main__":
    main()
