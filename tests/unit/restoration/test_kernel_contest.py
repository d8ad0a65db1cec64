import math
from dataclasses import replace
from typing import Any, TypeVar

import pytest
import torch
from gaussian_prior import GaussianPrior
from shaken import blurred, corner, discs
from torch import Tensor

from d2ir_pl.degradations import Blur, Compose, Downsampling, GaussianBlur, Jpeg, Light, Phi
from d2ir_pl.degradations.blur_guesses import Guess
from d2ir_pl.diffusion.randomness import image_generator
from d2ir_pl.operators.kernels import gaussian_kernel, padded
from d2ir_pl.priors import NetworkPrior
from d2ir_pl.restoration import D2IR, DegradationEstimation, Problem, Restoration
from d2ir_pl.restoration.kernel_contest import contest, has_contest
from d2ir_pl.restoration.kernel_rounds import (
    FIRST_ERROR,
    Refined,
    agreed,
    grey_window,
    next_error,
    refined,
)
from d2ir_pl.restoration.kernel_verdict import Verdict
from d2ir_pl.restoration.searches import WALK as SHORT_WALK
from d2ir_pl.restoration.searches import Search, answered
from d2ir_pl.restoration.step import Step
from d2ir_pl.results.metrics import kernel_similarity

CONTEST = "d2ir_pl.restoration.kernel_contest"
T = TypeVar("T")
WALK = DegradationEstimation(phi_steps=0, steps=2, start=60)


def problem(y: Tensor, size: int = 15) -> Problem:
    generators = [image_generator(0, str(b)) for b in range(len(y))]
    return Problem.of(y, Blur(size), generators, torch.full((len(y),), 0.01))


def test_only_an_unknown_free_kernel_has_a_contest() -> None:
    known = Blur(21).told(Phi(logits=(corner()[None] + 1e-12).log()))
    assert has_contest(Blur(21))
    for degradation in (known, Blur(21, start="spectrum"), GaussianBlur(21)):
        assert not has_contest(degradation)
    assert has_contest(Compose([Blur(21), Light(), Jpeg()]))
    assert not has_contest(Compose([Light(), Blur(21)]))
    assert not has_contest(Compose([Blur(21), Downsampling(2)]))


