"""Makes `examples/`: public-domain photographs, clean and blurred as a camera would blur them.

    python -m benchmarks.make_examples

Each is blurred by a Gaussian of unknown width (drawn with a frozen seed) before it is cropped, so
that its border is nobody's mirror, and gets noise of standard deviation 0.02.
"""

from pathlib import Path

from benchmarks.tasks import make
from d2ir_pl.image_io import write_png

EXAMPLES = ("astronaut", "chelsea", "coffee")


def main() -> None:
    root = Path(__file__).parent.parent / "examples"
    task = make("blur_gaussian_cropped", size=256)
    for name, y, clean in zip(task.names, task.y, task.reference, strict=True):
        if name in EXAMPLES:
            for folder, image in (("blurred", y), ("clean", clean)):
                (root / folder).mkdir(parents=True, exist_ok=True)
                write_png(root / folder / f"{name}.png", image)


if __name__ == "__main__":
    main()
