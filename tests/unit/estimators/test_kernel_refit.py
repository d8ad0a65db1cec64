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
        found = refitted(x[10:-10, 10:-10], y, start)
        assert float(kernel_similarity(found, corner())) > 0.98
        assert float(found.sum()) == pytest.approx(1, abs=1e-4)
        assert float(found.min()) >= 0
        assert float(kernel_centroid(found[None] - corner(25)[None]).abs().max()) < 0.2


def test_an_unblurred_image_has_a_kernel_of_one_point() -> None:
    x = (discs(96).mean(0) + 1) / 2
    found = refitted(x, x, torch.full((9, 9), 1 / 81))
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
