import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from d2ir_pl.degradations import Downsampling, Phi
from d2ir_pl.diffusion.randomness import image_generator
from d2ir_pl.operators.interpolation import cubic_interpolation
from d2ir_pl.operators.separable import SeparableOperator
from d2ir_pl.restoration.data_step import data_step

NUMPY_MODES: dict[str, Any] = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}


def degradations() -> list[Downsampling]:
    return [
        Downsampling(2, "bicubic"),
        Downsampling(3, "area", border="reflect"),
        Downsampling(2, "gaussian"),
        Downsampling(3, "gaussian", border="replicate", centred=True),
        Downsampling(4, "gaussian", border="circular", width=2.0),
        Downsampling(4, "bicubic_aliased"),
        Downsampling(2, "bilinear_aliased", border="reflect"),
        Downsampling(3, "nearest"),
    ]


every_kind = pytest.mark.parametrize(
    "degradation", degradations(), ids=lambda d: f"{d.kernel} x{d.factor} {d.border}"
)


def phi_of(degradation: Downsampling, count: int = 2, dtype: torch.dtype = torch.float64) -> Phi:
    generators = [image_generator(0, str(i)) for i in range(count)]
    return degradation.draw(generators, torch.zeros(1, dtype=dtype))


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


# ---- The definition ----


@pytest.mark.parametrize("factor", [2, 3, 4, 8])
@pytest.mark.parametrize("border", ["extend", "reflect"])
def test_bicubic_is_the_antialiased_one_of_torch_away_from_the_border(
    factor: int, border: Any
) -> None:
    x = random(1, 3, 12 * factor, 11 * factor)
    degradation = Downsampling(factor, "bicubic", border=border)
    y = degradation(degradation.frame.embed(x), phi_of(degradation, 1))
    torchs = F.interpolate(x, (12, 11), mode="bicubic", antialias=True)
    assert y.shape == torchs.shape
    inner = (..., slice(2, -2), slice(2, -2))
    torch.testing.assert_close(y[inner], torchs[inner], atol=1e-12, rtol=0)


@pytest.mark.parametrize("factor", [2, 3, 4])
@pytest.mark.parametrize("mode", ["nearest", "bilinear", "bicubic"])
def test_aliased_kernels_are_those_of_torch(factor: int, mode: str) -> None:
    x = random(1, 3, 8 * factor, 7 * factor)
    kernel: Any = mode if mode == "nearest" else f"{mode}_aliased"
    degradation = Downsampling(factor, kernel, border="replicate")
    y = degradation(x, phi_of(degradation, 1))
    torchs = F.interpolate(x, scale_factor=1 / factor, mode=mode)
    torch.testing.assert_close(y, torchs, atol=1e-12, rtol=0)


def test_bicubic_is_that_of_pillow_away_from_the_border() -> None:
    values = random(40, 48).numpy().astype(np.float32)
    pillows = Image.fromarray(values).resize((12, 10), Image.Resampling.BICUBIC)
    degradation = Downsampling(4)
    x = torch.from_numpy(values).expand(1, 3, -1, -1)
    y = degradation(degradation.frame.embed(x), phi_of(degradation, 1, torch.float32))[0, 0]
    expected = torch.from_numpy(np.asarray(pillows).copy())
    torch.testing.assert_close(y[2:-2, 2:-2], expected[2:-2, 2:-2], atol=1e-5, rtol=0)


@pytest.mark.parametrize("factor", [2, 3, 5])
def test_area_is_the_mean_of_blocks_and_needs_no_margin(factor: int) -> None:
    x = random(2, 3, 4 * factor, 5 * factor)
    degradation = Downsampling(factor, "area")
    assert torch.equal(degradation.frame.embed(x), x)
    y = degradation(x, phi_of(degradation))
    torch.testing.assert_close(y, F.avg_pool2d(x, factor))


@pytest.mark.parametrize("border", ["extend", "reflect", "replicate", "circular"])
@pytest.mark.parametrize(("factor", "centred"), [(2, False), (3, True)])
def test_gaussian_is_a_blur_and_every_factor_th_pixel(
    factor: int, centred: bool, border: Any
) -> None:
    """The sum over all of x, written out: a kernel centred on the sampled place."""
    degradation = Downsampling(factor, "gaussian", border=border, centred=centred)
    phi = phi_of(degradation)
    clean = random(2, 3, 6 * factor, 7 * factor)
    y = degradation(degradation.frame.embed(clean), phi)
    reach = 4 * factor
    mode = NUMPY_MODES.get(border, "reflect")
    wide = np.pad(clean.numpy(), ((0, 0), (0, 0), (reach, reach), (reach, reach)), mode)
    place = (factor - 1) / 2 if centred else 0
    for b in range(2):
        width = float(phi["log_width"][b].exp())
        for i, j in ((0, 0), (2, 3), (5, 6)):
            weights = []
            for index, n in ((i, wide.shape[2]), (j, wide.shape[3])):
                distance = np.arange(n) - reach - factor * index - place
                gauss = np.exp(-(distance**2) / (2 * width**2)) * (np.abs(distance) < reach)
                weights.append(gauss / gauss.sum())
            expected = np.einsum("chw,h,w->c", wide[b], *weights)
            np.testing.assert_allclose(y[b, :, i, j].numpy(), expected, atol=1e-12)


