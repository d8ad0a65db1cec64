import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from shaken import discs
from torch import Tensor

from benchmarks.shake_set import to_linear, to_srgb
from d2ir_pl import restore
from d2ir_pl.degradations import Blur, Degradation, GaussianBlur, LinearDegradation, Phi
from d2ir_pl.diffusion.randomness import image_generator
from d2ir_pl.image_io import write_png
from d2ir_pl.operators.convolution import Border, ConvolutionOperator
from d2ir_pl.operators.kernels import gaussian_kernel, kernel_covariance, read_kernel
from d2ir_pl.restoration import D2IR, DegradationEstimation

BORDERS: list[Border] = ["extend", "reflect", "replicate", "circular"]
NUMPY_MODES: dict[str, Any] = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}


def linear_degradations() -> list[LinearDegradation]:
    return [
        *(Blur(7, border) for border in BORDERS),
        *(GaussianBlur(9, isotropic, "extend") for isotropic in (True, False)),
    ]


def phi_of(degradation: Degradation, count: int, dtype: torch.dtype = torch.float64) -> Phi:
    generators = [image_generator(0, str(i)) for i in range(count)]
    return degradation.draw(generators, torch.zeros(1, dtype=dtype))


def direct(x: torch.Tensor, kernel: torch.Tensor, border: str) -> torch.Tensor:
    """The definition: a sum over the kernel, after padding by numpy."""
    r = kernel.shape[-1] // 2
    rows = []
    for image, k in zip(x, kernel, strict=True):
        if border != "extend":
            width = ((0, 0), (r, r), (r, r))
            image = torch.from_numpy(np.pad(image.numpy(), width, NUMPY_MODES[border]))
        rows.append(F.conv2d(image[:, None], k[None, None])[:, 0])
    return torch.stack(rows)


@pytest.mark.parametrize("border", BORDERS)
@pytest.mark.parametrize("size", [(24, 31), (9, 12)])
def test_blur_is_the_correlation_of_its_definition(border: Any, size: tuple[int, int]) -> None:
    blur = Blur(7, border)
    phi = phi_of(blur, 3)
    x = torch.randn(3, 3, *size, dtype=torch.float64)
    assert torch.allclose(blur(x, phi), direct(x, blur.kernel(phi), border), atol=1e-12)


def test_light_is_blurred_and_stored_by_the_curve_of_srgb() -> None:
    blur = Blur(7, response="srgb")
    phi = phi_of(blur, 2)
    x = 2 * torch.rand(2, 3, 20, 18, dtype=torch.float64) - 1
    light = direct(to_linear((x + 1) / 2), blur.kernel(phi), "extend")
    assert torch.allclose(blur(x, phi), 2 * to_srgb(light) - 1, atol=1e-6)
    with pytest.raises(ValueError, match="response 'linear'"):
        Blur(7, "circular", response="srgb").svd(phi, (20, 18))
    with pytest.raises(ValueError, match="use 'linear' or 'srgb'"):
        Blur(7, response=cast(Any, "gamma"))


def test_the_kernel_of_a_blur_in_light_is_read_off_light() -> None:
    """A Gaussian of known width, over an image with black and white in it."""
    x = 1.6 * discs(148)[None].clamp(-0.6, 0.6)
    blur = GaussianBlur(21, width=2.0, response="srgb")
    y = blur(x, blur.init(x, torch.zeros(1)))
    read = GaussianBlur(21, response="srgb").init(y, torch.tensor([0.002]))
    assert float(read["log_width"].exp()) == pytest.approx(2.0, rel=0.1)


def test_reflection_works_where_the_kernel_is_larger_than_the_image() -> None:
    blur = Blur(21, "reflect")
    phi = phi_of(blur, 1)
    x = torch.randn(1, 3, 5, 1, dtype=torch.float64)
    assert torch.allclose(blur(x, phi), direct(x, blur.kernel(phi), "reflect"), atol=1e-12)


