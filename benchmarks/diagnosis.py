"""What the program says of damage that it did not make: a table of confusions.

    python -m benchmarks.diagnosis --photographs FOLDER --limit 20
    python -m benchmarks.diagnosis --photographs FOLDER --save FOLDER

Each photograph is damaged in one of the ways of `benchmarks.damage`, in turn, and looked at as
`propose` does. The table has a line for each kind of damage: how many photographs, and what they
were taken for. A JPEG counts by what else is found.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from benchmarks import tables
from benchmarks.damage import KINDS, damaged
from benchmarks.tasks import photograph_files
from d2ir_pl.diagnosis.observed import observed_pixels
from d2ir_pl.diagnosis.proposal import propose
from d2ir_pl.image_io import Photo, read_image, write_png

FOUND = {
    "blind_deblur_kernel": "shaken",
    "deblur_defocus": "out of focus",
    "blind_deblur": "soft",
    "blind_deblur_anisotropic": "soft",
    "low_light": "dark",
    "faded": "faded",
    "jpeg": "JPEG",
}
"""What the columns call the findings."""


def findings(photo: Photo) -> list[str]:
    """What is found in a photo, in the words of `FOUND`; `nothing` if it is undamaged."""
    seen = observed_pixels(photo, photo.pixels)
    proposal = propose(photo.pixels, photo.tables, None, seen.mask, photo.codec, photo.step)
    found = [FOUND.get(config, config) for config in proposal.damage]
    for word in ("frame", "scratches"):
        found += [word] if any(s.startswith(word) for s in seen.findings) else []
    others = [name for name in found if name != "JPEG"]
    return others or found or ["nothing"]


def cut(pixels: Tensor, side: int) -> Tensor:
    """The middle of a photograph, at most `side` pixels high and wide."""
    top, left = (max(0, (n - side) // 2) for n in pixels.shape[-2:])
    return pixels[:, top : top + side, left : left + side]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark with the arguments of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--photographs", type=Path, help="a folder; scikit-image's if absent")
    parser.add_argument("--limit", type=int, default=10, help="photographs of each kind")
    parser.add_argument("--kinds", default=",".join(KINDS), help="some of them, commas between")
    parser.add_argument("--side", type=int, default=400, help="largest side in pixels")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--save", type=Path, help="a folder for the damaged photographs")
    options = parser.parse_args(arguments)
    files = photograph_files(options.photographs)
    kinds = options.kinds.split(",")
    print(tables.head("damage", "photographs", "taken for"))
    for k, kind in enumerate(kinds):
        counts: Counter[str] = Counter()
        for i in range(options.limit):
            number = options.seed + k + i * len(kinds)
            # Far apart in the folder, and another one for each kind.
            path = files[number * 7919 % len(files)]
            y = damaged(cut(read_image(path).pixels, options.side), kind, number)
            counts[" + ".join(findings(Photo(y)))] += 1
            if options.save is not None:
                options.save.mkdir(parents=True, exist_ok=True)
                write_png(options.save / f"{kind}_{i}_{path.stem}.png", y)
        found = ", ".join(f"{word} ({count})" for word, count in counts.most_common())
        print(tables.row(kind, options.limit, found), flush=True)


if __name__ == "__main__":
    main()
