"""What a visitor asks for, and what it means in settings of `predict`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from d2ir_pl.diagnosis.observed import observed_pixels
from d2ir_pl.diagnosis.proposal import propose
from d2ir_pl.image_io import Output, Photo
from d2ir_pl.restoration.configs import STANDARD, layered, shipped_model
from d2ir_pl.restoration.construction import Settings
from d2ir_pl.web.decoding import decoded


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
    """

    photo: Path
    task: str
    preset: str = ""
    sigma_y: float | None = None
    seed: int = 0
    strength: float = 1.0
    output: Output = Output()


@dataclass(frozen=True)
class Plan:
    """How an order is carried out.

    Attributes:
        photo: what the file holds.
        model: settings as a config has them under `model`, with those that the visitor chose.
        reasons: sentences that say why, where the program has looked at the photo and chosen.
    """

    photo: Photo
    model: Settings
    reasons: tuple[str, ...] = ()


def plan(order: Order, max_pixels: int) -> Plan:
    """Look at a photo, and decide with which settings it is restored.

    Args:
        order: what the visitor asks for.
        max_pixels: the largest number of pixels that a photo may have.

    Raises:
        ImageError: if the photo cannot be read, or is too large.
    """
    photo = decoded(order.photo, max_pixels)
    reasons: tuple[str, ...] = ()
    if order.task == "auto":
        observed = observed_pixels(photo, photo.pixels).mask
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
    return Plan(photo, model, reasons)
