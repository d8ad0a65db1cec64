"""What became of the images of a batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from d2ir_pl.degradations import Phi
from d2ir_pl.inputs.items import Failure
from d2ir_pl.inputs.samples import Sample
from d2ir_pl.restoration import Restoration


@dataclass(frozen=True)
class Scene:
    """Degraded images, and what is known about them.

    Attributes:
        y: `(B, 3, H, W)`, or `(B, S, 3, H, W)` for several photos of each scene.
        reference: `(B, 3, H', W')` clean images, where they are known.
        true_phi: the parameters with which the program itself degraded the images.
    """

    y: Tensor
    reference: Tensor | None = None
    true_phi: Phi | None = None

    def select(self, images: Sequence[int]) -> Scene:
        rows = list(images)
        return Scene(
            self.y[rows],
            None if self.reference is None else self.reference[rows],
            None if self.true_phi is None else self.true_phi.select(rows),
        )

    @staticmethod
    def join(parts: Sequence[Scene]) -> Scene:
        references = [part.reference for part in parts if part.reference is not None]
        drawn = [part.true_phi for part in parts if part.true_phi is not None]
        return Scene(
            torch.cat([part.y for part in parts]),
            torch.cat(references) if references else None,
            Phi.join(drawn) if drawn else None,
        )

    def cpu(self) -> Scene:
        return Scene(
            self.y.cpu(),
            None if self.reference is None else self.reference.cpu(),
            None if self.true_phi is None else self.true_phi.to("cpu"),
        )


@dataclass(frozen=True)
class BatchResult:
    """What `predict_step` hands to the callbacks, on the CPU.

    Attributes:
        samples: the images that were restored.
        positions: where in the batch they stood.
        notes: what had to be done differently for each of them.
        reasons: why each was restored as it was, where the program has chosen that itself.
        tiles: largest side in pixels that the prior saw at once.
        in_float32: whether the prior computed in float32 instead of the run's precision.
        failures: the others, with reasons.
        scene: the degraded images.
        shown: `(B, 3, H', W')`, them (or a first guess from them) at the size of the restored ones.
        phi_change: how far the degradation's parameters moved from step to step of stage 1, see
            `Degradation.change`; empty where they are known, or there was no such step.
        restoration: None if no image of the batch could be read.
        scores: name -> one number per image.
        seconds: time spent on each image.
    """

    samples: list[Sample]
    positions: list[int]
    notes: list[list[str]]
    reasons: list[list[str]]
    tiles: list[int]
    in_float32: list[bool]
    failures: list[Failure]
    scene: Scene
    shown: Tensor
    phi_change: list[list[float | None]]
    restoration: Restoration | None
    scores: dict[str, list[float]]
    seconds: float


class Outcome:
    """What became of each image of a batch, by its position.

    Attributes:
        restored: a restoration of that image alone.
        failed: the reason.
        notes: what had to be done differently.
        tiles: largest side that the prior saw at once.
        in_float32: images for which the prior computed in float32 instead of the run's precision.
    """

    def __init__(self) -> None:
        self.restored: dict[int, Restoration] = {}
        self.failed: dict[int, str] = {}
        self.notes: dict[int, list[str]] = {}
        self.tiles: dict[int, int] = {}
        self.in_float32: set[int] = set()

    def note(self, image: int, text: str) -> None:
        self.notes.setdefault(image, []).append(text)
