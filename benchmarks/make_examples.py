"""Makes `examples/`: public-domain photographs, clean and blurred as a camera would blur them.

    python -m benchmarks.make_examples
    python -m benchmarks.make_examples --output FOLDER

Each is blurred by a Gaussian whose width is drawn with a frozen seed, cropped after that, so that
what lies outside it is not its mirror image, and gets noise of standard deviation 0.02. The bundled
ones were made when noise was drawn in another order: clean photographs and widths are the same
today, the noise is not.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from benchmarks.tasks import PHOTOGRAPHS, make
from d2ir_pl.image_io import write_png

EXAMPLES = ("astronaut", "chelsea", "coffee")

_FOLDER = Path(__file__).parent.parent / "examples"


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the photographs, with the arguments of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--size", type=int, default=256, help="height and width in pixels")
    parser.add_argument("--output", type=Path, default=_FOLDER)
    options = parser.parse_args(arguments)
    task = make("blur_gaussian_cropped", options.size)
    for name, y, clean in zip(PHOTOGRAPHS, task.y, task.reference, strict=True):
        if name in EXAMPLES:
            for folder, image in (("blurred", y), ("clean", clean)):
                (options.output / folder).mkdir(parents=True, exist_ok=True)
                write_png(options.output / folder / f"{name}.png", image)


if __name__ == "__main__":
    main()