@pytest.mark.parametrize("degradation", linear_degradations(), ids=lambda d: f"{d.border}")
def test_adjoint_is_the_transpose(degradation: Any) -> None:
    phi = phi_of(degradation, 2)
    size = degradation.frame.image_size((13, 17))
    x = torch.randn(2, 3, *size, dtype=torch.float64)
    r = torch.randn(2, 3, 13, 17, dtype=torch.float64)
    left = (degradation(x, phi) * r).sum()
    right = (x * degradation.adjoint(r, phi)).sum()
    assert float(left) == pytest.approx(float(right), rel=1e-12)


@pytest.mark.parametrize("border", BORDERS)
def test_the_preconditioner_is_symmetric_and_positive(border: Any) -> None:
    kernel = gaussian_kernel(torch.eye(2, dtype=torch.float64)[None] * 2.0, 7)
    size = (19, 18) if border == "extend" else (13, 12)
    operator = ConvolutionOperator(kernel, size, (13, 12), border)
    rho = torch.full((1, 1, 1, 1), 0.01, dtype=torch.float64)
    a, b = torch.randn(2, 1, 3, *size, dtype=torch.float64)
    left = (operator.precondition(a, rho) * b).sum()
    right = (a * operator.precondition(b, rho)).sum()
    assert float(left) == pytest.approx(float(right), rel=1e-10)
    assert float((operator.precondition(a, rho) * a).sum()) > 0


@pytest.mark.parametrize("degradation", linear_degradations(), ids=lambda d: f"{d.border}")
def test_gradients_in_x_and_phi_agree_with_finite_differences(degradation: Any) -> None:
    start = phi_of(degradation, 1)
    phi = start.leaves(start)
    names = list(phi)
    x = torch.randn(
        1, 3, *degradation.frame.image_size((6, 5)), dtype=torch.float64, requires_grad=True
    )

    def energy(x: Tensor, *values: Tensor) -> Tensor:
        y: torch.Tensor = degradation(x, Phi(zip(names, values, strict=True)))
        return y.square().sum()

    assert torch.autograd.gradcheck(energy, (x, *phi.values()), atol=1e-6)


def test_the_anchor_is_zero_at_the_start_and_its_gradient_is_right() -> None:
    for degradation in (Blur(9), GaussianBlur(9), GaussianBlur(9, isotropic=False)):
        start = phi_of(degradation, 2)
        assert torch.allclose(degradation.anchor(start, start), torch.zeros(2).double(), atol=1e-9)
        moved = Phi({k: v + 0.1 * torch.randn_like(v) for k, v in start.items()}).leaves(start)
        assert bool((degradation.anchor(moved, start) > 0).all())
        names = list(moved)
        assert torch.autograd.gradcheck(
            lambda *v, d=degradation, s=start, n=names: d.anchor(Phi(zip(n, v, strict=True)), s),
            tuple(moved.values()),
        )


