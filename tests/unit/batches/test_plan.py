"""What is planned for a photo whose phi is known from an earlier restoration."""

import pytest
import torch

from d2ir_pl.batches.plan import Plan
from d2ir_pl.degradations import (
    Blur,
    Compose,
    Degradation,
    Downsampling,
    GaussianBlur,
    Identity,
    Jpeg,
    Light,
    Mask,
    MotionBlur,
    Phi,
)
from d2ir_pl.degradations.saved import SavedPhi
from d2ir_pl.diagnosis.methods import CONFIGS, suiting
from d2ir_pl.diffusion.randomness import image_generator
from d2ir_pl.restoration.configs import load


@pytest.mark.parametrize("kind", CONFIGS)
def test_the_method_that_suits_a_degradation_fits_it(kind: str) -> None:
    setup = load(CONFIGS[kind])
    assert type(setup.degradation).__name__ == kind
    assert type(suiting(setup.degradation)) is type(setup.method)
    family = SavedPhi.of(setup.degradation, Phi(any=torch.zeros(1))).family
    assert family["class_path"] == f"d2ir_pl.degradations.{kind}"


@pytest.mark.parametrize(
    "degradation",
    [
        GaussianBlur(9, isotropic=False, width=[2.0, 1.0], angle=0.5),
        MotionBlur(9, angle=0.3),
        Downsampling(3, "gaussian", centred=True),
        Light(0.3, per_channel=True, gamma=True),
        Mask([1, 2, 3, 4]),
        Jpeg(80, "4:4:4"),
        Compose([Blur(5), Downsampling(2), Jpeg()]),
        Identity(),
    ],
    ids=lambda d: type(d).__name__,
)
def test_a_degradation_is_made_again_from_its_record(degradation: Degradation) -> None:
    phi = degradation.draw([image_generator(0, "a")], torch.zeros(1, 3, 24, 24))
    saved = SavedPhi.of(degradation, phi)
    plan = Plan.continued(saved, lambda _: saved)
    x = torch.rand(1, 3, *plan.degradation.frame.image_size((8, 8)))
    assert plan.degradation.frame == degradation.frame
    if not isinstance(degradation, Mask):
        assert torch.equal(saved.told(plan.degradation)(x, phi), degradation(x, phi))
    assert plan.reasons == (f"taken for: {saved.kind}, as in phi",)
