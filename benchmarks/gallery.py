"""Twelve photos with the defects that people bring, before and after, beside a classical method.

    python -m benchmarks.gallery                    # docs/before_after.md and its pictures
    python -m benchmarks.gallery --only scratches,shake --output /tmp/gallery

Public-domain photographs of scikit-image are photographed again, in linear light, as
`benchmarks.damage` does it: by a lens out of focus, a hand that shakes, too little light, a sensor
with noise, a poor JPEG file; as prints that have faded or are scratched; and as small, grey or
damaged copies. Nothing was chosen on them. A picture shows the photo, what the best
classical method at hand makes of it, and what the program does, pixel for pixel. The classical
methods are told what the program has to find: the blur, the noise, the holes, how bright it was.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from benchmarks import tables
from benchmarks.damage import blur, damaged, stored
from benchmarks.tasks import in_eight_bits, photograph_file
from d2ir_pl import restore
from d2ir_pl.api.restored import Restored
from d2ir_pl.degradations import Mask
from d2ir_pl.image_io import as_picture, read_image
from d2ir_pl.image_io.colour import BT601
from d2ir_pl.priors.memory import keep_freed_memory
from d2ir_pl.restoration.configs import load
from d2ir_pl.results.metrics import psnr

SIDE, GAP = 224, 4
"""Pixels of a photo, and between two pictures."""

Pixels = NDArray[np.float64]
"""`(H, W, 3)` in [0, 1]."""

Method = Callable[[Pixels, Pixels], Pixels]
"""A classical method: the photo, and the original, of which it may ask what it is told."""


@dataclass(frozen=True)
class Entry:
    """A photo of the page.

    Attributes:
        name: name of its picture.
        title: what is wrong with it.
        photograph: one of scikit-image's.
        place: top and left of the part that is shown.
        damage: makes the photo `(3, h, w)` of the original `(3, H, W)`, both in [-1, 1].
        config: what the program is told: `auto` where that is nothing.
        rival: name of the classical method.
        classical: the method.
        verdict: what one sees.
        painted: whether the program is given a mask of what is damaged, as a brush makes it.
    """

    name: str
    title: str
    photograph: str
    place: tuple[int, int]
    damage: Callable[[Tensor], Tensor]
    config: str
    rival: str
    classical: Method
    verdict: str
    painted: bool = False


def _again(kind: str, seed: int) -> Callable[[Tensor], Tensor]:
    return lambda photograph: damaged(photograph, kind, seed)


def _small(photograph: Tensor) -> Tensor:
    """A quarter of the size, in 8 bits."""
    size = [n // 4 for n in photograph.shape[-2:]]
    small = F.interpolate(photograph[None], size, mode="bicubic", antialias=True)[0]
    return in_eight_bits(small)


def _poor_copy(photograph: Tensor) -> Tensor:
    """Half of the size, soft, and a JPEG file of quality 50."""
    size = [n // 2 for n in photograph.shape[-2:]]
    soft = F.avg_pool2d(photograph[None], 3, 1, 1, count_include_pad=False)
    small = F.interpolate(soft, size, mode="bicubic", antialias=True)[0]
    return stored((small + 1) / 2, quality=50)


def _grey(photograph: Tensor) -> Tensor:
    weights = torch.tensor(BT601)[:, None, None]
    return in_eight_bits((photograph * weights).sum(0, keepdim=True).expand(3, -1, -1))


def _holes(photograph: Tensor) -> Tensor:
    """A corner torn off and a hole, black."""
    y = photograph.clone()
    rows, columns = torch.meshgrid(*(torch.arange(n) for n in y.shape[-2:]), indexing="ij")
    torn = rows + columns < 70
    hole = ((rows - 120) / 22.0) ** 2 + ((columns - 110) / 30.0) ** 2 < 1
    y[:, torn | hole] = -1
    return in_eight_bits(y)


def _noise_of(y: Pixels, clean: Pixels) -> float:
    return float((y - clean).std())


def _bm3d(y: Pixels, clean: Pixels) -> Pixels:
    from bm3d import bm3d_rgb

    found: Pixels = bm3d_rgb(y, _noise_of(y, clean))
    return found


def _brightened(y: Pixels, clean: Pixels) -> Pixels:
    """The photo with the light of the original, and BM3D with the noise that this leaves."""
    light = _to_light(y) * (_to_light(clean).mean() / max(float(_to_light(y).mean()), 1e-6))
    bright = np.clip(light, 0, 1) ** (1 / 2.2)
    return _bm3d(bright, clean)


def _to_light(y: Pixels) -> Pixels:
    return np.asarray(y**2.2, np.float64)


def _deconvolved(kind: str, seed: int) -> Method:
    """Richardson and Lucy's method in the light, told the blur, as often as is best."""

    def method(y: Pixels, clean: Pixels) -> Pixels:
        from skimage.restoration import richardson_lucy

        kernel = blur(kind, seed).double().numpy()
        border = kernel.shape[0]
        wide = np.pad(_to_light(y), ((border, border), (border, border), (0, 0)), "reflect")
        tried = [y]
        for times in (3, 6, 12, 25, 50):
            sharp = [richardson_lucy(wide[..., c], kernel, times) for c in range(3)]  # type: ignore[no-untyped-call]
            light = np.stack(sharp, -1)[border:-border, border:-border]
            tried.append(np.clip(light, 0, 1) ** (1 / 2.2))
        return min(tried, key=lambda x: float(((x - clean) ** 2).mean()))

    return method