@pytest.mark.parametrize("size", [3, 11])
def test_a_kernel_of_a_single_entry_has_an_anchor_and_a_gradient(size: int) -> None:
    blur, point = Blur(size), torch.zeros(1, size, size)
    point[:, size // 2, size // 2] = 1
    start = Phi(logits=point.clamp_min(1e-30).log())
    logits = start["logits"].clone().requires_grad_()
    value = blur.anchor(Phi(logits=logits), start)
    value.sum().backward()
    assert float(value.detach()) == 0
    assert logits.grad is not None
    assert bool(logits.grad.isfinite().all())


def test_the_anchor_of_a_width_is_its_logarithm_in_units_of_the_scatter() -> None:
    blur = GaussianBlur()
    start = Phi(log_width=torch.tensor([[math.log(2.0)]]))
    moved = Phi(log_width=torch.tensor([[math.log(2.0) + 0.008]]))
    assert float(blur.anchor(moved, start)) == pytest.approx(0.1**2, rel=0.05)


@pytest.mark.parametrize("degradation", [Blur(21), GaussianBlur(21), GaussianBlur(21, False)])
def test_kernels_lie_on_the_simplex(degradation: Any) -> None:
    y = torch.rand(3, 3, 40, 50) * 2 - 1
    for phi in (degradation.init(y, torch.full((3,), 0.05)), phi_of(degradation, 3)):
        kernel = degradation.kernel(phi)
        assert kernel.shape == (3, 21, 21)
        assert bool((kernel >= 0).all())
        assert torch.allclose(kernel.sum((1, 2)), torch.ones(3).to(kernel))


def test_the_start_of_a_free_kernel_keeps_the_shape_of_its_gaussian() -> None:
    """A softplus of entries near 1/441 would flatten it to a box."""
    x = torch.randn(1, 3, 100, 100, generator=torch.Generator().manual_seed(0)).cumsum(2).cumsum(3)
    x = 0.5 * x / x.abs().max()
    y = GaussianBlur(width=2.0, border="reflect")(x, GaussianBlur(width=2.0).init(x, x[:, 0, 0, 0]))
    sigma = torch.tensor([0.01])
    free, gaussian = Blur(start="spectrum"), GaussianBlur(isotropic=False)
    k, g = (d.kernel(d.init(y, sigma)) for d in (free, gaussian))
    assert float((k - g).abs().max()) < 0.01 * float(g.max())


def test_a_gaussian_has_the_covariance_it_is_given() -> None:
    covariance = torch.tensor([[[4.0, 1.0], [1.0, 2.0]]], dtype=torch.float64)
    kernel = gaussian_kernel(covariance, 31)
    assert torch.allclose(kernel_covariance(kernel), covariance, rtol=1e-4)


def test_the_angle_turns_from_x_toward_y_which_points_down() -> None:
    blur = GaussianBlur(31, isotropic=False, width=[4.0, 1.0], angle=math.pi / 4)
    kernel = blur.kernel(blur.init(torch.zeros(1, 3, 8, 8), torch.ones(1)))[0]
    assert float(kernel[18, 18]) > 10 * float(kernel[18, 12])
    described = blur.describe(blur.init(torch.zeros(1, 3, 8, 8), torch.ones(1)))[0]
    assert described["width_major_px"] == pytest.approx(4.0, rel=0.02)
    assert described["angle_rad"] == pytest.approx(math.pi / 4, rel=0.01)


def test_an_off_centre_kernel_is_recentred_without_changing_its_shape() -> None:
    blur = Blur(21)
    kernel = torch.zeros(1, 21, 21)
    kernel[0, 13:16, 4:8] = 1 / 12
    centred = blur.kernel(blur.canonicalize(Phi(logits=(kernel + 1e-9).log())))
    expected = torch.roll(kernel, (-4, 5), (1, 2))
    assert torch.allclose(centred, expected, atol=1e-5) or torch.allclose(
        centred, torch.roll(kernel, (-4, 4), (1, 2)), atol=1e-5
    )


def test_extend_covers_y_and_crop_returns_it() -> None:
    blur = Blur(21)
    y = torch.rand(1, 3, 30, 1)
    lifted = blur.frame.embed(y)
    assert lifted.shape[-2:] == blur.frame.image_size((30, 1)) == (50, 21)
    assert torch.equal(blur.frame.crop(lifted), y)


def test_nothing_is_assumed_about_the_surroundings() -> None:
    """What lies beyond the kernel's reach of y does not change y_hat; what lies in reach does."""
    blur = GaussianBlur(width=1.5)
    phi = blur.init(torch.zeros(1, 3, 8, 8), torch.ones(1))
    x = torch.rand(1, 3, 40, 40)
    assert blur(x, phi).shape[-2:] == (20, 20)
    assert torch.allclose(blur(x, phi), direct(x, blur.kernel(phi), "extend"), atol=1e-6)


def test_a_known_kernel_is_read_and_not_estimated(tmp_path: Path) -> None:
    kernel = torch.rand(15, 15)
    np.save(tmp_path / "k.npy", kernel.numpy())
    blur = Blur(kernel=str(tmp_path / "k.npy"))
    assert not blur.estimated
    assert blur.kernel_size == 15
    phi = blur.init(torch.rand(2, 3, 20, 20), torch.ones(2))
    assert torch.allclose(blur.kernel(phi)[1], kernel / kernel.sum(), atol=1e-6)
    drawn = blur.draw([image_generator(0, "a")] * 2, torch.rand(2, 3, 20, 20))
    assert torch.equal(blur.kernel(drawn), blur.kernel(phi))


def test_a_kernel_may_be_a_picture_of_any_shape(tmp_path: Path) -> None:
    picture = torch.full((3, 4, 6), -1.0)
    picture[:, 1, 2] = 1.0
    write_png(tmp_path / "k.png", picture)
    kernel = read_kernel(tmp_path / "k.png")
    assert kernel.shape == (7, 7)
    assert float(kernel.max()) == float(kernel.sum()) == 1.0


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros((5, 5)), "not all 0"),
        (-np.ones((5, 5)), "at least 0"),
        (np.ones((5, 5, 3)), "2-D"),
        (np.full((3, 3), np.nan), "finite"),
        (np.array(["a"]), "2-D"),
    ],
)
def test_a_file_that_holds_no_kernel_is_refused(
    tmp_path: Path, values: np.ndarray, message: str
) -> None:
    np.save(tmp_path / "k.npy", values)
    with pytest.raises(ValueError, match=message):
        read_kernel(tmp_path / "k.npy")


