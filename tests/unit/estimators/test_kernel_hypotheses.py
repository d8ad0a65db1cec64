from dataclasses import replace

import pytest
import torch
from shaken import blurred, corner, discs
from torch import Tensor

from d2ir_pl.degradations import Blur
from d2ir_pl.degradations.blur_guesses import Guess, guesses, handicaps, shortlist
from d2ir_pl.estimators.edge_windows import edge_windows
from d2ir_pl.estimators.kernel_hypotheses import Hypothesis, kernel_of_edges, periodic
from d2ir_pl.estimators.kernel_shapes import centred, cleaned, cut_off, trimmed
from d2ir_pl.estimators.kernel_worth import deconvolved, unlikeliness
from d2ir_pl.operators.kernels import gaussian_kernel, kernel_centroid, kernel_covariance, padded
from d2ir_pl.results.metrics import kernel_similarity


def grey(y: Tensor) -> Tensor:
    return (y.mean(0, keepdim=True) + 1) / 2


@pytest.mark.parametrize("size", [15, 25])
def test_the_path_of_a_shake_is_found_with_any_support_that_holds_it(size: int) -> None:
    windows = grey(blurred(discs(), corner(), 0.01)[0])
    kernel = kernel_of_edges(windows, Hypothesis(size, 3.2e-2, 0.1))
    assert kernel.shape == (size, size)
    assert float(kernel_similarity(kernel, corner())) > 0.9
    assert float(kernel.min()) >= 0
    assert float(kernel.sum()) == pytest.approx(1, abs=1e-5)
    # By as much as it is off the middle, the restored picture lies beside the photo.
    assert float(kernel_centroid(kernel[None]).abs().max()) <= 1


@pytest.mark.parametrize("size", [15, 25])
def test_noise_that_is_told_does_not_hide_a_path(size: int) -> None:
    """Gradients of noise grow with the frequency; left alone, they make most of the kernel."""
    windows = grey(blurred(discs(), corner(), 0.05)[0])
    settings, noise = Hypothesis(size, 3.2e-2, 0.1), 0.05 / 2 / 3**0.5
    told, untold = (kernel_of_edges(windows, settings, n) for n in (noise, 0.0))
    assert float(kernel_similarity(told, corner())) > 0.9
    assert float(kernel_similarity(untold, corner())) < 0.8


def test_a_shifted_scene_has_the_same_kernel() -> None:
    whole = grey(blurred(discs(), corner(), 0.0)[0])
    parts = [whole[:, :112, :112], whole[:, 5:117, 7:119]]
    one, other = (kernel_of_edges(part, Hypothesis(15, 3.2e-2, 0.1)) for part in parts)
    assert float(kernel_similarity(one, other)) > 0.9


def test_small_entries_and_islands_are_removed_and_the_rest_is_centred() -> None:
    kernel = torch.zeros(15, 15)
    kernel[2:6, 3] = 1.0
    kernel[9, 9] = 0.2  # a twentieth of the sum, touching nothing
    kernel[8, 3] = 0.04  # under a twentieth of the largest entry
    found = cleaned(kernel, islands=True)
    assert float(found.sum()) == pytest.approx(1)
    assert int((found > 0).sum()) == 4
    assert float(kernel_centroid(found[None]).abs().max()) <= 0.5
    kept = cleaned(kernel, islands=False)
    assert int((kept > 0).sum()) == 5


@pytest.mark.parametrize("value", [-1.0, 0.0, float("nan"), float("inf")])
def test_what_is_no_kernel_becomes_one_that_changes_nothing(value: float) -> None:
    found = cleaned(torch.full((5, 5), value), islands=True)
    assert float(found[2, 2]) == pytest.approx(1)
    assert float(found.sum()) == pytest.approx(1)


def test_a_path_that_leaves_its_sides_is_cut_off() -> None:
    line = torch.zeros(21, 21)
    line[10, 4:17] = 1 / 13
    assert cut_off(line) == 0
    assert cut_off(line[4:17, 4:17]) == pytest.approx(2 / 13)  # a pixel at each end
    assert cut_off(torch.full((15, 15), 1.0)) == pytest.approx(1 - 11**2 / 15**2)


def test_a_kernel_that_is_cut_off_is_doubted() -> None:
    y = blurred(discs(), corner(), 0.01)[0]
    gaussian = Guess("gaussian", gaussian_kernel(3.0 * torch.eye(2)[None], 21)[0])
    whole, cut = (Guess("edges", corner(), cut=share) for share in (0.1, 0.3))
    against = handicaps(y, torch.tensor(0.01), [gaussian, whole, cut], 0.25)
    assert float(against[2] - against[1]) == pytest.approx(0.8, abs=1e-4)
    assert shortlist(y, [gaussian, cut, whole], 2)[1].cut == 0.1


def test_a_margin_leads_back_to_the_beginning() -> None:
    x = torch.arange(12.0).expand(1, 10, 12) + torch.arange(10.0)[:, None]
    closed = periodic(x, 6)[0]
    assert torch.equal(closed[:10, :12], x[0])
    steps = (torch.roll(closed, -1, 1) - closed).abs()
    assert float(steps.max()) < 4  # no jump of 11 from the end to the beginning


def test_a_shake_leads_to_a_better_image_than_wrong_kernels() -> None:
    windows = grey(blurred(discs(), corner(), 0.01)[0])
    wide = gaussian_kernel(3.0 * torch.eye(2)[None], 21)[0]
    kernels = torch.stack([corner(), corner().flip(1), corner().T, wide])
    scores = unlikeliness(*deconvolved(windows, kernels))
    assert int(scores.argmin()) == 0


