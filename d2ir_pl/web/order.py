"""What a visitor asks for, and what it means in settings of `predict`."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from d2ir_pl.diagnosis.large import LARGE
from d2ir_pl.diagnosis.observed import observed_pixels
from d2ir_pl.diagnosis.proposal import propose
from d2ir_pl.image_io import Output, Photo
from d2ir_pl.restoration.configs import STANDARD, layered, shipped_model
from d2ir_pl.restoration.construction import Settings
from d2ir_pl.shipped.durations import COSTS
from d2ir_pl.web.decoding import decoded
from d2ir_pl.web.extent import (
    FILLING,
    OF_ANY_SIZE,
    SCALED,
    Extent,
    extent_of,
    part,
    smaller,
)
from d2ir_pl.web.painting import Stroke, mask_of

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
        extent: how much of the photo is restored. An `overview` is one of a large photo alone: of a
            small one, or where little is painted, it is the whole, and where photos are to be
            enlarged, a part.
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
    extent: Extent = "whole"

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
        extent: how much of the photo that is.
        pixels: the number of pixels of the whole.
        cost: how often the time of that each pixel of the whole takes, by another preset.
        remark: what the visitor should know of a smaller copy; empty for nothing.
    """

    photo: Photo
    model: Settings
    reasons: tuple[str, ...] = ()
    mask: Image.Image | None = None
    extent: Extent = "whole"
    pixels: int = 0
    cost: float = 1.0
    remark: str = ""


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
    whole = photo.pixels[0].numel()
    mask = mask_of(order.painted, photo.size) if order.painted else None
    extent = extent_of(photo, order.extent, order.task, mask)
    if extent == "overview":
        photo = smaller(photo, exact=order.task in FILLING and not order.fills)
        mask = mask_of(order.painted, photo.size) if order.painted else None
    model, reasons = _model(order, photo, extent)
    if mask is not None:
        file = str(mask_file)
        model = layered(model, {"region": file})
        if order.fills:
            source = {"source": file, "invert": True}
            model = layered(model, {"degradation": {"init_args": source}})
        else:
            reasons = (PART_ALONE, *reasons)
    remark = ""
    if extent == "part":
        photo, mask = part(photo, mask)
    elif extent == "overview" and not _class(model).endswith(OF_ANY_SIZE):
        remark = SCALED.format(math.sqrt(whole / photo.pixels[0].numel()))
    # Smaller copies are made with the preset `fast`, by whose time the others are told.
    cost = COSTS.get(order.preset, 1.0) / COSTS["fast"] if _has_presets(model) else 1.0
    return Plan(photo, model, reasons, mask, extent, whole, cost, remark)


def _model(order: Order, photo: Photo, extent: Extent) -> tuple[Settings, tuple[str, ...]]:
    """Settings for what is wrong with a photo, and why."""
    reasons: tuple[str, ...] = ()
    if order.fills:
        task, reasons = shipped_model(_filling(order.task)), (FILLED_IN,)
    elif order.task == "auto":
        # What is missing from a large photo takes long to find, and says little of a part.
        skipped = extent == "part" and photo.pixels[0].numel() > LARGE
        observed = None if skipped else observed_pixels(photo, photo.pixels).mask
        proposal = propose(
            photo.pixels, photo.tables, order.sigma_y, observed, photo.codec, photo.step
        )
        task, reasons = proposal.settings()["model"], proposal.reasons
    else:
        task = shipped_model(order.task)
    model = layered(STANDARD, task)
    preset = "fast" if extent == "overview" else order.preset
    if preset and _has_presets(model):
        model = layered(model, shipped_model(preset))
    model = layered(model, {"sigma_y": order.sigma_y, "seed": order.seed})
    return layered(model, {"strength": order.strength} if order.strength != 1 else {}), reasons


def _has_presets(model: Settings) -> bool:
    """Whether presets change anything: they are settings of D2IR, which other methods lack."""
    return bool(model["method"]["class_path"] == STANDARD["method"]["class_path"])


def _class(model: Settings) -> str:
    """The import path of what is undone."""
    degradation = model["degradation"]
    return degradation if isinstance(degradation, str) else str(degradation["class_path"])


def _filling(task: str) -> str:
    """The config that fills in what was painted."""
    return task if task in FILLING else FILLING[0]
