import pytest
import torch
from shaken import blurred, corner, discs

from d2ir_pl.estimators.kernel_refit import on_simplex, refitted
from d2ir_pl.estimators.kernel_shapes import centred
from d2ir_pl.operators.kernels import kernel_centroid
from d2ir_pl.results.metrics import kernel_similarity


def test_the_sharp_image_shows_its_kernel_from_any_start() -> None:
    x = (discs().mean(0) + 1) / 2
    y = (blurred(discs(), corner(), 0.01)[0].mean(0) + 1) / 2
    for start in (torch.full((25, 25), 1 / 625), torch.eye(25) / 25):
        (found,) = refitted(x[None, 10:-10, 10:-10], y[None], [start], [0.0])
        assert float(kernel_similarity(found, corner())) > 0.98
        assert float(found.sum()) == pytest.approx(1, abs=1e-4)
        assert float(found.min()) >= 0
        assert float(kernel_centroid(found[None] - corner(25)[None]).abs().max()) < 0.2


def test_an_unblurred_image_has_a_kernel_of_one_point() -> None:
    x = (discs(96).mean(0) + 1) / 2
    (found,) = refitted(x[None], x[None], [torch.full((9, 9), 1 / 81)], [0.0])
    assert int(found.argmax()) == 40
    assert float(found[4, 4]) > 0.6


def test_the_projection_is_the_nearest_point_of_the_simplex() -> None:
    g = torch.Generator().manual_seed(0)
    k = torch.randn(5, 5, generator=g)
    nearest = on_simplex(k)
    assert float(nearest.min()) >= 0
    assert float(nearest.sum()) == pytest.approx(1, abs=1e-6)
    for _ in range(50):
        other = torch.rand(5, 5, generator=g) ** 4
        assert float((nearest - k).norm()) <= float((other / other.sum() - k).norm()) + 1e-6
    assert torch.allclose(on_simplex(nearest), nearest, atol=1e-6)


def test_a_centred_kernel_keeps_its_shape() -> None:
    wide = torch.nn.functional.pad(corner(), (4,) * 4)
    moved = torch.roll(wide, (3, -2), (0, 1))
    found = centred(moved)
    assert float(kernel_centroid(found[None]).abs().max()) < 0.05
    assert float(kernel_similarity(found, corner())) > 0.99


def test_kernels_of_any_sides_are_fitted_as_if_each_were_alone() -> None:
    x, starts, doubts = [], [], [0.0, 0.3, 1.0]
    for i, side in enumerate((25, 9, 15)):
        x.append((discs(96, i).mean(0) + 1) / 2)
        starts.append(torch.full((side, side), 1 / side**2))
    y = [(blurred(discs(96, i), corner(), 0.01)[0].mean(0) + 1) / 2 for i in range(3)]
    shown = torch.stack(x)[:, 10:-10, 10:-10]
    together = refitted(shown, torch.stack(y), starts, doubts)
    for b, found in enumerate(together):
        (alone,) = refitted(shown[b : b + 1], y[b][None], [starts[b]], [doubts[b]])
        assert found.shape == starts[b].shape
        assert torch.allclose(found, alone, atol=2e-4)


def test_entries_of_minus_infinity_stay_nothing() -> None:
    k = torch.randn(2, 5, 5, generator=torch.Generator().manual_seed(0))
    inner = on_simplex(k[:, 1:4, 1:4])
    k[:, [0, 4]] = k[:, :, [0, 4]] = -torch.inf
    found = on_simplex(k)
    assert torch.allclose(found[:, 1:4, 1:4], inner, atol=1e-6)
    assert torch.equal(found.sum((1, 2)), found[:, 1:4, 1:4].sum((1, 2)))
