"""What a visitor asks for, and what it means in settings of `predict`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image

from d2ir_pl.diagnosis.large import LARGE
from d2ir_pl.diagnosis.observed import observed_pixels
from d2ir_pl.diagnosis.proposal import propose
from d2ir_pl.image_io import Output, Photo
from d2ir_pl.restoration.configs import STANDARD, layered, shipped_model
from d2ir_pl.restoration.construction import Settings
from d2ir_pl.web.decoding import decoded
from d2ir_pl.web.liveliest import liveliest
from d2ir_pl.web.painting import Stroke, mask_of, part_of

PART = 384
"""Side in pixels of the part of a photo on which a restoration is tried."""

FILLING = ("inpainting", "inpainting_sparse")
"""Configs that fill in missing pixels."""

FILLED_IN = "what was painted is filled in from what is around it; all else stays as it is"
PART_ALONE = "what was painted is restored; all else stays as it is"
"""What is said of a photo that was painted on."""


@dataclass(frozen=True)
class Order:
    """What a visitor asks for.

    Attributes:
        photo: the uploaded file.
        task: the name of a shipped config, or `auto`.
        preset: the name of a shipped config that goes on top of it, such as `fast`; empty for none.
        sigma_y: standard deviation of the noise in [0, 1]; estimated if None.
        seed: seed of the noise that is drawn.
        strength: how much is restored, from 0 to 1.
        output: how the result is written.
        painted: what was painted on the photo.
        fill: whether that is to be filled in; otherwise it alone is restored.
        part: whether the restoration is tried on a part of the photo.
    """

    photo: Path
    task: str
    preset: str = ""
    sigma_y: float | None = None
    seed: int = 0
    strength: float = 1.0
    output: Output = Output()
    painted: tuple[Stroke, ...] = ()
    fill: bool = True
    part: bool = False

    @property
    def fills(self) -> bool:
        """Whether what was painted is filled in."""
        return self.fill and bool(self.painted)


@dataclass(frozen=True)
class Plan:
    """How an order is carried out.

    Attributes:
        photo: what the file holds, or a part of it.
        model: settings as a config has them under `model`, with those that the visitor chose.
        reasons: sentences that say why, where the program has looked at the photo and chosen.
        mask: white where the photo was painted on; None if it was not.
    """

    photo: Photo
    model: Settings
    reasons: tuple[str, ...] = ()
    mask: Image.Image | None = None


def plan(
    order: Order,
    max_pixels: int,
    mask_file: Path | None = None,
    decoding_done: Callable[[Photo], None] | None = None,
) -> Plan:
    """Look at a photo, and decide with which settings it is restored.

    Args:
        order: what the visitor asks for.
        max_pixels: the largest number of pixels that a photo may have.
        mask_file: where the mask of what was painted will lie.
        decoding_done: told of the photo before it is looked at.

    Raises:
        ImageError: if the photo cannot be read, or is too large.
        UsageError: if nothing of the photo was painted on, or nothing was left of it.
    """
    photo = decoded(order.photo, max_pixels)
    if decoding_done is not None:
        decoding_done(photo)
    reasons: tuple[str, ...] = ()
    size = photo.size
    mask = mask_of(order.painted, size) if order.painted else None
    if order.fills:
        task, reasons = shipped_model(_filling(order.task)), (FILLED_IN,)
    elif order.task == "auto":
        # What is missing from a large photo takes long to find, and says little of a part.
        skipped = order.part and photo.pixels[0].numel() > LARGE
        observed = None if skipped else observed_pixels(photo, photo.pixels).mask
        proposal = propose(photo.pixels, photo.tables, order.sigma_y, observed, photo.codec)
        task, reasons = proposal.settings()["model"], proposal.reasons
    else:
        task = shipped_model(order.task)
    model = layered(STANDARD, task)
    if order.preset and model["method"]["class_path"] == STANDARD["method"]["class_path"]:
        # Presets change settings of D2IR, which the other methods do not have.
        model = layered(model, shipped_model(order.preset))
    model = layered(model, {"sigma_y": order.sigma_y, "seed": order.seed})
    if order.strength != 1:
        model = layered(model, {"strength": order.strength})
    if mask is not None:
        file = str(mask_file)
        model = layered(model, {"region": file})
        if order.fills:
            source = {"source": file, "invert": True}
            model = layered(model, {"degradation": {"init_args": source}})
        else:
            reasons = (PART_ALONE, *reasons)
    if order.part:
        photo, mask = _part(photo, mask)
    return Plan(photo, model, reasons, mask)


def _filling(task: str) -> str:
    """The config that fills in what was painted."""
    return task if task in FILLING else FILLING[0]


def _part(photo: Photo, mask: Image.Image | None) -> tuple[Photo, Image.Image | None]:
    """A part of a photo that says most of its restoration, and the same part of the mask."""
    size = photo.size
    height, width = (min(PART, side) for side in size)
    if mask is None:
        top, left = liveliest(photo.pixels, (height, width))
    else:
        top, left = part_of(mask, PART)
        mask = mask.crop((left, top, left + width, top + height))
    rows, columns = slice(top, top + height), slice(left, left + width)
    alpha = None if photo.alpha is None else photo.alpha[:, rows, columns].clone()
    return replace(photo, pixels=photo.pixels[:, rows, columns].clone(), alpha=alpha), mask
