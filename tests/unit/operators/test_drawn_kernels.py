"""Random kernels: their laws, folders of them, and the optics behind aberrations."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.special import j1

from d2ir_pl.degradations import Blur
from d2ir_pl.operators.drawn_kernels import LAWS, kernel_law
from d2ir_pl.operators.zernike import NOLL, focus, polynomial


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("name", LAWS)
@pytest.mark.parametrize("size", [9, 31])
def test_a_law_draws_kernels_that_depend_on_the_generator_alone(name: str, size: int) -> None:
    kernels = [LAWS[name](generator(seed), size) for seed in (1, 1, 2)]
    assert torch.equal(kernels[0], kernels[1])
    assert not torch.allclose(kernels[0], kernels[2], atol=1e-3)
    for kernel in kernels:
        assert kernel.shape == (size, size)
        assert float(kernel.sum()) == pytest.approx(1, abs=1e-5)
        assert float(kernel.min()) >= 0


def test_a_blur_degrades_with_the_kernels_of_its_law_or_folder(tmp_path: Path) -> None:
    like = torch.zeros(1)
    walk = Blur(31, draw_kernel="walk")
    drawn = walk.kernel(walk.draw([generator(3)], like))[0]
    assert torch.allclose(drawn, LAWS["walk"](generator(3), 31), atol=1e-6)
    shapes = [np.eye(3), np.ones((1, 5))]
    for i, values in enumerate(shapes):
        np.save(tmp_path / f"{i}.npy", values)
    of_folder = Blur(9, draw_kernel=str(tmp_path))
    found = {
        tuple(np.argwhere(kernel.numpy() > 1e-3).flatten().tolist())
        for kernel in of_folder.kernel(of_folder.draw([generator(i) for i in range(12)], like))
    }
    places = [np.argwhere(np.pad(np.eye(3), 3)), np.array([(4, j) for j in range(2, 7)])]
    assert found == {tuple(place.flatten().tolist()) for place in places}
    assert of_folder.estimated  # what is drawn is not told


def test_what_is_no_law_and_no_folder_of_kernels_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no law and no folder.*use shake, walk"):
        kernel_law("wobble")
    with pytest.raises(ValueError, match="holds no kernels"):
        Blur(9, draw_kernel=str(tmp_path))
    np.save(tmp_path / "large.npy", np.ones((11, 11)))
    blur = Blur(9, draw_kernel=str(tmp_path))
    with pytest.raises(ValueError, match="11x11 pixels: set kernel_size to 11"):
        blur.draw([generator()], torch.zeros(1))


# ---- Aberrations ----


def test_polynomials_are_orthonormal_on_the_disk() -> None:
    i = (torch.arange(400, dtype=torch.float64) + 0.5) / 200 - 1
    x, y = i.expand(400, 400), i[:, None].expand(400, 400)
    rho, theta = (x**2 + y**2).sqrt(), torch.atan2(y, x)
    inside = rho <= 1
    values = torch.stack([polynomial(j, rho, theta)[inside] for j in NOLL])
    products = values @ values.T / values.shape[1]
    assert torch.allclose(products, torch.eye(len(NOLL), dtype=torch.float64), atol=0.02)


def test_without_aberrations_the_kernel_is_the_disk_of_airy() -> None:
    airy = 10.0  # so wide that a pixel's mean is nearly the value in its middle
    kernel = focus({}, 41, airy)
    r = torch.arange(41) - 20
    radius = (r[:, None] ** 2 + r**2).double().sqrt().numpy()
    v = np.where(radius == 0, 1e-9, 3.8317 * radius / airy)
    expected = torch.from_numpy((2 * j1(v) / v) ** 2).float()
    expected = expected / expected.sum()
    assert torch.allclose(kernel, expected, atol=0.02 * float(expected.max()))
    assert torch.allclose(kernel, kernel.T, atol=1e-6)
    assert torch.allclose(kernel, kernel.flip(0, 1), atol=1e-6)


def test_small_aberrations_lower_the_peak_as_marechal_says() -> None:
    """The peak falls to exp(-(2 pi s)^2) with the root mean square s in wavelengths."""
    peak = float(focus({}, 61, 6.0).max())
    for number in (4, 6, 8, 11):
        lowered = float(focus({number: 0.05}, 61, 6.0)[30, 30]) / peak
        assert lowered == pytest.approx(math.exp(-((2 * math.pi * 0.05) ** 2)), abs=0.03)


def test_a_tilt_shifts_the_kernel() -> None:
    """A tilt of root mean square s moves the focus by 4 s wavelengths over the pupil."""
    airy, s = 4.0, 0.5
    kernel = focus({2: s}, 41, airy)
    r = torch.arange(41) - 20.0
    middle = float((kernel.sum(0) * r).sum())
    assert abs(middle) == pytest.approx(4 * s * airy / 1.22, rel=0.05)