def _levels(y: Pixels, clean: Pixels) -> Pixels:
    """Levels of each channel, as `auto levels` of editors sets them."""
    del clean
    low, high = np.percentile(y, (0.5, 99.5), axis=(0, 1))
    stretched: Pixels = np.clip((y - low) / (high - low), 0, 1)
    return stretched


def _variation(y: Pixels, clean: Pixels) -> Pixels:
    from skimage.restoration import denoise_tv_chambolle

    tried = [
        denoise_tv_chambolle(y, weight, channel_axis=-1)  # type: ignore[no-untyped-call]
        for weight in (0.01, 0.02, 0.04, 0.08)
    ]
    return min(tried, key=lambda x: float(((x - clean) ** 2).mean()))


def _filled(y: Pixels, clean: Pixels) -> Pixels:
    """The biharmonic equation in the holes."""
    from skimage.restoration import inpaint_biharmonic

    filled: Pixels = inpaint_biharmonic(y, _painted(y, clean), channel_axis=-1)
    return filled


def _filled_black(y: Pixels, clean: Pixels) -> Pixels:
    """The same in the black pixels."""
    from skimage.restoration import inpaint_biharmonic

    del clean
    filled: Pixels = inpaint_biharmonic(y, (y == 0).all(-1), channel_axis=-1)
    return filled


def _painted(y: Pixels, clean: Pixels) -> NDArray[np.bool_]:
    """What a careful person would paint: all that is damaged, and two pixels around it."""
    from scipy.ndimage import binary_dilation

    found: NDArray[np.bool_] = binary_dilation(np.abs(y - clean).max(-1) > 0.15, iterations=2)
    return found


def _lanczos(y: Pixels, clean: Pixels) -> Pixels:
    height, width = clean.shape[:2]
    picture = Image.fromarray((y * 255).round().astype(np.uint8))
    return np.asarray(picture.resize((width, height), Image.Resampling.LANCZOS)) / 255


def _as_it_is(y: Pixels, clean: Pixels) -> Pixels:
    del clean
    return y


