"""Less of a restoration lies between the photo and the whole of it, in the blur's own terms."""

from pathlib import Path

import pytest
import torch
from photos import photo
from PIL import Image
from torch import Tensor

from d2ir_pl import restore
from d2ir_pl.batches.amount import Amount
from d2ir_pl.batches.observation import Observation
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
from d2ir_pl.image_io import Photo
from d2ir_pl.inputs.items import Item
from d2ir_pl.inputs.samples import Sample
from d2ir_pl.restoration import D2IR, Problem, Restoration

FAMILIES = {
    "noise": Identity(),
    "gaussian": GaussianBlur(),
    "motion": MotionBlur(),
    "kernel": Blur(kernel_size=9),
    "light": Light(),
    "both": Compose([GaussianBlur(), Light()]),
    "jpeg": Compose([GaussianBlur(), Jpeg()]),
    "small": Downsampling(2),
}


def case(family: Degradation, noise: float = 0.02) -> tuple[Restoration, Observation, Plan]:
    """A photo that was degraded so, and its perfect restoration."""
    x = family.frame.fit(photo(3, 64, 80)[None])
    draws = [torch.Generator().manual_seed(1)]
    phi = family.draw(draws, x)
    y = family(family.frame.embed(x), phi)
    y = y + 2 * noise * torch.randn(y.shape, generator=draws[0])
    sample = Sample(Item(Path("a.png"), "a.png", "a"), Photo(y[0]), y[0], None, "")
    observation, plan = Observation(sample, y, family), Plan(family, D2IR())
    problem = Problem(y, torch.full((1,), 2 * noise), family, draws)
    whole = family.frame.embed(x)
    result = problem.result(whole, phi, nfe=0, stopped_by="iterations", losses={})
    return result, observation, plan


def difference(a: Tensor, b: Tensor) -> float:
    return float((a - b).square().mean().sqrt())


@pytest.mark.parametrize("name", FAMILIES)
def test_the_ends_are_the_photo_and_the_restoration(name: str) -> None:
    restoration, observation, plan = case(FAMILIES[name])
    assert Amount().applied(restoration, observation, plan) is restoration
    none = Amount(0.0).applied(restoration, observation, plan).x0
    if name == "small":
        shown = plan.degradation.frame.crop(plan.degradation.lift(observation.y, restoration.phi))
        assert difference(none, shown.clamp(-1, 1)) < 1e-5
    else:
        assert difference(none, observation.y.clamp(-1, 1)) < 1e-5
    before = difference(none, restoration.x0)
    half = difference(Amount(0.5).applied(restoration, observation, plan).x0, restoration.x0)
    assert 0.1 * before < half < 0.8 * before


@pytest.mark.parametrize("strength", [0.25, 0.5, 0.75])
def test_less_is_less_of_the_blur_and_of_the_noise(strength: float) -> None:
    """The result is what a lens of so much less blur would have seen, with so much less noise."""
    family = GaussianBlur()
    restoration, observation, plan = case(family)
    found = Amount(strength).applied(restoration, observation, plan).x0
    share = torch.tensor(1 - strength)
    weaker: Phi = restoration.phi.replace(log_width=restoration.phi["log_width"] + share.log())
    embedded = family.frame.embed(restoration.x0)
    noise = observation.y - family(embedded, restoration.phi)
    expected = family(embedded, weaker) + share * noise
    blend = strength * restoration.x0 + (1 - strength) * observation.y
    assert difference(found, expected.clamp(-1, 1)) < 1e-4
    assert difference(blend, expected) > 10 * difference(found, expected.clamp(-1, 1))


def test_grain_comes_back_without_the_blur() -> None:
    restoration, observation, plan = case(GaussianBlur(), noise=0.03)
    found = Amount(keep_grain=1.0).applied(restoration, observation, plan).x0
    inside = restoration.x0.abs() < 0.8
    grain = (found - restoration.x0)[inside]
    assert float(grain.std()) / 2 == pytest.approx(0.03, rel=0.1)
    half = Amount(keep_grain=0.5).applied(restoration, observation, plan).x0
    assert float((half - restoration.x0)[inside].std()) / 2 == pytest.approx(0.015, rel=0.1)


def test_outside_the_region_the_photo_is_as_it_was(tmp_path: Path) -> None:
    restoration, observation, plan = case(GaussianBlur())
    inside, outside = (slice(24, 40), slice(34, 56)), (slice(0, 12), slice(0, 80))
    mask = Image.new("L", (80, 64))
    mask.paste(255, (30, 20, 60, 44))
    mask.save(tmp_path / "a.png")
    file, folder = str(tmp_path / "a.png"), str(tmp_path)
    found = [
        Amount(region=region).applied(restoration, observation, plan).x0
        for region in ([20, 30, 24, 30], file, folder)
    ]
    for x0 in found:
        assert torch.equal(x0[..., inside[0], inside[1]], restoration.x0[..., inside[0], inside[1]])
        y = observation.y.clamp(-1, 1)
        assert torch.equal(x0[..., outside[0], outside[1]], y[..., outside[0], outside[1]])
    assert difference(found[0], found[1]) < 1e-6


def test_a_region_beside_the_photo_is_refused() -> None:
    restoration, observation, plan = case(GaussianBlur(width=1.5))
    with pytest.raises(ValueError, match="holds no pixel"):
        Amount(region=[500, 0, 10, 10]).applied(restoration, observation, plan)


def test_what_was_missing_stays_filled_in() -> None:
    y = photo(3, 32, 32)[None]
    y[..., 8:16, 8:16] = -1
    sample = Sample(Item(Path("a.png"), "a.png", "a"), Photo(y[0]), y[0], None, "")
    observation = Observation.given(sample, y, Mask())
    plan = Plan(observation.degradation, D2IR())
    phi = observation.degradation.init(y, torch.ones(1))
    problem = Problem(y, torch.ones(1), observation.degradation, [torch.Generator()])
    x0 = torch.zeros_like(y)
    restoration = problem.result(x0, phi, nfe=0, stopped_by="iterations", losses={})
    found = Amount(0.0).applied(restoration, observation, plan).x0
    assert torch.equal(found[..., 8:16, 8:16], x0[..., 8:16, 8:16])
    assert torch.equal(found[..., :8, :], y[..., :8, :].clamp(-1, 1))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"strength": 1.5}, "strength 1.5 must be at least 0 and at most 1"),
        ({"keep_grain": -1}, "keep_grain -1 must be"),
        ({"region": "nowhere.png"}, "region nowhere.png does not exist: give a mask file"),
        ({"region": [1, 2]}, r"region \[1, 2\] must be \[top, left"),
    ],
)
def test_other_amounts_are_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Amount(**arguments)  # type: ignore[arg-type]


def test_restore_takes_them_and_the_photo_comes_back_as_it_was() -> None:
    image = Image.fromarray(
        ((photo(4, 64, 64) + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()
    )
    none = restore(image, "denoising", strength=0.0).image
    assert none.tobytes() == image.tobytes()
    part = restore(image, "denoising", region=[0, 0, 32, 64]).image
    assert part.crop((0, 40, 64, 64)).tobytes() == image.crop((0, 40, 64, 64)).tobytes()
    assert part.crop((0, 0, 64, 24)).tobytes() != image.crop((0, 0, 64, 24)).tobytes()
