"""What is tried after a second opinion is against a result, and in which order."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from repository import EXAMPLES
from torch import Tensor

from d2ir_pl.batches.attempts import Attempted
from d2ir_pl.batches.observation import Observation
from d2ir_pl.batches.plan import Plan
from d2ir_pl.batches.second_opinion import LESS, NOISIER, WEAKER, is_judged, reconsidered
from d2ir_pl.degradations import (
    Blur,
    Compose,
    Degradation,
    Fading,
    GaussianBlur,
    Identity,
    Jpeg,
    Light,
    Mask,
    MotionBlur,
)
from d2ir_pl.diagnosis.methods import suiting
from d2ir_pl.image_io import Photo, read_image
from d2ir_pl.inputs.items import Item
from d2ir_pl.inputs.samples import Sample
from d2ir_pl.restoration import BlindDenoising, Problem
from d2ir_pl.restoration.result import KernelEvidence

Y = read_image(EXAMPLES / "blurred" / "coffee.png").pixels[None, :, 32:128, 32:128]
MAZE = (Y + 0.4 * torch.randn(Y.shape, generator=torch.Generator().manual_seed(0))).clamp(-1, 1)
"""What amplified noise makes of the photo."""


def observed(degradation: Degradation, y: Tensor = Y) -> tuple[Observation, Plan]:
    photo = Photo(y[0])
    sample = Sample(Item(Path(), "", "photo"), photo, photo.pixels, None, "")
    return Observation.given(sample, y, degradation), Plan(degradation, suiting(degradation))


def result(observation: Observation, image: Tensor) -> Attempted:
    """A restoration whose image is given."""
    problem = Problem.of(observation.y, observation.degradation, [torch.Generator()])
    x = observation.degradation.frame.embed(image)
    done = problem.result(x, problem.init(), nfe=8, stopped_by="steps", losses={})
    return Attempted(done, 640)


BLURS = [
    GaussianBlur(width=1.5),
    GaussianBlur(width=[2.0, 1.0], isotropic=False),
    MotionBlur(length=5.0, angle=0.3),
    Compose([GaussianBlur(width=1.5), Jpeg(90, "4:4:4", noise=0.01)]),
    Compose([GaussianBlur(width=1.5), Light(0.5, map_size=0)]),
]


@pytest.mark.parametrize("degradation", BLURS, ids=lambda d: str(type(d).__name__))
def test_a_result_that_nothing_speaks_against_stays(degradation: Degradation) -> None:
    observation, plan = observed(degradation)
    phi = degradation.init(Y, torch.full((1,), 0.02))
    first = result(observation, degradation.frame.crop(degradation.lift(Y, phi)))
    again, own = reconsidered(first, observation, plan, lambda *_: pytest.fail("it is restored"))
    assert own is plan
    assert again.opinion == "agreed"
    assert again.notes == []
    assert torch.equal(again.restoration.x0, first.restoration.x0)


@pytest.mark.parametrize("degradation", BLURS, ids=lambda d: str(type(d).__name__))
def test_gentler_hypotheses_are_tried_in_order_and_the_photo_is_the_last(
    degradation: Degradation,
) -> None:
    observation, plan = observed(degradation)
    tried: list[tuple[Plan, float | None]] = []

    def restore(own: Observation, other: Plan, sigma: float | None) -> Attempted:
        tried.append((other, sigma))
        return result(own, MAZE)

    first = result(observation, MAZE)
    again, own = reconsidered(first, observation, plan, restore)
    weaker, unblurred = (other.degradation for other, _ in tried)
    # The first has the same kind of blur, smaller, and more noise; the second has no blur.
    assert type(weaker) is type(degradation)
    phi, before = weaker.init(Y, torch.ones(1)), first.restoration.phi
    (size,) = [
        name for name in phi if name.rpartition(".")[2].startswith("log_") and "gain" not in name
    ]
    assert torch.allclose(phi[size].exp(), WEAKER * before[size].exp(), rtol=1e-3)
    if "1.noise" in phi:
        assert torch.allclose(phi["1.noise"], NOISIER * before["1.noise"])
    else:
        assert tried[0][1] == pytest.approx(NOISIER * float(first.restoration.sigma_y) / 2)
    assert "Blur" not in str(unblurred)
    assert again.opinion == "the photo"
    assert again.restoration.nfe == [24]
    assert again.restoration.stopped_by == ["opinion"]
    assert len(again.notes) == 1
    assert again.notes[0].startswith("second opinion: the first result was set aside, because ")
    # Nothing is left of the result but how bright it is.
    bright = isinstance(own.degradation, Light)
    assert bright == ("Light" in str(degradation))
    gain = 2.0 if bright else 1.0
    expected = (gain * (Y + 1) - 1).clamp(-1, 1)
    assert torch.allclose(again.restoration.x0, expected, atol=1e-5)


def test_the_first_hypothesis_that_nothing_speaks_against_is_taken() -> None:
    observation, plan = observed(GaussianBlur(width=1.5))
    first = result(observation, MAZE)
    again, own = reconsidered(
        first, observation, plan, lambda own, *_: result(own, 1.02 * own.y.clamp(-0.9, 0.9))
    )
    assert again.opinion == "weaker"
    assert again.restoration.nfe == [16]
    assert isinstance(own.degradation, GaussianBlur)
    assert "0.7 of that size" in again.notes[0]
    # One that cannot be restored is left out.
    again, own = reconsidered(first, observation, plan, lambda *_: None)
    assert again.opinion == "the photo"
    assert isinstance(own.degradation, Identity)


def test_detail_aside_of_the_photos_own_is_allowed_to_shakes_alone() -> None:
    # What is bright is moved by five pixels, as a kernel whose weight lies there does.
    moved = Y + 0.3 * (torch.roll(Y, 5, -1) - F.avg_pool2d(Y, 5, 1, 2))
    opinions = []
    for source in ("edges", "gaussian"):
        observation, plan = observed(Blur(9))
        first = result(observation, moved.clamp(-1, 1))
        evidence = KernelEvidence(source, 2, 0.3, 0.9)
        first = replace(first, restoration=replace(first.restoration, kernels=[evidence]))
        again, _ = reconsidered(first, observation, plan, lambda *_: None)
        opinions.append(again.opinion)
    assert opinions == ["agreed", "the photo"]


def test_what_is_no_photo_is_filled_in_even_where_the_photo_is_left() -> None:
    observation, plan = observed(Identity())
    seen = torch.ones_like(Y[:, :1])
    seen[..., 40:50, 40:50] = 0
    observation = replace(observation, observed=seen)
    # Where the photo is seen, it changes by less than anyone sees.
    filled = torch.where(seen == 1, Y + 0.001, 0.0)
    again, _ = reconsidered(result(observation, filled), observation, plan, lambda *_: None)
    assert again.opinion == "the photo"
    assert torch.allclose(again.restoration.x0, torch.where(seen == 1, Y, 0.0), atol=1e-5)


@pytest.mark.parametrize("tones", [[Fading()], [Light(0.5, map_size=0), Fading()]], ids=len)
def test_brightness_and_colours_stay_where_the_blur_is_given_up(tones: list[Degradation]) -> None:
    degradation = Compose([GaussianBlur(width=1.5), *tones])
    observation, plan = observed(degradation)
    assert is_judged(observation, plan)
    again, own = reconsidered(result(observation, MAZE), observation, plan, lambda *_: None)
    assert again.opinion == "the photo"
    expected = Y
    for part in reversed(tones):
        expected = part.lift(expected, part.init(expected, torch.full((1,), 0.02)))
    assert torch.allclose(again.restoration.x0, expected.clamp(-1, 1), atol=0.02)
    assert "GaussianBlur" not in str(own.degradation)


def test_what_the_photo_lacks_is_not_judged_by_it() -> None:
    assert is_judged(*observed(Identity()))
    assert is_judged(*observed(Compose([GaussianBlur(), Jpeg()])))
    assert not is_judged(*observed(Mask([1, 2, 3, 4])))


@pytest.mark.parametrize("quality", [None, 90])
def test_less_noise_is_removed_and_then_the_rounding_of_a_jpeg_alone(quality: int | None) -> None:
    sharp = read_image(EXAMPLES / "clean" / "coffee.png").pixels[None, :, 32:160, 32:160]
    if quality is not None:
        rounded = Jpeg(quality)
        phi = rounded.init(sharp, torch.zeros(1))
        sharp = ((rounded(sharp, phi).clamp(-1, 1) + 1) * 127.5).round() / 127.5 - 1
    smooth = sharp + 0.6 * (torch.nn.functional.avg_pool2d(sharp, 3, 1, 1) - sharp)
    observation, plan = observed(Identity(), sharp)
    tried: list[Plan] = []

    def restore(own: Observation, other: Plan, sigma: float | None) -> Attempted:
        tried.append(other)
        assert sigma is None
        return doubtful(own)

    def doubtful(own: Observation) -> Attempted:
        """All detail was taken for strong noise."""
        found = result(own, smooth)
        restoration = replace(found.restoration, sigma_y=torch.full((1,), 0.1))
        return replace(found, restoration=restoration)

    again, _ = reconsidered(doubtful(observation), observation, plan, restore)
    assert isinstance(tried[0].method, BlindDenoising)
    assert tried[0].method.share == LESS
    if quality is None:
        assert len(tried) == 1
        assert again.opinion == "the photo"
        assert torch.equal(again.restoration.x0, sharp)
    else:
        assert isinstance(tried[1].degradation, Jpeg)
        assert again.opinion == "JPEG"
    assert len(again.notes) == 1