ENTRIES = (
    Entry(
        "faded",
        "A print that has faded",
        "chelsea",
        (40, 120),
        _again("faded", 6),
        "faded",
        "levels of each channel",
        _levels,
        (
            "Contrast and colours come back by either method, ours a little less harshly; both "
            "make more of them than the original had, so that the faded print is the nearer by "
            "the numbers. `auto` took this photo for a poor JPEG alone and left it faded: it has "
            "to be told."
        ),
    ),
    Entry(
        "scratches",
        "A print with scratches",
        "astronaut",
        (0, 120),
        _again("scratched", 1),
        "inpainting",
        "biharmonic inpainting",
        _filled,
        (
            "The cracks go without much of a trace by either method: the classical one is a "
            "little nearer to the original, and ours leaves fewer smudges in the hair. They were "
            "painted over as with the brush of the page: `auto` looks for white scratches, and "
            "did not find these black ones."
        ),
        painted=True,
    ),
    Entry(
        "shake",
        "A hand that shook",
        "astronaut",
        (0, 120),
        _again("shake", 5),
        "auto",
        "Richardson-Lucy, told the blur",
        _deconvolved("shake", 5),
        (
            "Told the path of the hand, the classical method brings eyes and outlines back, with "
            "ghosts. The program finds a part of so long a path: hair, eyes and mouth are sharper, "
            "beside a ghost of the face, and by the numbers the photo was nearer to the original."
        ),
    ),
    Entry(
        "defocus",
        "Out of focus",
        "coffee",
        (60, 200),
        _again("defocus", 4),
        "auto",
        "Richardson-Lucy, told the blur",
        _deconvolved("defocus", 4),
        (
            "Told the blur, the classical method shows the rim, the spoon and its lights again, "
            "with ripples around them. Ours takes the noise away and is hardly sharper, with "
            "`deblur_defocus` as well: it does not find so large a disk in a noisy JPEG file."
        ),
    ),
    Entry(
        "soft",
        "Soft",
        "chelsea",
        (40, 120),
        _again("gaussian", 3),
        "auto",
        "Richardson-Lucy, told the blur",
        _deconvolved("gaussian", 3),
        (
            "Eyes and whiskers are as sharp as by the classical method, which was told the blur. "
            "There are fewer specks, and the fur looks combed."
        ),
    ),
    Entry(
        "dark",
        "Too little light",
        "coffee",
        (60, 200),
        _again("dark", 0),
        "auto",
        "exposure of the original, and BM3D told the noise",
        _brightened,
        (
            "Brighter and clean, in its own colours; the rim and the spoon keep their details, "
            "and the deepest shadows stay black. The classical method was told how bright the "
            "original was, and burns the cup out."
        ),
    ),
    Entry(
        "night",
        "At night, with lamps",
        "rocket",
        (130, 200),
        _again("night", 1),
        "auto",
        "exposure of the original, and BM3D told the noise",
        _brightened,
        (
            "The sky and the tower can be seen, much brighter than in the classical picture; "
            "lamps become white disks with halos in both."
        ),
    ),
    Entry(
        "noise",
        "Noise of a sensor",
        "astronaut",
        (0, 120),
        _again("noise", 2),
        "auto",
        "BM3D, told the noise",
        _bm3d,
        ("BM3D, told the noise, is the better one: ours leaves some of it in the dark suit."),
    ),
    Entry(
        "jpeg",
        "A poor JPEG file",
        "rocket",
        (130, 200),
        _again("jpeg", 3),
        "auto",
        "total variation, the best of four",
        _variation,
        ("The steps in the sky are gone, and the tower stays sharp."),
    ),
    Entry(
        "small",
        "A quarter of the size",
        "astronaut",
        (0, 120),
        _small,
        "super_resolution_x4",
        "Lanczos interpolation",
        _lanczos,
        (
            "Sharper than interpolation, but hair and skin look as if painted in watercolour: "
            "details that are lost are not known to so small a network."
        ),
    ),
    Entry(
        "grey",
        "Without colours",
        "chelsea",
        (40, 120),
        _grey,
        "colorization",
        "left grey",
        _as_it_is,
        (
            "Worse than the grey photo: a pale tint of blue and green, of which the cat has none. "
            "The small network knows too few colours of things; leave photos grey, or use a "
            "larger prior."
        ),
    ),
    Entry(
        "holes",
        "A torn corner and a hole",
        "coffee",
        (60, 200),
        _holes,
        "inpainting",
        "biharmonic inpainting",
        _filled_black,
        (
            "The rim of the cup goes on through the hole, where the classical method leaves a "
            "white blot; but a yellow smudge stays in the coffee, and the corner is blurred and "
            "tinted."
        ),
    ),
)
"""The page, in its order."""


@dataclass(frozen=True)
class Shown:
    """What became of an entry: pictures `(3, H, W)` in [-1, 1], and PSNR to the original in dB."""

    pictures: tuple[Tensor, Tensor, Tensor]
    psnr: tuple[float, float, float]
    found: str