def test_nothing_is_assumed_about_the_surroundings() -> None:
    """Every y that a larger scene can show is explained by some x of `image_size`."""
    for kernel in ("bicubic", "gaussian"):
        degradation = Downsampling(2, kernel)
        phi = phi_of(degradation, 1)
        scene = random(1, 3, *degradation.frame.image_size((20, 20)))
        y = degradation(scene, phi)[..., 6:14, 6:14]
        height, width = degradation.frame.image_size((8, 8))
        x = scene[..., 12 : 12 + height, 12 : 12 + width]
        torch.testing.assert_close(degradation(x, phi), y)


@every_kind
def test_the_matrices_are_the_degradation(degradation: Downsampling) -> None:
    phi = phi_of(degradation)
    size = degradation.frame.image_size((5, 6))
    x = random(2, 3, *size)
    rows, columns = degradation.matrices(phi, size)
    assert rows.shape[1:] == (5, size[0])
    assert columns.shape[1:] == (6, size[1])
    y = torch.einsum("bij,bcjk,blk->bcil", rows.expand(2, -1, -1), x, columns.expand(2, -1, -1))
    torch.testing.assert_close(degradation(x, phi), y)
    torch.testing.assert_close(rows.sum(2), torch.ones_like(rows[..., 0]))


# ---- The inverse ----


@every_kind
@pytest.mark.parametrize("rho", [0.5, 0.01, [0.001, 0.1]])
def test_the_preconditioner_is_the_exact_inverse(degradation: Downsampling, rho: Any) -> None:
    phi = phi_of(degradation)
    size = degradation.frame.image_size((5, 6))
    operator = degradation.operator(phi, size)
    rho = torch.tensor(rho, dtype=torch.float64).expand(2)[:, None, None, None]
    g = random(2, 3, *size)
    d = operator.precondition(g, rho)
    torch.testing.assert_close(operator.adjoint(operator.forward(d)) + rho * d, g)


def test_one_iteration_of_a_data_step_solves_it_in_single_precision() -> None:
    for sigma, tolerance in ((0.1, 1e-3), (0.004, 3e-2)):
        degradation = Downsampling(4)
        phi = phi_of(degradation, 1, torch.float32)
        size = degradation.frame.image_size((16, 16))
        operator = degradation.operator(phi, size)
        z, residual = random(1, 3, *size).float(), random(1, 3, 16, 16, seed=1).float()
        rho = torch.full((1, 1, 1, 1), sigma**2)
        x, left = data_step(operator, residual, z, rho, 1)
        gradient = operator.adjoint(left) - rho * (x - z)
        assert float(gradient.norm()) < tolerance * float(operator.adjoint(residual).norm())


def test_a_vanishing_rho_does_not_amplify_rounding() -> None:
    """Near pure noise the prediction weighs next to nothing, and the data step is a projection."""
    degradation = Downsampling(2, "gaussian", width=1.5)
    phi = phi_of(degradation, 1, torch.float32)
    size = degradation.frame.image_size((16, 16))
    operator = degradation.operator(phi, size)
    truth = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(0)) - 0.5
    y = operator.forward(truth)
    x, left = data_step(operator, y, torch.zeros_like(truth), torch.full((1, 1, 1, 1), 1e-9), 3)
    assert float(left.norm()) < 0.05 * float(y.norm())
    assert float(x.abs().max()) < 5


def test_an_operator_of_a_matrix_that_misses_a_direction_is_still_inverted() -> None:
    rows = torch.ones(1, 2, 3, dtype=torch.float64)
    operator = SeparableOperator(rows, torch.eye(3, dtype=torch.float64)[None])
    g = operator.adjoint(random(1, 1, 2, 3))
    d = operator.precondition(g, torch.full((1, 1, 1, 1), 0.1, dtype=torch.float64))
    torch.testing.assert_close(operator.adjoint(operator.forward(d)) + 0.1 * d, g)


# ---- The first guess ----


@pytest.mark.parametrize("degradation", [Downsampling(4), Downsampling(3, "gaussian")])
def test_lifting_undoes_the_downsampling_of_a_plane(degradation: Downsampling) -> None:
    """In the right place: a shift of half a pixel would show in a slope."""
    rows, columns = torch.meshgrid(
        *(torch.arange(12 * degradation.factor, dtype=torch.float64),) * 2, indexing="ij"
    )
    clean = (0.02 * rows - 0.01 * columns).expand(1, 3, -1, -1)
    phi = phi_of(degradation, 1)
    y = degradation(degradation.frame.embed(clean), phi)
    lifted = degradation.frame.crop(degradation.lift(y, phi))
    edge = 5 * degradation.factor
    inner = (..., slice(edge, -edge), slice(edge, -edge))
    torch.testing.assert_close(lifted[inner], clean[inner])


