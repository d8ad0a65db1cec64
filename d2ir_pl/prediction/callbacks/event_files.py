"""Event files of TensorBoard: a run for each image, with its curves and pictures."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from d2ir_pl.image_io import Photo, eight_bits, enlarged, resized, srgb_pixels
from d2ir_pl.operators.fetching import fetched
from d2ir_pl.operators.linear import size_of
from d2ir_pl.prediction.outcome import ImageResult
from d2ir_pl.restoration import Step
from d2ir_pl.results.pictures import uncertainty_picture

MOST_PICTURES = 20
"""Pictures along the way of one stage, at most."""
LONGEST = 2048
"""Longest side in pixels to which larger pictures are made smaller: each is encoded by itself."""
SIDE = 168
"""Longest side in pixels to which small pictures are enlarged: eight times the usual kernel."""


class EventFiles:
    """The runs of images in one folder, `<root>/<name>` each.

    Args:
        root: folder of the runs.
        images_every: number of steps from one picture to the next; 0 for no pictures.
    """

    def __init__(self, root: Path, images_every: int) -> None:
        self.root = root
        self.images_every = images_every
        self.photos: Mapping[str, Photo] = {}
        """Photos by their names, in whose colours the pictures along the way are."""
        self._writers: dict[str, SummaryWriter] = {}

    def begin(self, name: str) -> None:
        """Make a new run for an image, in place of an old one."""
        if name in self._writers:
            self._writers[name].close()
        run = self.root / name
        for old in run.glob("events.out.tfevents.*"):
            old.unlink()
        self._writers[name] = SummaryWriter(run)

    def log(self, step: Step, names: Sequence[str], curves: Mapping[str, Sequence[float]]) -> None:
        """Write the values of a step.

        Args:
            step: the step.
            names: names of the n images that it concerns.
            curves: n values by the name of their curve, such as `loss`.
        """
        for title, values in curves.items():
            for name, value in zip(names, values, strict=True):
                self._writers[name].add_scalar(f"{step.stage}/{title}", value, step.index)

    def pictures(self, step: Step, names: Sequence[str]) -> Callable[[], None] | None:
        """What writes the pictures of a step, of which it has copies; None where none are due.

        Args:
            step: the step.
            names: names of the images that it concerns.
        """
        every = max(self.images_every, step.total // MOST_PICTURES)
        if not self.images_every or (step.index % every and step.index + 1 < step.total):
            return None
        drawn = step.degradation.picture(step.phi)
        made = {f"{step.stage}/x0": _no_longer(step.x0())}
        if drawn is not None:
            made[f"{step.stage}/degradation"] = drawn
        shown = {
            tag: copy.clone() for tag, copy in zip(made, fetched([*made.values()]), strict=True)
        }
        runs = [(name, self._writers[name], self.photos.get(name)) for name in names]
        return partial(self._write, shown, step.index, runs)

    def end(self, image: ImageResult, scores: Mapping[str, float]) -> None:
        """Write the pictures and scores of a restored image."""
        writer = self._writers[image.name]
        for tag, picture in last_pictures(image).items():
            writer.add_image(tag, picture)
        for i, change in enumerate(image.phi_change):
            if change is not None:
                writer.add_scalar("estimation/phi_change", change, i + 1)
        for tag, value in scores.items():
            writer.add_scalar(tag, value)

    def close(self, names: Iterable[str]) -> None:
        """Finish the files of some images.

        Raises:
            OSError: if one of them cannot be written.
        """
        writers = [self._writers.pop(name) for name in names if name in self._writers]
        with contextlib.ExitStack() as stack:
            for writer in writers:
                stack.callback(writer.close)
            for writer in writers:
                writer.flush()  # which raises what went wrong in the writer's thread

    def _write(
        self,
        shown: Mapping[str, Tensor],
        index: int,
        runs: Sequence[tuple[str, SummaryWriter, Photo | None]],
    ) -> None:
        """Write pictures of some images to their runs, unless they have begun new ones since."""
        for i, (name, writer, photo) in enumerate(runs):
            if self._writers.get(name) is not writer:
                continue
            for tag, pictures in shown.items():
                writer.add_image(tag, _shown(pictures[i], photo), index)


def _shown(picture: Tensor, photo: Photo | None) -> Tensor:
    """A picture as it is written: one of a degradation, or an image in the colours of its photo."""
    if picture.ndim == 2:
        return _enlarged(picture)
    return eight_bits(picture if photo is None else srgb_pixels(picture, photo))


def last_pictures(image: ImageResult) -> dict[str, Tensor]:
    """The pictures of a restored image by their tags, `(C, h, w)`, of 8 bits or in [0, 1]."""
    row = {"input": _no_longer(image.shown), "restored": _no_longer(image.x0)}
    if image.reference is not None:
        row["reference"] = _no_longer(image.reference)
    pixels = srgb_pixels(torch.cat([*row.values()], 2), image.sample.photo)
    found = {" | ".join(row): eight_bits(pixels)}
    if image.picture is not None:
        found["degradation"] = _enlarged(image.picture)
    if image.std is not None:
        found["uncertainty"] = uncertainty_picture(image.std)
    return found


def _no_longer(images: Tensor) -> Tensor:
    """Images `(..., 3, H, W)` of at most `LONGEST` pixels a side."""
    height, width = size_of(images)
    times = max(height, width) / LONGEST
    if times <= 1:
        return images
    return resized(images, (max(1, round(height / times)), max(1, round(width / times))))


def _enlarged(picture: Tensor) -> Tensor:
    """`(1, h, w)` of a picture `(h, w)`, small ones such as kernels at several times their size."""
    return enlarged(picture.float().cpu().nan_to_num(), SIDE)[None]
