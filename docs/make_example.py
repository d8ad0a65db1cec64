"""Makes `docs/example.jpg` and `docs/landing.jpg` of the bundled photos, in a minute on one core.

    python docs/make_example.py

The photos of `examples/blurred` are restored as `d2ir predict` does it without options. Both
pictures show them before and after with the estimated kernel in a corner; that of the read-me adds
the originals, which the program does not see.
"""

from pathlib import Path

import torch
from PIL import Image

from d2ir_pl import restore
from d2ir_pl.image_io import as_picture
from d2ir_pl.priors import load_prior

ROOT = Path(__file__).parents[1]
NAMES = ("astronaut", "chelsea", "coffee")
GAP, INSET = 6, 64
"""Pixels between photos, and of the side of a kernel's picture."""


def with_kernel(photo: Image.Image, kernel: torch.Tensor) -> Image.Image:
    """A restored photo with its kernel, brightest point white, in the upper left corner."""
    picture = as_picture((2 * kernel / kernel.max() - 1).expand(3, -1, -1))
    shown = photo.copy()
    shown.paste(picture.resize((INSET, INSET), Image.Resampling.NEAREST), (0, 0))
    return shown


def grid(rows: list[list[Image.Image]]) -> Image.Image:
    """Photos of equal size in rows, with white between them."""
    width, height = rows[0][0].size
    size = (len(rows[0]) * (width + GAP) - GAP, len(rows) * (height + GAP) - GAP)
    sheet = Image.new("RGB", size, "white")
    for i, row in enumerate(rows):
        for j, photo in enumerate(row):
            sheet.paste(photo, (j * (width + GAP), i * (height + GAP)))
    return sheet


def main() -> None:
    """Restore the photos and write both pictures."""
    prior = load_prior()
    blurred, restored, clean = [], [], []
    for name in NAMES:
        path = ROOT / "examples" / "blurred" / f"{name}.png"
        result = restore(path, prior=prior)
        assert isinstance(result.image, Image.Image)
        assert result.picture is not None
        blurred.append(Image.open(path))
        restored.append(with_kernel(result.image, result.picture))
        clean.append(Image.open(ROOT / "examples" / "clean" / f"{name}.png"))
        print(f"{name}: blurred by {result.parameters['width_major_px']} pixels", flush=True)
    grid([blurred, restored]).save(ROOT / "docs" / "landing.jpg", quality=88)
    photos = zip(blurred, restored, clean, strict=True)
    grid([list(row) for row in photos]).save(ROOT / "docs" / "example.jpg", quality=88)


if __name__ == "__main__":
    main()