def test_cubic_interpolation_passes_through_its_samples_and_keeps_quadratics() -> None:
    place = torch.arange(9, dtype=torch.float64)
    torch.testing.assert_close(cubic_interpolation(place, 9), torch.eye(9, dtype=torch.float64))
    between = torch.linspace(2, 6, 23, dtype=torch.float64)
    torch.testing.assert_close(cubic_interpolation(between, 9) @ place**2, between**2)


@pytest.mark.parametrize("size", [(1, 1), (2, 3)])
def test_tiny_images_are_lifted(size: tuple[int, int]) -> None:
    degradation = Downsampling(4)
    y = torch.full((1, 3, *size), 0.3)
    lifted = degradation.lift(y, phi_of(degradation, 1, torch.float32))
    assert lifted.shape[-2:] == degradation.frame.image_size(size)
    torch.testing.assert_close(lifted, torch.full_like(lifted, 0.3))


# ---- The unknown width ----


def scale_free(count: int, side: int) -> torch.Tensor:
    """Random images with the power spectrum of photographs, |f|^-2.4."""
    f = torch.fft.fftfreq(side, dtype=torch.float64)
    law = (f[:, None] ** 2 + f[None, :] ** 2).clamp_min(1 / side**2) ** -0.6
    x: torch.Tensor = torch.fft.ifft2(torch.fft.fft2(random(count, 3, side, side)) * law).real
    return (x / x.std((1, 2, 3), keepdim=True) * 0.3).float()


@pytest.mark.parametrize("factor", [2, 3])
def test_the_width_is_read_off_the_spectrum_of_the_small_image(factor: int) -> None:
    truth = torch.tensor([0.7, 0.9, 1.1]) * factor
    degradation = Downsampling(factor, "gaussian", border="circular")
    y = degradation(scale_free(3, 96 * factor), Phi(log_width=truth.log()[:, None]))
    y = y + 0.02 * torch.randn(y.shape, generator=torch.Generator().manual_seed(1))
    found = degradation.init(y, torch.full((3,), 0.02))["log_width"][:, 0].exp()
    assert (found / truth).tolist() == pytest.approx([1, 1, 1], abs=0.1)


def test_the_anchor_counts_scatters_of_the_logarithm() -> None:
    degradation = Downsampling(2, "gaussian")
    start = Phi(log_width=torch.zeros(1, 1))
    assert float(degradation.anchor(Phi(log_width=torch.full((1, 1), 0.2)), start)) == (
        pytest.approx(4.0)
    )


def test_gradients_in_x_and_phi_agree_with_finite_differences() -> None:
    degradation = Downsampling(2, "gaussian")
    x = random(1, 3, *degradation.frame.image_size((1, 2))).requires_grad_()
    log_width = torch.zeros(1, 1, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, w: degradation(x, Phi(log_width=w)), (x, log_width))


def test_a_known_width_is_described_and_not_estimated() -> None:
    degradation = Downsampling(3, "gaussian", width=2.2)
    phi = degradation.init(torch.zeros(2, 3, 8, 8), torch.ones(2))
    assert degradation.free(phi) == []
    described = degradation.describe(phi)[1]
    assert (described["factor"], described["kernel"]) == (3, "gaussian")
    assert described["width_px"] == pytest.approx(2.2)


def test_kernels_are_pictured_in_the_pixels_of_the_large_image() -> None:
    degradation = Downsampling(4, "gaussian", width=3.0)
    picture = degradation.picture(degradation.init(torch.zeros(1, 3, 8, 8), torch.ones(1)))[0]
    middle = picture.shape[0] // 2
    assert float(picture[middle, middle]) == 1
    assert float(picture[middle, middle + 3]) == pytest.approx(math.exp(-0.5), rel=1e-5)


# ---- Refusals ----


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"factor": 1}, "factor 1 must be a whole number of at least 2"),
        ({"factor": 2.5}, "factor 2.5"),
        ({"kernel": "lanczos"}, "use bicubic, area, gaussian, nearest"),
        ({"border": "mirror"}, "border 'mirror'"),
        ({"width": 1.0}, "belongs to kernel 'gaussian'"),
        ({"kernel": "gaussian", "width": 0.0}, "width 0.0 must be above 0 and at most 6"),
        ({"kernel": "gaussian", "width": 7.0}, "in pixels for factor 4"),
        ({"kernel": "gaussian", "draw_width": (3.0, 1.0)}, "draw_width"),
    ],
)
def test_impossible_settings_are_refused(arguments: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Downsampling(**arguments)


@pytest.mark.parametrize("border", ["extend", "reflect"])
def test_sides_that_are_no_multiple_of_the_factor_are_refused(border: Any) -> None:
    degradation = Downsampling(4, border=border)
    x = degradation.frame.embed(torch.zeros(1, 3, 16, 18))
    with pytest.raises(ValueError, match="18 pixels is no multiple of the factor 4: crop it to 16"):
        degradation(x, phi_of(degradation, 1, torch.float32))
