"""The program as the tests run it, and what it has left behind."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from photos import files
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor

from d2ir_pl.cli import main

QUICK = [
    *("--model.method.estimation.steps", "2"),
    *("--model.method.latent.iterations", "2", "--model.method.latent.ddim_steps", "1"),
    *("--model.method.latent.fixed_point_iterations", "1"),
    *("--trainer.accelerator", "cpu"),
    *("--trainer.precision", "32-true"),
]


def predict(inputs: Path | str, output: Path, *options: str) -> int:
    """Restore images with few steps, as `d2ir predict` does; returns the exit status."""
    where = ["--data.inputs", str(inputs), "--output", str(output)]
    return main(["predict", *where, *quickly(options)])


def quickly(options: Sequence[str], quick: Sequence[str] = QUICK) -> list[str]:
    """Options with those for few steps behind the configs, which would take them back."""
    configs = [i for i, name in enumerate(options) if name == "--config"]
    first = [word for i in configs for word in options[i : i + 2]]
    others = [word for i, word in enumerate(options) if not {i, i - 1} & set(configs)]
    if "auto" in first:  # which chooses the method itself
        start = list(quick).index("--trainer.accelerator")
        quick = quick[start:]
    return [*first, *quick, *others]


def pixels(path: Path) -> np.ndarray:
    """The samples of an image file."""
    return np.asarray(Image.open(path))


def table(output: Path) -> dict[str, dict[str, str]]:
    """The rows of `metrics.csv` by the names of the images."""
    with (output / "metrics.csv").open(newline="", encoding="utf-8") as file:
        return {row["name"]: row for row in csv.DictReader(file)}


def state_of(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Contents and time of the last change of all files below a folder, by their paths."""
    return {
        name: ((folder / name).read_bytes(), (folder / name).stat().st_mtime_ns)
        for name in files(folder)
    }


def hwc(image: Tensor) -> np.ndarray:
    """`(H, W, 3)` of `(3, H, W)`."""
    return image.permute(1, 2, 0).numpy()


def accumulate(folder: Path) -> EventAccumulator:
    """All that the event files of a run hold."""
    accumulator = EventAccumulator(str(folder), size_guidance={"images": 0, "scalars": 0})
    return accumulator.Reload()


NAMES = {"colour", "sub/größer 2", "grey", "alpha", "deep", "same.jpg", "same.png"}
"""Names of the images of the fixture `finished`."""
