"""Photos that were compressed have the rounding undone with their blur, darkness or fading."""

from functools import partial
from pathlib import Path

import pytest
import torch
from gaussian_prior import GaussianPrior
from PIL import Image
from repository import EXAMPLES
from shaken import blurred, discs
from torch import Tensor

from d2ir_pl.batches.attempts import Attempts
from d2ir_pl.batches.observation import Observation
from d2ir_pl.batches.plan import Plan
from d2ir_pl.batches.restoring import restore_batch
from d2ir_pl.batches.rounded import ROUNDED, as_rounded
from d2ir_pl.degradations import (
    Blur,
    Compose,
    DefocusBlur,
    Degradation,
    Downsampling,
    Fading,
    GaussianBlur,
    Jpeg,
    Light,
    MotionBlur,
    Phi,
)
from d2ir_pl.degradations.saved import SavedPhi
from d2ir_pl.diagnosis.methods import suiting
from d2ir_pl.estimators.widths import MIN_WIDTH
from d2ir_pl.image_io import read_image
from d2ir_pl.inputs.items import Item
from d2ir_pl.inputs.samples import Sample
from d2ir_pl.restoration import D2IR, RestorationMethod
from d2ir_pl.restoration.baselines import DPS
from d2ir_pl.restoration.degradation_estimation import DegradationEstimation

DISK = DefocusBlur().kernel(Phi(log_radius=torch.tensor([3.0]).log()))[0]


def stored(pixels: Tensor, tmp_path: Path, quality: int | None, name: str = "photo") -> Sample:
    """A photo `(3, h, w)` in [-1, 1] as a file, a JPEG if it has a quality."""
    image = Image.fromarray(
        ((pixels + 1) * 127.5).round().clamp(0, 255).byte().permute(1, 2, 0).numpy()
    )
    path = tmp_path / f"{name}.{'png' if quality is None else 'jpg'}"
    image.save(path, quality=quality or 0)  # which PNG has none of
    photo = read_image(path)
    return Sample(Item(path, name, name), photo, photo.pixels, None, "")


def out_of_focus(tmp_path: Path, quality: int | None, name: str = "photo") -> Sample:
    """Discs under a disk of 3 pixels radius, with noise of one grey level."""
    return stored(blurred(discs(), DISK, 0.008)[0], tmp_path, quality, name)


def _found(saved: SavedPhi, sample: Sample) -> SavedPhi:
    return saved


def as_planned(
    sample: Sample, family: Degradation, method: RestorationMethod, sigma_y: float | None = None
) -> Plan:
    plan = Plan(family, method)
    return as_rounded(Observation.given(sample, sample.y[None], family), plan, sigma_y)[1]


@pytest.mark.parametrize("family", [GaussianBlur(), MotionBlur(), Blur(21), Light(), Fading()])
def test_jpeg_comes_behind_other_damage_where_a_photo_shows_it(
    family: Degradation, tmp_path: Path
) -> None:
    decoded = stored(out_of_focus(tmp_path, 75).y, tmp_path, None, "decoded")
    for sample in (out_of_focus(tmp_path, 90), decoded):
        plan = as_planned(sample, family, suiting(family))
        assert isinstance(plan.degradation, Compose)
        first, last = plan.degradation.parts
        assert first is family
        assert isinstance(last, Jpeg)
        assert plan.asides == (ROUNDED,)


def test_other_photos_methods_and_degradations_are_taken_as_they_are(tmp_path: Path) -> None:
    jpeg, png = out_of_focus(tmp_path, 90), out_of_focus(tmp_path, None)
    family, method = GaussianBlur(), suiting(GaussianBlur())
    guided = D2IR(DegradationEstimation(consistency="guidance"))
    chain = Compose([GaussianBlur(), Downsampling(2)])
    for plan, own in (
        (as_planned(png, family, method), family),
        (as_planned(jpeg, family, method, sigma_y=0.01), family),
        (as_planned(jpeg, family, guided), family),
        (as_planned(jpeg, family, DPS()), family),
        (as_planned(jpeg, chain, method), chain),
        (as_planned(jpeg, Downsampling(2), method), None),
    ):
        assert own is None or plan.degradation is own
        assert not plan.asides


@pytest.mark.parametrize("family", [GaussianBlur(), MotionBlur(), DefocusBlur(), Blur(21)])
@pytest.mark.parametrize("quality", [97, 90, 75])
def test_a_photo_whose_coefficients_show_no_blur_is_taken_as_it_is(
    family: Degradation, quality: int, tmp_path: Path
) -> None:
    sharp = read_image(EXAMPLES / "clean" / "coffee.png").pixels
    sample = stored(sharp, tmp_path, quality)
    assert as_planned(sample, family, suiting(family)).degradation is family
    told = GaussianBlur(width=1.5)
    assert isinstance(as_planned(sample, told, suiting(told)).degradation, Compose)


