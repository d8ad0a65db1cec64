"""Which photos of a batch are restored together."""

from pathlib import Path

import torch
import torch.nn.functional as F
from gaussian_prior import GaussianPrior
from repository import EXAMPLES
from torch import Tensor

from d2ir_pl.batches.attempts import Attempts
from d2ir_pl.batches.observation import Observation
from d2ir_pl.batches.plan import Plan
from d2ir_pl.batches.restoring import restore_batch
from d2ir_pl.degradations import Downsampling
from d2ir_pl.diffusion import Prior
from d2ir_pl.image_io import Photo, read_image
from d2ir_pl.inputs.items import Item
from d2ir_pl.inputs.samples import Sample
from d2ir_pl.restoration import D2IR, DegradationEstimation, Problem

SMOOTH = Downsampling(4)


def observed(name: str, antialias: bool) -> Observation:
    x = read_image(EXAMPLES / "clean" / f"{name}.png").pixels[None, :, :256, :256]
    y = F.interpolate(x, scale_factor=1 / 4, mode="bicubic", antialias=antialias)
    photo = Photo(((y[0].clamp(-1, 1) + 1) * 127.5).round() / 127.5 - 1)
    sample = Sample(Item(Path(), "", f"{name}{antialias}"), photo, photo.pixels, None, "")
    return Observation.given(sample, photo.pixels[None], SMOOTH)


def test_photos_that_are_taken_for_something_else_are_restored_together() -> None:
    kinds = [("coffee", False), ("coffee", True), ("astronaut", False), ("astronaut", True)]
    photos = {b: observed(*kind) for b, kind in enumerate(kinds)}
    together: set[tuple[int, ...]] = set()

    def restored(some: dict[int, Observation]) -> dict[int, Tensor]:
        method = D2IR(DegradationEstimation(start=100, steps=2), stages="estimation")
        outcome = restore_batch(
            Attempts(GaussianPrior()),
            some,
            Plan(SMOOTH, method),
            [lambda step: together.add(tuple(step.images))],
            second_opinion=True,
        )
        for b, plan in outcome.plans.items():
            assert isinstance(plan.degradation, Downsampling)
            smooth = plan.degradation.kernel == "bicubic"
            assert smooth == kinds[b][1] == (not plan.reasons)
        return {b: own.restoration.x0 for b, own in outcome.restored.items()}

    in_a_batch = restored(photos)
    assert together == {(0, 2), (1, 3)}
    for b, photo in photos.items():
        assert torch.allclose(restored({b: photo})[b], in_a_batch[b], atol=1e-4)


def test_photos_are_prepared_once_for_all_of_their_samples() -> None:
    class Counted(D2IR):
        found = 0

        def find(self, problem: Problem, prior: Prior) -> Problem:
            Counted.found += 1
            return super().find(problem, prior)

    method = Counted(DegradationEstimation(start=100, steps=2), stages="estimation")
    photos = {0: observed("coffee", True)}
    outcome = restore_batch(Attempts(GaussianPrior()), photos, Plan(SMOOTH, method), num_samples=3)
    assert list(outcome.restored) == [0]
    assert Counted.found == 1
