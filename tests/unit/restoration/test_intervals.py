"""Intervals are the spread of samples times what a calibration says, or a reason why not."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from gaussian_prior import GaussianPrior

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
    Phi,
)
from d2ir_pl.diagnosis.methods import suiting
from d2ir_pl.diffusion import image_generator
from d2ir_pl.diffusion.calibration import FAINT, Calibration, Part, Widths
from d2ir_pl.operators.jpeg_transform import standard_tables
from d2ir_pl.priors import load_prior
from d2ir_pl.restoration import (
    D2IR,
    BlindDenoising,
    DegradationEstimation,
    LatentOptimization,
    Problem,
    Restoration,
    restore_samples,
    with_intervals,
)
from d2ir_pl.restoration.configs import load
from d2ir_pl.restoration.intervals import (
    factors,
    local_contrast,
    noise_of,
    smoothed,
)
from d2ir_pl.restoration.situation import changed, settings, situation, variant

METHOD = D2IR(DegradationEstimation(steps=2, temperature=1), stages="estimation")
OWN = "Identity by D2IR, 2 steps at temperature 1"
WIDTHS = [
    Widths(4, 0.9, 0.05, 0.05, 10, [0.01, 0.1], [2.0, 8.0]),
    Widths(8, 0.9, 0.05, 0.05, 10, [0.01], [3.0]),
    Widths(4, 0.5, 0.05, 0.05, 10, [0.01], [1.0]),
]


PARTS: dict[Part, float] = {"observed": 2.0, "missing": 5.0}


def prior(calibrated: bool = True) -> GaussianPrior:
    found = GaussianPrior()
    if calibrated:
        found.calibration = Calibration("", 0.9, 0.002, "", {OWN: WIDTHS})
    return found


def samples(count: int, images: int = 2) -> Restoration:
    generator = torch.Generator().manual_seed(0)
    y = 0.5 * torch.randn(images, 3, 20, 24, generator=generator)
    noise = [image_generator(0, str(b)) for b in range(images)]
    problem = Problem.of(y, Identity(), noise, torch.full((images,), 0.1))
    return restore_samples(METHOD, count, problem, prior())


def test_between_contrasts_the_logarithm_of_the_factor_is_linear_in_theirs() -> None:
    contrast = torch.tensor([0.0, 0.01, math.sqrt(0.001), 0.1, 0.7])
    found = factors(WIDTHS[0], contrast)
    torch.testing.assert_close(found, torch.tensor([2.0, 2.0, 4.0, 8.0, 8.0]))
    assert factors(WIDTHS[1], contrast).tolist() == pytest.approx([3.0] * 5)


def test_contrast_is_the_deviation_of_the_grey_values_around_a_pixel() -> None:
    x = 2 * torch.rand(1, 3, 12, 15, generator=torch.Generator().manual_seed(1)) - 1
    grey = (x[0].mean(0) / 2).numpy()
    found = local_contrast(x)[0, 0].numpy()
    assert found[5, 6] == pytest.approx(np.std(grey[2:9, 3:10]), abs=1e-5)
    assert found[0, 0] == pytest.approx(np.std(grey[:4, :4]), abs=1e-5)
    assert float(local_contrast(torch.full((1, 3, 9, 1), 0.3)).max()) == 0


def test_half_widths_are_factor_times_spread_and_floor() -> None:
    mean = samples(4)
    told = with_intervals(mean, Identity(), METHOD, prior(), 4).intervals
    assert told is not None
    assert told.half_width is not None
    assert mean.std is not None
    expected = factors(WIDTHS[0], local_contrast(mean.x0)) * (smoothed(mean.std) + 0.004)
    torch.testing.assert_close(told.half_width, expected)
    assert told.level == 0.9
    # An image has the same intervals in any company, and the record the width in [0, 1].
    alone = with_intervals(mean.select([1]), Identity(), METHOD, prior(), 4).select([0])
    assert alone.intervals is not None
    assert alone.intervals.half_width is not None
    torch.testing.assert_close(alone.intervals.half_width, told.half_width[1:])
    numbers = alone.intervals.numbers()
    assert numbers["interval_width"] == pytest.approx(float(expected[1].mean()), abs=1e-5)
    whole = Restoration.join([alone, alone]).intervals
    assert whole is not None
    assert whole.half_width is not None
    assert whole.half_width.shape == (2, 1, 20, 24)


def test_more_samples_than_calibrated_use_the_most_that_are_and_levels_are_kept_apart() -> None:
    mean = samples(4)
    for count, level, factor in ((10, None, 3.0), (8, 0.9, 3.0), (4, 0.5, 1.0)):
        told = with_intervals(mean, Identity(), METHOD, prior(), count, level).intervals
        assert told is not None
        assert told.half_width is not None
        assert mean.std is not None
        torch.testing.assert_close(told.half_width, factor * (smoothed(mean.std) + 0.004))


def test_between_noises_the_logarithm_of_the_factor_is_linear_in_theirs() -> None:
    mean, own = samples(4, images=3), prior()
    assert own.calibration is not None
    constant = [Widths(4, 0.9, s, s, 10, [0.01], [f]) for s, f in ((0.05, 4.0), (0.01, 1.0))]
    own.calibration = replace(own.calibration, situations={OWN: constant})
    middle = math.sqrt((0.05 + FAINT) * (0.01 + FAINT)) - FAINT
    mean = replace(mean, sigma_y=2 * torch.tensor([0.001, middle, 0.06]))
    told = with_intervals(mean, Identity(), METHOD, own, 4).intervals
    assert told is not None
    assert told.half_width is not None
    assert mean.std is not None
    expected = torch.tensor([1.0, 2.0, 4.0]).view(3, 1, 1, 1) * (smoothed(mean.std) + 0.004)
    torch.testing.assert_close(told.half_width, expected)


def test_images_with_more_noise_than_was_measured_have_none_in_any_company() -> None:
    mean = samples(4, images=3)
    mean = replace(mean, sigma_y=2 * torch.tensor([0.04, 0.1, 0.05]))
    both = with_intervals(mean, Identity(), METHOD, prior(), 4)
    assert both.intervals is not None
    assert both.intervals.half_width is not None
    assert both.intervals.half_width.isfinite().flatten(1).all(1).tolist() == [True, False, True]
    (remark,) = both.remarks
    assert "its noise or rounding is 26 grey levels" in remark
    assert "of 13 at most" in remark
    for b in range(3):
        alone = both.select([b])
        again = with_intervals(mean.select([b]), Identity(), METHOD, prior(), 4)
        for found in (alone, again):
            assert found.intervals is not None
            assert (found.intervals.half_width is None) == (b == 1)
            assert bool(found.intervals.numbers()) == (b != 1)
            assert bool(found.remarks) == (b == 1)
    whole = Restoration.join([both.select([1]), both.select([0]), both.select([2])])
    assert whole.intervals is not None
    assert whole.intervals.half_width is not None
    torch.testing.assert_close(
        whole.intervals.half_width, both.intervals.half_width[[1, 0, 2]], equal_nan=True
    )
    assert [bool(reason) for reason in whole.intervals.reasons] == [True, False, False]


@pytest.mark.parametrize("chained", [False, True])
def test_of_a_jpeg_the_noise_is_that_of_its_rounding_and_what_is_seen(chained: bool) -> None:
    x = 0.5 * torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    found = []
    for quality in (12, 60):
        family: Degradation = Jpeg(quality)
        family = Compose([GaussianBlur(width=1.0, border="reflect"), family]) if chained else family
        problem = Problem.of(x, family, [torch.Generator()], torch.tensor([0.0]))
        phi = family.init(x, problem.sigma_y)
        done = problem.result(x, phi, nfe=0, stopped_by="steps", losses={})
        (noise,) = noise_of(done)
        tables = standard_tables(torch.tensor(quality))
        drawn = torch.rand(64, 1000, generator=torch.Generator().manual_seed(1)) - 0.5
        rounding = float((drawn * tables[0].flatten()[:, None].float() / 255).std())
        assert noise == pytest.approx(rounding, rel=0.02)
        (more,) = noise_of(replace(done, sigma_y=torch.tensor([0.1])))
        assert more == pytest.approx(math.hypot(noise, 0.05), rel=0.01)
        found.append(noise)
    assert found[0] > 3 * found[1]
    plain = replace(done, phi=Identity().init(x, done.sigma_y), sigma_y=torch.tensor([0.1]))
    assert noise_of(plain) == [pytest.approx(0.05)]


def test_pixels_in_holes_have_factors_of_their_own() -> None:
    mean, own = samples(4), prior()
    assert own.calibration is not None
    observed, missing = (replace(WIDTHS[0], part=p, factor=[f, f]) for p, f in PARTS.items())
    mask = torch.ones(2, 1, 20, 24)
    mask[1, :, 5:15, 6:12] = 0
    holed = replace(mean, phi=Phi(mask=mask))
    own.calibration = replace(own.calibration, situations={OWN: [observed, missing]})
    found = with_intervals(holed, Identity(), METHOD, own, 4).intervals
    assert found is not None
    assert found.half_width is not None
    assert mean.std is not None
    factor = torch.where(mask == 0, 5.0, 2.0)
    torch.testing.assert_close(found.half_width, factor * (smoothed(mean.std) + 0.004))
    # Where holes were not measured, a photo without one has some, in any company.
    own.calibration = replace(own.calibration, situations={OWN: [observed]})
    some = with_intervals(holed, Identity(), METHOD, own, 4)
    for b, whole in enumerate((True, False)):
        known = some.select([b])
        assert known.intervals is not None
        assert (known.intervals.half_width is not None) == whole
        assert len(known.remarks) == (not whole)


def test_what_is_not_known_is_said_in_one_sentence() -> None:
    mean = samples(2)
    for degradation, own, count, reason in (
        (Identity(), prior(False), 2, "the prior is not calibrated"),
        (Identity(), prior(), 2, "they need --model.num_samples 4 or more"),
        (Jpeg(50), prior(), 8, "for Jpeg(quality=50) by D2IR, 2 steps at temperature 1"),
    ):
        found = with_intervals(mean, degradation, METHOD, own, count)
        assert found.intervals is not None
        assert found.intervals.half_width is None
        assert found.intervals.numbers() == {}
        (remark,) = found.remarks
        assert remark.startswith("it has no intervals: ")
        assert reason in remark
    single = samples(1)
    assert with_intervals(single, Identity(), METHOD, prior(), 1) is single
    assert single.remarks == []


CHANGED = D2IR(DegradationEstimation(steps=2, temperature=1, start=80), stages="estimation")


@pytest.mark.parametrize(
    ("method", "told"),
    [
        (CHANGED, "with estimation.start 120, not with estimation.start 80"),
        (D2IR(METHOD.estimation), "with stages estimation, not with stages both"),
        (D2IR(METHOD.estimation, stages="estimation", model_error="auto"), "model_error auto"),
        (D2IR(replace(METHOD.estimation, phi_steps=0), stages="estimation"), "phi_steps 0"),
    ],
)
def test_a_method_that_was_not_measured_gives_none_and_says_what_differs(
    method: D2IR, told: str
) -> None:
    own, mean = prior(), samples(4)
    assert own.calibration is not None
    own.calibration = replace(own.calibration, settings={OWN: settings(METHOD)})
    found = with_intervals(mean, Identity(), method, own, 4)
    assert found.intervals is not None
    assert found.intervals.half_width is None
    (remark,) = found.remarks
    assert told in remark
    same = with_intervals(mean, Identity(), METHOD, own, 4)
    assert same.intervals is not None
    assert same.intervals.half_width is not None


def test_a_situation_that_was_measured_with_several_settings_has_the_widths_of_its_own() -> None:
    own, mean, known = prior(), samples(4), {OWN: settings(METHOD)}
    assert variant(OWN, METHOD, known) == OWN
    other = variant(OWN, CHANGED, known)
    assert other == f"{OWN}; estimation.start 80"
    assert variant(OWN, CHANGED, known) == other
    assert known == {OWN: settings(METHOD), other: settings(CHANGED)}
    assert own.calibration is not None
    wide = [replace(WIDTHS[0], factor=[20.0, 80.0])]
    both = {OWN: WIDTHS, other: wide}
    own.calibration = replace(own.calibration, situations=both, settings=known)
    first, second = (
        with_intervals(mean, Identity(), method, own, 4).intervals for method in (METHOD, CHANGED)
    )
    assert first is not None
    assert second is not None
    assert first.half_width is not None
    torch.testing.assert_close(second.half_width, 10 * first.half_width)


def test_settings_of_which_nothing_is_made_do_not_count() -> None:
    without = D2IR(DegradationEstimation(phi_steps=0), stages="estimation")
    idle = DegradationEstimation(phi_steps=0, phi_lr=0.5, phi_anchor=3, guidance_scale=7)
    assert not changed(D2IR(idle, LatentOptimization(lr=3), "estimation"), settings(without))
    assert changed(D2IR(replace(idle, steps=9), stages="estimation"), settings(without))
    assert changed(D2IR(idle, LatentOptimization(lr=3)), settings(D2IR(idle)))


def test_a_setting_that_came_later_had_its_default() -> None:
    measured = settings(BlindDenoising())
    assert not changed(BlindDenoising(), {})
    assert not changed(BlindDenoising(1.0), measured)
    del measured["share"]
    assert changed(BlindDenoising(0.5), {**measured, "no longer": 1}).endswith("with share 0.5")
    assert not changed(BlindDenoising(), {"no longer": 1})


CALIBRATED = (
    *("blind_deblur", "blind_deblur_anisotropic", "deblur_motion", "deblur_defocus"),
    *("super_resolution_blind", "super_resolution_x4", "jpeg", "old_photo", "denoising"),
    *("low_light", "faded", "hdr"),
)


@pytest.mark.parametrize("config", CALIBRATED)
def test_the_embedded_prior_is_calibrated_for_the_shipped_methods(config: str) -> None:
    known, setup = load_prior("natural-small").calibration, load(config)
    assert known is not None
    own = situation(setup.degradation, setup.method)
    assert own in known.situations
    assert known.settings.keys() == known.situations.keys()
    assert known.settings[own] == settings(setup.method)


@pytest.mark.parametrize(
    ("blur", "config"),
    [
        (GaussianBlur(), "blind_deblur"),
        (GaussianBlur(width=1.6), ""),
        (Blur(width=1.6), "blind_deblur_kernel"),
    ],
)
def test_the_embedded_prior_is_calibrated_for_blurred_jpegs(blur: Degradation, config: str) -> None:
    known, family = load_prior("natural-small").calibration, Compose([blur, Jpeg()])
    assert known is not None
    method = load(config).method if config else suiting(family)
    own = situation(family, method)
    assert known.settings[own] == settings(method)
    assert all(0.005 < w.noise < 0.1 for w in known.widths(own, 8, 0.9))


def test_a_situation_names_what_decides_about_errors() -> None:
    aged = Compose([GaussianBlur(border="reflect"), Downsampling(2), Jpeg(draw_quality=(40, 80))])
    walk = D2IR(DegradationEstimation(steps=8, temperature=0.3))
    assert situation(aged, walk) == (
        "GaussianBlur + Downsampling(factor=2) + Jpeg by D2IR, 8 steps at temperature 0.3"
    )
    assert situation(Identity(), BlindDenoising()) == "Identity by BlindDenoising"
    assert situation(Identity(), walk) != situation(Identity(), METHOD)
    (box,) = {situation(Mask(source), walk) for source in ("zeros", [1, 2, 3, 4])}
    assert box.startswith("Mask by D2IR")


def test_other_settings_of_a_degradation_are_other_situations() -> None:
    blur = GaussianBlur()
    phi = blur.draw([torch.Generator()], torch.zeros(1))
    others: list[Degradation] = [
        blur,
        blur.told(phi),
        GaussianBlur(isotropic=False),
        GaussianBlur(width=1.5),
        GaussianBlur(width=[1.5, 2.0], isotropic=False),
        GaussianBlur(response="srgb"),
        Downsampling(4),
        Downsampling(2),
        Downsampling(2, "gaussian"),
        Downsampling(4, "bilinear_aliased"),
        Light(map_size=0),
        Light(map_size=0, gain=0.2),
        Light(map_size=0, scales="auto"),
    ]
    assert len({situation(other, METHOD) for other in others}) == len(others)
    assert situation(GaussianBlur(width=2.5), METHOD) == situation(others[3], METHOD)
    assert situation(GaussianBlur(31, draw_width=(1, 2)), METHOD) == situation(blur, METHOD)


def test_the_shipped_configs_whose_errors_differ_are_kept_apart() -> None:
    names = (
        *("blind_deblur", "blind_deblur_anisotropic", "super_resolution_blind", "low_light"),
        *("super_resolution_x4", "super_resolution_aliased", "jpeg", "old_photo", "denoising"),
    )
    setups = [load(name) for name in names]
    assert len({situation(s.degradation, s.method) for s in setups}) == len(names)


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (2, 2)])
def test_spread_and_contrast_of_the_smallest_images_are_finite(size: tuple[int, int]) -> None:
    image = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(0))
    assert bool(smoothed(image[:, :1]).isfinite().all())
    assert bool(local_contrast(image).isfinite().all())
