"""Makes the pictures of docs/degradations.md with the shipped configs, in about five minutes.

    python docs/make_gallery.py [CLASS ...]

Each bundled photograph is degraded as `--data.degrade true` does it, and restored. A picture shows
the middles of the original, the degraded photo (or all exposures) and the restored one, and what
`Degradation.picture` makes of the estimated phi, if anything.
"""

import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from d2ir_pl.degradations.observation import observe
from d2ir_pl.diffusion.randomness import image_generator, normal_like
from d2ir_pl.image_io import read_image
from d2ir_pl.priors import load_prior
from d2ir_pl.restoration import Problem
from d2ir_pl.restoration.configs import load
from d2ir_pl.restoration.construction import Settings
from d2ir_pl.results.metrics import psnr

ROOT = Path(__file__).parents[1]
SIDE, GAP = 160, 4
"""Pixels of each photo that are shown, and between them."""


@dataclass(frozen=True)
class Entry:
    """What a picture shows.

    Attributes:
        photo: name of a file in `examples/clean`.
        config: the shipped config that degrades and restores it.
        noise: standard deviation of the added noise in [0, 1].
        changed: arguments of the degradation that differ from the config's.
    """

    photo: str
    config: str
    noise: float = 0.02
    changed: Settings = field(default_factory=dict)


def turning_kernels() -> str:
    """A file of 3x3 kernels, straight lines that turn across the photo as its camera did."""
    i = torch.arange(21) - 10.0
    place = torch.arange(3) - 1.0
    y, x = (grid.flatten() for grid in torch.meshgrid(-place, place, indexing="ij"))
    angle = torch.atan2(x, -y).view(3, 3, 1, 1)  # along the circle about the middle
    length = 1 + 6 * (x**2 + y**2).sqrt().view(3, 3, 1, 1)
    along = i * angle.cos() - i[:, None] * angle.sin()  # rows go down
    aside = i[:, None] * angle.cos() + i * angle.sin()
    past = (along.abs() - length / 2).clamp_min(0)
    kernels = torch.exp(-(past**2 + aside**2))
    file = Path(tempfile.mkdtemp()) / "kernels.npy"
    np.save(file, (kernels / kernels.sum((2, 3), keepdim=True)).numpy())
    return str(file)


GALLERY = {
    "GaussianBlur": Entry("astronaut", "blind_deblur_anisotropic"),
    "Blur": Entry("coffee", "blind_deblur_kernel", 0.005, {"kernel_size": 21}),
    "VaryingBlur": Entry("chelsea", "deblur_varying", 0.01, {"kernels": turning_kernels()}),
    "MotionBlur": Entry("coffee", "deblur_motion"),
    "DefocusBlur": Entry("chelsea", "deblur_defocus"),
    "Downsampling": Entry("chelsea", "super_resolution_blind"),
    "Mask": Entry("astronaut", "inpainting_sparse", 0.02, {"missing": 0.7}),
    "Grayscale": Entry("coffee", "colorization", 0.0),
    "Light": Entry("chelsea", "low_light"),
    "Fading": Entry("coffee", "faded"),
    "Exposures": Entry("coffee", "hdr"),
    "Jpeg": Entry("chelsea", "jpeg", 0.0, {"draw_quality": [10, 10]}),
    "Identity": Entry("chelsea", "denoising", 0.1),
    "Compose": Entry("astronaut", "old_photo", 0.0),
}


def strip(entry: Entry) -> tuple[Tensor, float, float]:
    """The pictures side by side, `(3, SIDE, W)` in [0, 1], and the PSNR before and after."""
    path = ROOT / "examples" / "clean" / f"{entry.photo}.png"
    setup = load(entry.config, {"degradation": {"init_args": entry.changed}})
    clean, degradation, prior = read_image(path).pixels[None], setup.degradation, load_prior()
    generators = [image_generator(0, entry.photo, "degrade")]
    phi = degradation.draw(generators, clean)
    x = degradation.frame.embed(clean)
    y = observe(degradation, x, phi, lambda like: 2 * entry.noise * normal_like(like, generators))
    y = (y * 127.5).round() / 127.5
    problem = Problem.of(y, degradation, [image_generator(0, entry.photo)])
    found = setup.method.restore(problem, prior)
    seen = y[0] if y.ndim == 5 else y
    if seen.shape[-2:] != clean.shape[-2:]:
        seen = F.interpolate(seen, clean.shape[-2:], mode="nearest")
    shown = [_middle(image) for image in (*clean, *seen, *found.x0)]
    picture = degradation.picture(found.phi)
    if picture is not None:
        picture = picture[:, None].expand(-1, 3, -1, -1)
        large = picture.shape[-1] > SIDE
        shown.append(_middle(2 * picture[0] - 1) if large else F.interpolate(picture, SIDE)[0])
    gap = torch.ones(3, SIDE, GAP)
    tiles = torch.cat([part for image in shown for part in (gap, image)][1:], 2)
    before = psnr(seen[len(seen) // 2][None].clamp(-1, 1), clean)
    return tiles, float(before), float(psnr(found.x0, clean))


def _middle(image: Tensor) -> Tensor:
    """SIDE x SIDE pixels of an image in [-1, 1], in [0, 1]."""
    top, left = ((n - SIDE) // 2 for n in image.shape[-2:])
    return (image[:, top : top + SIDE, left : left + SIDE].clamp(-1, 1) + 1) / 2


def main(names: list[str]) -> None:
    """Write the pictures of some classes, or of all."""
    folder = ROOT / "docs" / "gallery"
    folder.mkdir(exist_ok=True)
    for name in names or GALLERY:
        tiles, before, after = strip(GALLERY[name])
        pixels = (tiles * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
        Image.fromarray(pixels).save(folder / f"{name}.jpg", quality=90)
        print(f"{name}: {before:.2f} to {after:.2f} dB", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
