"""Pictures of two runs side by side, for TensorBoard."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from d2ir_pl.errors import OutputError
from d2ir_pl.image_io import ImageError, eight_bits, read_image, resized, srgb_pixels
from d2ir_pl.reports.comparison import Comparison, Pair
from d2ir_pl.reports.photos import Photos
from d2ir_pl.results.folder import ResultFolder
from d2ir_pl.results.guards import require_no_link
from d2ir_pl.results.record import METRICS

LARGEST = 768
"""Longest side in pixels of each picture in a row."""


def write_pictures(output: Path, comparisons: Mapping[Path, Sequence[Comparison]]) -> None:
    """Write a run of TensorBoard for each image, with a row of pictures and what has changed.

    The tag of the row is `input | base | new | reference`, or `input | base | new`; scalars are
    `change/psnr` and so on, new minus base.

    Args:
        output: folder for the runs; those of the same images that it holds are replaced.
        comparisons: comparisons of all tasks, by the folder of the new results. If there are
            several folders, their names are part of the runs' names.

    Raises:
        OutputError: if the folder cannot be written to, lies in one of the runs, or two of the new
            ones have the same name.
    """
    _require_a_place(output, comparisons)
    folder = ResultFolder(output)
    folder.prepare()
    with folder.writing():
        for new, tasks in comparisons.items():
            for comparison in tasks:
                root = output / new.resolve().name if len(comparisons) > 1 else output
                _write(output, root / comparison.task, comparison)


def _require_a_place(output: Path, comparisons: Mapping[Path, Sequence[Comparison]]) -> None:
    """Check that the runs have different names, and lie outside the results that they compare."""
    names = Counter(new.resolve().name for new in comparisons)
    if twice := [name for name, count in names.items() if count > 1]:
        raise OutputError(f"two runs are called {twice[0]}: compare them one at a time")
    for comparison in (c for tasks in comparisons.values() for c in tasks):
        for run in (comparison.base.root.resolve(), comparison.new.root.resolve()):
            if run in (output.resolve(), *output.resolve().parents):
                raise OutputError(f"--output {output} lies in the run {run}: choose another folder")


def _write(output: Path, root: Path, comparison: Comparison) -> None:
    """Write the runs of a comparison below a folder in that of all comparisons."""
    photos = Photos.of(comparison.base)
    for pair in comparison.pairs:
        name = pair.base.name
        require_no_link(output, root / name)
        for old in (root / name).glob("events.out.tfevents.*"):
            old.unlink()
        with SummaryWriter(root / name) as writer:
            writer.add_image(*_row(comparison, pair, photos))
            for metric in METRICS:
                base, new = getattr(pair.base, metric), getattr(pair.new, metric)
                if base is not None and new is not None:
                    writer.add_scalar(f"change/{metric}", new - base)


def _row(comparison: Comparison, pair: Pair, photos: Photos) -> tuple[str, Tensor]:
    """The tag of a row, and its pictures side by side at the size of the restored one.

    Raises:
        OutputError: if the restored image of the base cannot be read.
    """
    name, base, new = pair.base.name, comparison.base, comparison.new
    made = base.degraded(name)
    photo, reference = photos.of_record(pair.base)
    if made.is_file():  # the program has degraded the photo itself
        photo, reference = made, photo
    named = {
        "input": base.preview(name) if photo is None else photo,
        "base": base.restored(name),
        "new": new.restored(name),
        "reference": reference,
    }
    read = {title: _read(path) for title, path in named.items()}
    shown = {title: pixels for title, pixels in read.items() if pixels is not None}
    if "base" not in shown:
        raise OutputError(f"{base.restored(name)} cannot be read: restore the image again")
    height, width = shown["base"].shape[-2:]
    scale = min(1.0, LARGEST / max(height, width))
    size = (max(1, round(scale * height)), max(1, round(scale * width)))
    return " | ".join(shown), eight_bits(torch.cat([resized(p, size) for p in shown.values()], 2))


def _read(path: Path | None) -> Tensor | None:
    """The pixels of a file, or None if there is no such file or it cannot be read."""
    if path is None:
        return None
    try:
        photo = read_image(path)
        return srgb_pixels(photo.pixels, photo)
    except (ImageError, OSError):
        return None