def shown(entry: Entry) -> Shown:
    """Damage the photograph of an entry, and restore it in both ways."""
    top, left = entry.place
    whole = read_image(photograph_file(entry.photograph)).pixels
    clean = whole[:, top : top + SIDE, left : left + SIDE].clone()
    y = entry.damage(clean)
    result = _restored(entry, y, clean)
    rival = entry.classical(_array(y), _array(clean))
    classical = torch.from_numpy(np.moveaxis(rival, -1, 0)).float().clamp(0, 1) * 2 - 1
    before = F.interpolate(y[None], clean.shape[-2:], mode="nearest")[0]
    pictures = before, classical, result.photo.pixels
    scores = [float(psnr(x[None], clean[None])) for x in pictures]
    found = result.reasons[0] if result.reasons else ""
    return Shown(pictures, (scores[0], scores[1], scores[2]), found)


def _restored(entry: Entry, y: Tensor, clean: Tensor) -> Restored[Image.Image]:
    if not entry.painted:
        return restore(as_picture(y), entry.config)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "mask.png"
        Image.fromarray(_painted(_array(y), _array(clean))).save(file)
        method = load(entry.config).method
        return restore(as_picture(y), Mask(str(file), invert=True), method, region=str(file))


def _array(image: Tensor) -> Pixels:
    return (np.moveaxis(image.double().numpy(), 0, -1) + 1) / 2


def row(pictures: Sequence[Tensor]) -> Image.Image:
    """Pictures beside each other, pixel for pixel."""
    width, height = (max(x.shape[-i] for x in pictures) for i in (1, 2))
    whole = Image.new("RGB", (len(pictures) * (width + GAP) - GAP, height), "white")
    for i, x in enumerate(pictures):
        whole.paste(as_picture(x), (i * (width + GAP), 0))
    return whole


def page(results: Sequence[tuple[Entry, Shown]]) -> str:
    """The page of the documentation."""
    lines = [
        "# Before and after",
        "",
        "Twelve photos with the defects that people bring: the photo, what a classical method",
        "makes of it, and what the program does, pixel for pixel. The photographs are in the",
        "public domain and were photographed again by a simulation that is no part of the program",
        "([benchmarks/gallery.py](../benchmarks/gallery.py),",
        "[benchmarks/damage.py](../benchmarks/damage.py)); no setting was chosen on",
        "them. The page is made by `python -m benchmarks.gallery`.",
        "",
        tables.head("photo", "photo, dB", "classical, dB", "ours, dB", "told", "taken for"),
    ]
    for entry, result in results:
        scores = (f"{score:.2f}" for score in result.psnr)
        taken = result.found.removeprefix("taken for: ") if entry.config == "auto" else ""
        told = f"{entry.config}, a mask" if entry.painted else entry.config
        link = f"[{entry.title}](#{_anchor(entry)})"
        lines.append(tables.row(link, *scores, told, taken))
    lines += ["", "(PSNR to the original. Dark photos, and grey ones, say little by it.)"]
    for entry, _ in results:
        lines += ["", f"## {entry.title}", ""]
        alt = f"{entry.title}: the photo, {entry.rival}, and what the program does"
        lines += [f"![{alt}](before_after/{entry.name}.jpg)", ""]
        lines += [f"*The photo; {entry.rival}; ours (`--config {entry.config}`).* {entry.verdict}"]
    return "\n".join(lines) + "\n"


def _anchor(entry: Entry) -> str:
    return entry.title.lower().replace(",", "").replace(" ", "-")


def main(arguments: Sequence[str] | None = None) -> None:
    """Make the page with the arguments of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", default="", help="some of the photos, commas between")
    parser.add_argument("--output", type=Path, default=Path("docs"), help="a folder")
    options = parser.parse_args(arguments)
    chosen = [e for e in ENTRIES if not options.only or e.name in options.only.split(",")]
    folder = options.output / "before_after"
    folder.mkdir(parents=True, exist_ok=True)
    results = []
    for entry in chosen:
        result = shown(entry)
        row(result.pictures).save(folder / f"{entry.name}.jpg", quality=90, subsampling=0)
        print(entry.name, *(f"{score:.2f}" for score in result.psnr), result.found, flush=True)
        results.append((entry, result))
    (options.output / "before_after.md").write_text(page(results), encoding="utf-8")


if __name__ == "__main__":
    keep_freed_memory()
    main()
