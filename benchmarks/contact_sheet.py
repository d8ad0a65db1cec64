"""A contact sheet: damaged photos and what `auto` makes of them, side by side at 100 %.

    python -m benchmarks.contact_sheet                  # docs/contact_sheet.jpg
    python -m benchmarks.contact_sheet --before photos --after results/restored --output new.png

Without folders, public-domain photographs are damaged as in `benchmarks.damage`, and restored. A
pair is the middle of a photo before and after, pixel for pixel, under what it was taken for.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw
from torch import Tensor

from benchmarks.damage import damaged
from benchmarks.diagnosis import cut
from benchmarks.tasks import photograph_file
from d2ir_pl import restore
from d2ir_pl.image_io import EXTENSIONS, as_picture, read_image
from d2ir_pl.priors.memory import keep_freed_memory

SHOWN = (
    *(("dark", "coffee"), ("night", "rocket"), ("noise", "chelsea"), ("gaussian", "astronaut")),
    *(("defocus", "coffee"), ("shake", "astronaut"), ("faded", "chelsea"), ("framed", "rocket")),
)
"""Kinds of damage, and the photographs that show them."""
SIDE, LINE, COLUMNS = 200, 14, 2
"""Pixels of a photo that are shown, height of a line of text, and pairs beside each other."""


def sheet(pairs: Sequence[tuple[str, Tensor, Tensor]]) -> Image.Image:
    """The pairs of photos `(3, H, W)` in [-1, 1], each with its title, in one picture."""
    rows = -(-len(pairs) // COLUMNS)
    width, height = 2 * SIDE + 8, SIDE + LINE + 6
    picture = Image.new("RGB", (COLUMNS * width, rows * height), "white")
    pen = ImageDraw.Draw(picture)
    for i, (title, *images) in enumerate(pairs):
        left, top = i % COLUMNS * width, i // COLUMNS * height
        pen.text((left + 2, top + 1), title, "black")
        for j, image in enumerate(images):
            shown = as_picture(cut(image, SIDE))
            picture.paste(shown, (left + j * (SIDE + 2), top + LINE))
    return picture


def made() -> list[tuple[str, Tensor, Tensor]]:
    """Public-domain photographs after damage, and restored by `auto`."""
    pairs = []
    for seed, (kind, name) in enumerate(SHOWN):
        photograph = cut(read_image(photograph_file(name)).pixels, SIDE + 56)
        y = damaged(photograph, kind, seed)
        result = restore(as_picture(y), "auto")
        pairs.append((f"{kind}; {result.reasons[0]}", y, result.photo.pixels))
    return pairs


def read(before: Path, after: Path) -> list[tuple[str, Tensor, Tensor]]:
    """Photos in two folders, by their names without extensions."""
    files = {path.stem: path for path in sorted(after.iterdir()) if path.suffix in EXTENSIONS}
    own = [path for path in sorted(before.iterdir()) if path.stem in files]
    return [(p.stem, read_image(p).pixels, read_image(files[p.stem]).pixels) for p in own]


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the sheet, with the arguments of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--before", type=Path, help="a folder of photos")
    parser.add_argument("--after", type=Path, help="the folder of their restorations")
    parser.add_argument("--output", type=Path, default=Path("docs/contact_sheet.jpg"))
    options = parser.parse_args(arguments)
    if (options.before is None) != (options.after is None):
        parser.error("--before and --after belong together: give both, or none")
    pairs = made() if options.before is None else read(options.before, options.after)
    sheet(pairs).save(options.output, quality=88)


if __name__ == "__main__":
    keep_freed_memory()
    main()