def clouds() -> Tensor:
    """A sharp photo of smooth things: a random field whose power falls by 3 of the frequency."""
    f = torch.hypot(torch.fft.fftfreq(160)[:, None], torch.fft.rfftfreq(160))
    drawn = torch.randn(160, 160, generator=torch.Generator().manual_seed(1))
    field = torch.fft.irfft2(torch.fft.rfft2(drawn) * f.clamp_min(1 / 160) ** -1.5)
    grey: Tensor = (0.1 * field / field.std()).clamp(-1, 1)
    return grey.expand(3, -1, -1)


@pytest.mark.parametrize("isotropic", [True, False])
def test_a_gaussian_is_hardly_wider_than_the_coefficients_show(
    isotropic: bool, tmp_path: Path
) -> None:
    photo = stored(clouds(), tmp_path, 90).photo
    y = photo.pixels[None]
    chain = Compose([GaussianBlur(isotropic=isotropic), Jpeg()]).for_images([photo], ["a"])
    sigma = chain.estimate_sigma(y)
    phi = chain.init(y, sigma)
    assert GaussianBlur().init(y, 1.3 * sigma)["log_width"].exp().item() > 0.8
    (jpeg, tables) = chain.split(phi)[1]
    assert isinstance(jpeg, Jpeg)
    widest = 1.3 * jpeg.width_before(y, tables).item()
    assert phi["0.log_width"].mean().exp().item() <= max(widest, MIN_WIDTH) + 1e-4


@pytest.mark.parametrize("quality", [95, 85, 70])
def test_the_size_of_a_blur_is_read_through_the_compression(quality: int, tmp_path: Path) -> None:
    sample = out_of_focus(tmp_path, quality)
    y = sample.y[None]
    for between in ([], [Light(gain=1, map_size=0)]):
        chain = Compose([DefocusBlur(), *between, Jpeg()]).for_images([sample.photo], ["a"])
        phi = chain.init(y, chain.estimate_sigma(y))
        assert phi["0.log_radius"].exp().item() == pytest.approx(3.0, rel=0.05)


def test_files_of_both_kinds_in_a_batch_are_restored_as_if_alone(tmp_path: Path) -> None:
    family = GaussianBlur(width=1.5)
    plan = Plan(family, D2IR(DegradationEstimation(steps=2), stages="estimation"))
    samples = [out_of_focus(tmp_path, q, f"{q}") for q in (90, None, 80)]
    photos = {b: Observation.given(s, s.y[None], family) for b, s in enumerate(samples)}
    attempts = Attempts(GaussianPrior())
    together = restore_batch(attempts, photos, plan)
    assert not together.failed
    kinds = [type(together.plans[b].degradation) for b in range(3)]
    assert kinds == [Compose, GaussianBlur, Compose]
    for b, photo in photos.items():
        alone = restore_batch(attempts, {b: photo}, plan).restored[b].restoration
        found = together.restored[b].restoration
        torch.testing.assert_close(found.x0, alone.x0, atol=1e-4, rtol=0)


def test_a_blur_that_was_found_with_or_without_jpeg_is_known_for_either(tmp_path: Path) -> None:
    jpeg, png = out_of_focus(tmp_path, 90, "a"), out_of_focus(tmp_path, None, "b")
    family = GaussianBlur()
    width = Phi(log_width=torch.tensor([[0.5]]))
    chain = Compose([family, Jpeg()]).for_images([jpeg.photo], ["a"])
    whole = chain.init(jpeg.y[None], torch.ones(1)).replace(**{"0.log_width": width["log_width"]})
    plan = Plan(family, D2IR(DegradationEstimation(steps=2), stages="estimation"))
    for saved in (SavedPhi.of(family, width), SavedPhi.of(chain, whole)):
        known = Plan(family, plan.method, start=partial(_found, saved))
        photos = {
            b: Observation.given(s, s.y[None], family).started(known.start)
            for b, s in enumerate((jpeg, png))
        }
        outcome = restore_batch(Attempts(GaussianPrior()), photos, known)
        assert not outcome.failed
        first, second = (outcome.restored[b].restoration.phi for b in (0, 1))
        torch.testing.assert_close(first["0.log_width"], width["log_width"])
        torch.testing.assert_close(second["log_width"], width["log_width"])