def test_missing_and_pickled_kernel_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"nothing\.npy does not exist"):
        read_kernel(tmp_path / "nothing.npy")
    np.save(tmp_path / "code.npy", np.array([print], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match=r"not a readable \.npy"):
        read_kernel(tmp_path / "code.npy")


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Blur(20), "odd"),
        (lambda: Blur(border=cast(Any, "mirror")), "border"),
        (lambda: Blur(start=cast(Any, "guess")), "start"),
        (lambda: GaussianBlur(width=-1.0), "positive"),
        (lambda: GaussianBlur(width=[1.0, 2.0]), "isotropic"),
        (lambda: GaussianBlur(draw_width=(2.0, 1.0)), "draw_width"),
    ],
)
def test_impossible_settings_are_refused(build: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()


def test_a_known_kernel_with_an_empty_margin_is_the_same_blur_without_it() -> None:
    """The kernel of an estimate is much smaller than the largest that was looked for."""
    small = torch.rand(1, 5, 5, generator=torch.Generator().manual_seed(1))
    small = small / small.sum()
    large = torch.nn.functional.pad(small, (18,) * 4)
    narrow, wide = (
        Blur(k.shape[-1]).told(Phi(logits=k.clamp_min(1e-30).log())) for k in (small, large)
    )
    assert narrow.frame.image_size((20, 30)) == wide.frame.image_size((20, 30)) == (24, 34)
    x = torch.randn(1, 3, 24, 34, generator=torch.Generator().manual_seed(2))
    one, other = (blur(x, blur.init(x, torch.ones(1))) for blur in (narrow, wide))
    assert torch.allclose(one, other, atol=1e-5)
    assert wide.describe(wide.init(x, torch.ones(1)))[0]["kernel_size"] == 41


def test_who_gives_no_kernel_is_told_that_it_was_looked_for(tmp_path: Path) -> None:
    np.save(tmp_path / "kernel.npy", np.ones((3, 5)) / 15)
    (reason,) = Blur(15).reasons
    assert reason == "no kernel was given: it was looked for in the photo, up to 15 pixels wide"
    told = Blur(15).told(Phi(logits=torch.zeros(1, 15, 15)))
    for known in (Blur(kernel=str(tmp_path / "kernel.npy")), told, GaussianBlur()):
        assert known.reasons == ()
    photo = torch.rand(16, 16, 3, generator=torch.Generator().manual_seed(0)).numpy()
    assert restore(photo, Blur(5), D2IR(DegradationEstimation(steps=1))).reasons == (
        "no kernel was given: it was looked for in the photo, up to 5 pixels wide",
    )
