from typing import Any

import pytest
import torch
from torch import Tensor

from d2ir_pl.degradations import Exposures, Phi

GAINS = [0.25, 1.0, 4.0]


def scene(count: int = 2, size: int = 40) -> torch.Tensor:
    rows = torch.arange(size)[:, None] / 7.0
    columns = torch.arange(size) / 5.0
    phase = torch.arange(3 * count).view(count, 3, 1, 1) / 3
    return 0.95 * torch.sin(rows + phase) * torch.cos(columns - phase)


def known(reference: int | None = None) -> Exposures:
    return Exposures(3, GAINS, reference)


def shots(exposures: Exposures, x: torch.Tensor, noise: float = 0.0) -> tuple[Tensor, Phi]:
    phi = exposures.draw([torch.Generator()] * len(x), x)
    y = exposures(x, phi)
    return y + noise * torch.randn(y.shape, generator=torch.Generator().manual_seed(0)), phi


def test_each_exposure_is_the_scene_times_its_gain_clipped_at_white() -> None:
    x = scene()
    y, _ = shots(known(), x)
    assert y.shape == (2, 3, 3, 40, 40)
    for s, gain in enumerate(GAINS):
        expected = (gain * (x + 1) / 2).clamp(0, 1)
        assert torch.allclose((y[:, s] + 1) / 2, expected, atol=1e-6)


def test_gains_are_relative_to_the_reference() -> None:
    x = scene()
    for reference, first in ((0, 1.0), (1, 0.25), (2, 0.0625)):
        phi = shots(known(reference), x)[1]
        assert torch.allclose(phi["log_gain"][:, 0].exp(), torch.tensor(first))
    phi = shots(known(), x)[1]
    brighter = phi.replace(log_gain=phi["log_gain"] + 1)
    assert torch.allclose(known()(x, brighter), known()(x, phi), atol=1e-6)


def test_clipped_pixels_have_no_gradient_and_the_others_that_of_their_gain() -> None:
    exposures = known()
    x = scene(1).requires_grad_()
    y = exposures(x, shots(exposures, x.detach())[1])
    for s, gain in enumerate(GAINS):
        (gradient,) = torch.autograd.grad(y[:, s].sum(), x, retain_graph=True)
        clipped = gain * (x.detach() + 1) / 2 >= 1
        assert float(gradient[clipped].abs().sum()) == 0
        assert torch.allclose(gradient[~clipped], torch.tensor(gain))


def test_what_both_clip_is_no_error_and_what_one_clips_is() -> None:
    exposures = known()
    y = torch.tensor([1.0, 0.995, 1.0, 0.0])
    prediction = torch.tensor([1.0, 1.0, 0.4, 1.0])
    residual = exposures.residual(y, prediction, Phi())
    assert torch.allclose(residual, torch.tensor([0.0, 0.0, 0.6, -1.0]))


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
def test_unknown_gains_are_found_in_any_order(order: tuple[int, ...]) -> None:
    y, _ = shots(known(), scene(), noise=0.02)
    y = y.clamp(-1, 1)[:, list(order)]
    found = Exposures(3).init(y, torch.full((2,), 0.02))["log_gain"]
    truth = torch.tensor([GAINS[s] for s in order]).log()
    assert torch.allclose(found, (truth - truth[1]).expand(2, 3), atol=0.05)


def test_exposures_without_a_pixel_in_common_have_a_finite_start() -> None:
    y = torch.stack([torch.full((3, 8, 8), v) for v in (-1.0, 0.0, 1.0)])[None]
    exposures = Exposures(3)
    phi = exposures.init(y, torch.zeros(1))
    assert bool(phi["log_gain"].isfinite().all())
    assert bool(exposures.lift(y, phi).isfinite().all())


def test_the_merged_exposures_are_the_scene_and_less_noisy_in_the_shadows() -> None:
    x = scene()
    exposures = known()
    y, phi = shots(exposures, x)
    assert torch.allclose(exposures.lift(y, phi), x, atol=1e-4)
    noisy, phi = shots(exposures, x, noise=0.05)
    error = (exposures.lift(noisy, phi) - x).square()
    plain = (noisy[:, 1] - x).square()
    shadows = x < -0.6  # which the brightest exposure shows too
    assert float(error[shadows].mean()) < 0.15 * float(plain[shadows].mean())


def test_highlights_come_from_the_darkest_exposure() -> None:
    """With the darkest as the reference, x shows what the others clip."""
    x = scene()
    exposures = known(reference=0)
    y, phi = shots(exposures, x)
    assert float((y[:, 2] >= 1).float().mean()) > 0.3
    assert torch.allclose(exposures.lift(y, phi), x, atol=1e-4)


def test_the_share_is_that_of_the_values_below_white() -> None:
    y, _ = shots(known(), scene())
    phi = known().init(y, torch.zeros(2))
    expected = (y < 0.99).float().flatten(1).mean(1)
    assert torch.allclose(known().share(phi), expected)
    assert "unclipped" not in Exposures(3).free(phi)


def test_a_y_of_another_number_of_exposures_is_refused() -> None:
    for shape, message in (((1, 3, 8, 8), "scenes true"), ((1, 2, 3, 8, 8), "count 2")):
        with pytest.raises(ValueError, match=message):
            Exposures(3).init(torch.zeros(shape), torch.zeros(1))
        with pytest.raises(ValueError, match=message):  # which is asked for first
            Exposures(3).estimate_sigma(torch.zeros(shape))


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("count", {"count": 1}),
        ("gains", {"gains": [1.0, 2.0]}),
        ("gains", {"gains": [1.0, 2.0, 0.0]}),
        ("reference", {"reference": 3}),
        ("draw_ratio", {"draw_ratio": (0.5, 2.0)}),
    ],
)
def test_settings_out_of_range_are_refused(name: str, arguments: Any) -> None:
    with pytest.raises(ValueError, match=name):
        Exposures(**arguments)