def test_the_kernel_of_a_shake_wins_and_gets_no_worse(
    natural_small: NetworkPrior, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("d2ir_pl.restoration.kernel_rounds.ROUNDS", 1)
    monkeypatch.setattr("d2ir_pl.restoration.kernel_contest.CANDIDATES", 2)
    shaken = problem(blurred(discs(), corner(), 0.005), 21)
    (verdict,) = contest(shaken, natural_small)
    assert verdict.winner.source == "edges"
    before = float(kernel_similarity(verdict.winner.kernel, corner()))
    assert before > 0.85
    evidence = verdict.evidence()
    assert (evidence.source, evidence.guesses) == ("edges", 2)
    assert evidence.lead is not None
    assert evidence.lead > 0
    assert evidence.sure > 0.5
    after = answered(refined(shaken, [verdict.winner.kernel]), natural_small)
    assert after.nfe == SHORT_WALK.steps
    assert float(kernel_similarity(after.kernel, corner())) > before - 0.02
    assert float(after.kernel.sum()) == pytest.approx(1, abs=1e-4)
    assert 0 <= after.error <= FIRST_ERROR


def test_photos_are_restored_together_as_if_each_were_alone_with_its_kernel(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    counts, restored = [], D2IR._restored

    def counting(self: D2IR, problem: Problem, *rest: Any) -> Restoration:
        counts.append(len(problem))
        return restored(self, problem, *rest)

    monkeypatch.setattr(D2IR, "_restored", counting)
    y = torch.cat([blurred(discs(84, seed), corner(), 0.01) for seed in (1, 2)])
    method = D2IR(WALK, stages="estimation")
    batch = problem(y)
    steps: list[Step] = []
    together = method.restore(batch, GaussianPrior(), steps.append)
    assert counts == [2]
    assert together.phi["logits"].shape == (2, 15, 15)
    assert together.x0.shape == y.shape
    assert {image for step in steps for image in step.images} == {0, 1}
    for b in range(2):
        alone = method.restore(problem(y).select([b]), GaussianPrior())
        assert torch.allclose(alone.x0[0], together.x0[b], atol=1e-4)


def test_a_doubtful_kernel_is_believed_less() -> None:
    y = blurred(discs(84), corner(), 0.002)
    one = Problem.of(y, Blur(15), [image_generator(0, "0")], torch.tensor([0.002]))
    for doubt in (0.25, 1.0):
        error = answered(refined(one, [corner(15)], doubt), GaussianPrior()).error
        assert error >= doubt**0.5 * FIRST_ERROR


def test_a_shake_is_found_below_what_happened_after_it() -> None:
    """A photo that was darkened afterwards has the same shake."""
    shaken = blurred(discs(), corner(), 0.01)
    light = Light(0.7)
    dark = light(shaken, light.draw([image_generator(0, "light")], shaken))
    photo = Problem.of(dark, Compose([Blur(15), Light()]), [image_generator(0, "photo")])
    result = D2IR(WALK, stages="estimation").restore(photo, GaussianPrior())
    assert result.phi["0.logits"].shape == (1, 15, 15)
    (evidence,) = result.kernels
    assert evidence.source == "edges"
    assert result.nfe[0] > evidence.guesses * WALK.steps
    kernel = Blur(15).kernel(Phi(logits=result.phi["0.logits"]))[0]
    assert float(kernel_similarity(kernel, corner())) > 0.8


def test_a_sharp_photo_comes_back_as_it_was() -> None:
    """Nothing is missing in its spectrum, whatever its edges look like."""
    y = discs(64)[None]
    result = D2IR(WALK, stages="estimation").restore(problem(y), GaussianPrior())
    kernel = Blur(15).kernel(result.phi)[0]
    assert float(kernel.max()) > 0.9
    assert float((result.x0 - y).square().mean().sqrt()) < 0.05


def test_a_window_is_grey_and_has_the_noise_of_the_mean_of_its_channels() -> None:
    y = torch.randn(1, 3, 80, 90, generator=torch.Generator().manual_seed(0)).clamp(-1, 1)
    hidden = torch.ones(1, 1, 80, 90)
    hidden[..., :40] = 0
    part = grey_window(replace(problem(y), observed=hidden), 40, 9)
    assert part.y.shape == (1, 3, 40, 40)
    assert torch.equal(part.y[:, 0], part.y[:, 1])
    assert float(part.sigma_y) == pytest.approx(0.01 / 3**0.5, rel=1e-3)
    assert part.observed is not None
    assert float(part.observed.mean()) > 0.9


def test_the_assumed_error_follows_what_is_left_unexplained() -> None:
    noise = 0.004
    errors = [next_error(0.015, left, noise) for left in (0.02, 0.009, 0.008, 0.0065)]
    assert errors == sorted(errors, reverse=True)
    assert errors[0] == 0.015  # never more than before
    assert next_error(0.0, 0.95 * noise, noise) == pytest.approx(0, abs=1e-6)  # explained to it
    assert 0.004 < next_error(0.005, noise, noise) < 0.005  # nearly: no more than that is believed
    assert 0.005 < next_error(0.005, 0.003, noise) < next_error(0.005, 0.002, noise) <= FIRST_ERROR


def at_once(found: T) -> Search[T]:
    """A search that asks for nothing."""
    yield []
    return found


def verdict_of(found: list[Guess], images: list[float]) -> Verdict:
    """A verdict by the images alone."""
    return Verdict(found, images, [0.0] * len(found))


def test_the_least_score_wins() -> None:
    found = [Guess("gaussian", corner()), Guess("edges", corner().T), Guess("disk", corner())]
    verdict = verdict_of(found, [0.5, -0.25, 0.0])
    assert verdict.winner is found[1]
    assert verdict.contenders == [found[1]]
    assert verdict_of(found[:1], [0.0]).winner is found[0]
    assert Verdict(found, [0.5, -0.25, 0.0], [0.0, 0.9, 0.9]).winner is found[0]


def test_how_sure_a_kernel_is_follows_its_lead_over_other_shapes() -> None:
    """A guess of the same shape, here the disk, says nothing against the winner."""
    found = [Guess("gaussian", corner().T), Guess("edges", corner()), Guess("disk", corner(15))]
    sure = []
    for score in (-0.2499, 0.0, 0.5):
        evidence = verdict_of(found, [score, -0.25, -0.24]).evidence()
        assert evidence.lead == pytest.approx(score + 0.25)
        sure.append(evidence.sure)
    assert sure[0] == pytest.approx(0.5, abs=0.01)
    assert sure == sorted(sure)
    alone = verdict_of(found[:1], [0.0])
    assert (alone.evidence().lead, alone.evidence().sure, alone.nfe) == (None, 1.0, 0)


def test_where_two_shapes_are_as_likely_both_images_count(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And where they differ, the restoration says so."""
    y = blurred(discs(84), corner(), 0.01)
    guess = [Guess("gaussian", corner(15)), Guess("disk", corner(15).flip(1))]
    results = []
    for scores in ([0.0, 9.0], [9.0, 0.0], [0.0, 0.0]):
        verdict = verdict_of(guess, scores)
        monkeypatch.setattr(f"{CONTEST}._verdict", lambda *_, v=verdict: at_once(v))
        monkeypatch.setattr(f"{CONTEST}.refined", unrefined)
        results.append(D2IR(WALK, stages="estimation").restore(problem(y), GaussianPrior()))
    one, other, both = results
    assert torch.allclose(both.x0, (one.x0 + other.x0) / 2, atol=1e-4)
    assert both.std is not None
    expected = (one.x0 - other.x0).square().mean(1, keepdim=True).sqrt() / 2
    assert torch.allclose(both.std, expected, atol=1e-4)
    assert one.std is None
    assert both.nfe[0] > one.nfe[0]


def test_a_doubtful_gaussian_is_restored_with_the_error_of_another_shape(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    y = blurred(discs(84), corner(), 0.002)
    one = Problem.of(y, Blur(15), [image_generator(0, "0")], torch.tensor([0.004]))
    found = [Guess("gaussian", corner(15)), Guess("edges", corner(15).flip(1))]
    errors = []
    for images in ([0.0, 9.0], [0.0, 0.0]):
        verdict = Verdict(found, images, [0.0, 9.0])
        monkeypatch.setattr(f"{CONTEST}._verdict", lambda *_, v=verdict: at_once(v))
        method = D2IR(WALK, stages="estimation", model_error="auto")
        told = method.restore(one, GaussianPrior()).model_error
        assert told is not None
        errors.append(float(told) / 2 / 3**0.5)
    assert errors[0] < errors[1] == pytest.approx(0.5**0.5 * FIRST_ERROR, rel=0.01)


SEEN_SHARP = gaussian_kernel(0.1 * torch.eye(2)[None], 3)[0]
"""A kernel that a photo is believed to have where it is taken for a sharp one."""


def test_searches_that_disagree_or_whose_image_is_no_likelier_are_not_believed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shaken, right = problem(blurred(discs(84), corner(), 0.005)), corner(15)
    near = (right + 0.3 * right.roll(1, 0)) / 1.3
    assert answered(agreed(shaken, right, [near, near]), GaussianPrior())[0] is None
    monkeypatch.setattr("d2ir_pl.restoration.kernel_rounds.LEAD", -math.inf)
    found, nfe = answered(agreed(shaken, SEEN_SHARP, [right, near]), GaussianPrior())
    assert found is not None
    assert found.nfe == nfe
    assert found.double
    none, spent = answered(agreed(shaken, SEEN_SHARP, [right, right.flip(0)]), GaussianPrior())
    assert none is None
    assert 0 < spent < nfe
    assert answered(agreed(shaken, SEEN_SHARP, []), GaussianPrior()) == (None, 0)


@pytest.mark.thorough
def test_two_searches_that_agree_after_the_rounds_are_believed_against_a_gaussian(
    natural_small: NetworkPrior,
) -> None:
    """And their kernel is that of the shake."""
    shaken = problem(blurred(discs(), corner(), 0.005), 21)
    right = corner(15)
    near = (right + 0.3 * right.roll(1, 0)) / 1.3
    found, nfe = answered(agreed(shaken, SEEN_SHARP, [right, near]), natural_small)
    assert found is not None
    assert found.lead is not None
    assert found.lead > 0.1
    assert found.nfe == nfe
    assert float(kernel_similarity(found.kernel, corner())) > 0.9
    none, spent = answered(agreed(shaken, SEEN_SHARP, [right, right.flip(0)]), natural_small)
    assert none is None
    assert 0 < spent < nfe
    assert answered(agreed(shaken, right, [near, near]), natural_small)[0] is None


def test_a_second_look_takes_the_place_of_a_gaussian(monkeypatch: pytest.MonkeyPatch) -> None:
    y = blurred(discs(84), corner(), 0.01)
    found = [Guess("gaussian", corner(15)), Guess("edges", corner(15).flip(1))]
    verdict = Verdict(found, [0.0, 0.0], [0.0, 9.0])
    second = Refined(corner(15).flip(0), 0.003, 30, lead=0.2, double=True)
    monkeypatch.setattr(f"{CONTEST}._verdict", lambda *_: at_once(verdict))
    monkeypatch.setattr(f"{CONTEST}.agreed", lambda *_: at_once((second, 30)))
    result = D2IR(WALK, stages="estimation").restore(problem(y), GaussianPrior())
    (evidence,) = result.kernels
    assert (evidence.source, evidence.lead) == ("edges", 0.2)
    assert 0.95 < evidence.sure < 1
    kernel = Blur(15).kernel(result.phi)[0]
    assert float(kernel_similarity(kernel, second.kernel)) > 0.99


def test_a_kernel_that_two_searches_have_led_to_is_surer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("d2ir_pl.restoration.kernel_rounds.HEATS", 1)
    shaken = problem(blurred(discs(84), corner(), 0.01))
    right = corner(15)

    def double(*others: Tensor) -> bool:
        return answered(refined(shaken, [right, *others]), GaussianPrior()).double

    assert double((right + 0.3 * right.roll(1, 0)) / 1.3)
    assert not double(right.flip(0))
    assert not double()
    found = [Guess("gaussian", corner(15).flip(1)), Guess("edges", right)]
    verdict = Verdict(found, [0.1, 0.0], [0.0, 0.0])
    monkeypatch.setattr(f"{CONTEST}._verdict", lambda *_: at_once(verdict))
    sure = []
    for twice in (False, True):
        best = Refined(right, 0.0, 0, double=twice)
        monkeypatch.setattr(f"{CONTEST}.refined", lambda *_, b=best: at_once(b))
        result = D2IR(WALK, stages="estimation").restore(shaken, GaussianPrior())
        sure.append(result.kernels[0].sure)
    assert sure[0] == verdict.evidence().sure
    assert sure[1] / (1 - sure[1]) == pytest.approx(5 * sure[0] / (1 - sure[0]))


def test_what_was_not_believed_is_tried_by_its_image() -> None:
    turned, flipped = corner().T, corner().flip(0)
    found = [Guess("gaussian", corner()), Guess("edges", corner()), Guess("edges", turned)]
    found += [Guess("disk", flipped), Guess("edges", flipped)]
    verdict = Verdict(found, [0.0, 0.0, 0.3, 0.1, 0.2], [0.0, 1.0, 1.0, 1.0, 2.0])
    assert verdict.unbelieved == [found[4], found[2]]  # the first is of the winner's shape


def unrefined(_: Problem, kernels: list[Tensor], *__: object) -> Search[Refined]:
    return at_once(Refined(kernels[0], 0.0, 0))


def test_the_rounds_decide_between_kernels_of_edges_that_are_about_as_likely() -> None:
    kinds = ("gaussian", "edges", "motion", "edges", "edges")
    found = [Guess(kind, corner()) for kind in kinds]
    close = verdict_of(found, [0.01, 0.0, 0.02, 0.05, 0.06])
    assert close.contenders == [found[1], found[3]]
    assert verdict_of(found, [0.01, 0.0, 0.02, 0.3, 0.4]).contenders == [found[1]]
    assert verdict_of(found, [-0.01, 0.0, 0.02, 0.05, 0.06]).contenders == [found[0]]


def test_a_kernel_is_doubted_for_the_shapes_that_the_rounds_do_not_try() -> None:
    flat, turned = gaussian_kernel(4.0 * torch.eye(2)[None], 21)[0], corner().T
    found = [Guess("gaussian", flat), Guess("edges", corner()), Guess("edges", turned)]
    tried = verdict_of(found, [0.1, 0.0, 0.05])
    assert tried.contenders == found[1:]
    assert tried.doubt == pytest.approx(1 / (1 + math.e))  # of the Gaussian alone
    assert tried.evidence().sure < 1 - tried.doubt
    far = verdict_of(found, [0.1, 0.0, 0.2])
    assert far.doubt == pytest.approx(1 - far.evidence().sure)


def test_a_gaussian_that_wins_by_what_speaks_against_others_is_doubted_by_the_images() -> None:
    """And believed less, though a narrow blur explains a photo as well as any."""
    found = [Guess("gaussian", corner().T), Guess("edges", corner())]
    by_the_images = Verdict(found, [0.0, 0.5], [0.0, 0.5])
    against_others = Verdict(found, [0.0, 0.0], [0.0, 1.0])
    assert by_the_images.winner is against_others.winner is found[0]
    assert by_the_images.evidence().sure == against_others.evidence().sure
    assert against_others.doubt == pytest.approx(0.5)
    assert by_the_images.doubt < 0.01


def test_rounds_end_where_an_image_is_no_better_and_keep_its_kernel(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    y = blurred(discs(84), corner(), 0.002)
    one = Problem.of(y, Blur(15), [image_generator(0, "0")], torch.tensor([0.001]))
    rounds = "d2ir_pl.restoration.kernel_rounds"
    kernels = iter([corner(15), corner(15).flip(0), corner(15).flip(1), corner(15).T])
    monkeypatch.setattr(f"{rounds}.fitted", lambda *_: at_once(next(kernels)))
    monkeypatch.setattr(f"{rounds}.next_error", lambda *_: 0.01)
    monkeypatch.setattr(f"{rounds}.SETTLED", 0.0)
    found = answered(refined(one, [corner(15)]), GaussianPrior())
    assert found.nfe == 2 * SHORT_WALK.steps  # a third round would assume as much as the second
    assert float(kernel_similarity(found.kernel, corner(15))) > 0.99


def test_a_kernel_grows_no_larger_than_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the record holds is what the photo was restored with."""
    monkeypatch.setattr("d2ir_pl.restoration.kernel_rounds.SETTLED", 0.0)
    shaken = blurred(discs(84), corner(), 0.002)
    narrow = Problem.of(shaken, Blur(7), [image_generator(0, "0")], torch.tensor([0.004]))
    start = gaussian_kernel(2.0 * torch.eye(2)[None], 7)[0]
    found = answered(refined(narrow, [start]), GaussianPrior()).kernel
    assert found.shape[-1] <= 7
    assert not torch.allclose(found, start)


def test_a_refined_kernel_has_no_faint_entries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does its support grow by noise."""
    noisy = corner(15) + 0.005 * corner(15).max() * torch.ones(15, 15)
    monkeypatch.setattr("d2ir_pl.restoration.kernel_rounds.ROUNDS", 1)
    wide = padded(noisy / noisy.sum(), 19)
    monkeypatch.setattr("d2ir_pl.restoration.kernel_rounds.fitted", lambda *_: at_once(wide))
    one = problem(blurred(discs(84), corner(), 0.002))
    found = answered(refined(one, [corner(15)]), GaussianPrior()).kernel
    assert found.shape[-1] <= 15
    assert float(found[:3, :3].max()) < 1e-6