def test_the_true_kernel_is_on_the_short_list_and_twins_are_left_out() -> None:
    y = blurred(discs(), corner(), 0.01)[0]
    twin = padded(trimmed(corner()), 17)
    kernels = [gaussian_kernel(3.0 * torch.eye(2)[None], 21)[0], corner().T, corner(), twin]
    found = [Guess("edges", kernel) for kernel in kernels]
    best = shortlist(y, found, 4)
    assert best[0].kernel is found[0].kernel
    assert float(kernel_similarity(best[1].kernel, corner())) > 0.99
    assert len(best) == 3


def test_kernels_of_edges_are_doubted_by_how_far_they_disagree() -> None:
    """Of those that several searches have found, most of all the one that is like no other."""
    y = blurred(discs(), corner(), 0.01)[0]
    other = corner().rot90().flip(0)
    gaussian = Guess("gaussian", gaussian_kernel(3.0 * torch.eye(2)[None], 21)[0])
    near = [(1 - u) * corner() + u * other for u in (0.0, 0.3)]
    best = shortlist(y, [gaussian, *(Guess("edges", k) for k in (*near, other))], 5)
    assert len(best) == 4
    alone = [replace(guess, agreement=None) for guess in best]
    against, told = (handicaps(y, torch.tensor(0.01), found, 0.0) for found in (best, alone))
    doubt = {id(guess.kernel): float(d) for guess, d in zip(best, against - told, strict=True)}
    assert doubt[id(gaussian.kernel)] == 0
    assert doubt[id(other)] == max(doubt.values())
    assert min(doubt[id(kernel)] for kernel in near) > 0


def test_a_kernel_of_edges_that_is_like_the_gaussian_is_doubted_besides() -> None:
    y, sigma = blurred(discs(), corner(), 0.01)[0], torch.tensor(0.01)
    round_ = gaussian_kernel(3.0 * torch.eye(2)[None], 21)[0]
    nearly = gaussian_kernel(torch.tensor([[[3.5, 0.0], [0.0, 3.0]]]), 21)[0]
    found = [Guess("gaussian", round_), Guess("edges", nearly), Guess("edges", corner())]
    agreed = [found[0], *(replace(guess, agreement=1.0) for guess in found[1:])]
    added = handicaps(y, sigma, agreed, 0.05) - handicaps(y, sigma, found, 0.05)
    assert added.tolist() == pytest.approx([0, 0.1, 0], abs=1e-5)


@pytest.mark.parametrize("y", [torch.zeros(3, 80, 80), discs(8)])
def test_flat_and_tiny_photos_have_one_guess(y: Tensor) -> None:
    (only,) = guesses(y, torch.tensor(0.01), 15)
    assert only.source == "gaussian"
    assert Blur(15).init(y[None], torch.tensor([0.01]))["logits"].shape == (1, 15, 15)


def test_windows_lie_on_edges_that_are_not_clipped() -> None:
    image = torch.full((200, 200), 0.5)
    image[20:60, 20:60] = discs(40).mean(0) / 2 + 0.5  # edges in all directions
    image[120:180, 120:180] = (discs(60).mean(0) > 0).float()  # stronger, and clipped
    image[150:190, 10:110:10] = 0.2  # stripes in one direction
    ((top, left),) = edge_windows(image, 48, 1).tolist()
    assert abs(top - 16) <= 12
    assert abs(left - 16) <= 12


def test_windows_do_not_repeat_and_fit_the_photo() -> None:
    image = (discs(160).mean(0) + 1) / 2
    places = edge_windows(image, 64, 3)
    assert 1 < len(places) <= 3
    assert int(places.max()) <= 160 - 64
    for i, a in enumerate(places.tolist()):
        for b in places.tolist()[:i]:
            assert max(abs(a[0] - b[0]), abs(a[1] - b[1])) > 32
    assert edge_windows(image, 500, 3).tolist() == [[0, 0]]


def test_trimmed_and_padded_kernels_are_the_same_kernel() -> None:
    kernel = trimmed(padded(corner(), 31))
    assert kernel.shape[-1] < 21
    assert float(kernel_similarity(kernel, corner())) > 0.999


def test_of_many_small_parts_the_largest_stays() -> None:
    scattered = torch.zeros(63, 63)
    scattered[::4, ::4] = 1
    scattered[40, 41] = 1  # beside another one
    kernel = cleaned(scattered, islands=True)
    assert kernel.shape == (63, 63)
    assert float(kernel.sum()) == pytest.approx(1)
    assert int((kernel > 0).sum()) == 2
    noise = torch.rand(63, 63, generator=torch.Generator().manual_seed(0)) ** 20
    assert torch.isfinite(centred(cleaned(noise, islands=True))).all()


def test_a_known_width_is_that_of_the_gaussian_among_the_guesses() -> None:
    y = blurred(discs(), corner(), 0.01)[0]
    known = guesses(y, torch.tensor(0.02), 15, width=2.0)
    found = guesses(y, torch.tensor(0.02), 15)
    assert [guess.source for guess in known] == [guess.source for guess in found]
    width = kernel_covariance(known[0].kernel[None])[0].diagonal().sqrt()
    assert width.tolist() == pytest.approx([2.0, 2.0], rel=0.05)
    assert torch.equal(known[-1].kernel, found[-1].kernel)
