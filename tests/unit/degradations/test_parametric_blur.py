import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from d2ir_pl.degradations import DefocusBlur, MotionBlur, Phi
from d2ir_pl.degradations.parametric_blur import disk_kernel, motion_kernel
from d2ir_pl.diffusion.randomness import image_generator
from d2ir_pl.estimators.kernel_search import most_likely_kernel
from d2ir_pl.estimators.periodogram import EXPONENT
from d2ir_pl.operators.kernels import kernel_centroid, kernel_covariance, principal_widths

SIZE = 21


def interpolated_segment(length: float, angle: float) -> Tensor:
    """Motion by its definition: many exposures along the path, by linear interpolation."""
    s = ((torch.arange(2000, dtype=torch.float64) + 0.5) / 2000 - 0.5)[:, None] * length
    i = torch.arange(SIZE, dtype=torch.float64) - SIZE // 2
    columns = (1 - (i - s * math.cos(angle)).abs()).clamp_min(0)
    rows = (1 - (i - s * math.sin(angle)).abs()).clamp_min(0)
    return rows.T @ columns / (rows.T @ columns).sum()


def covered_area(radius: float) -> Tensor:
    """A disk by its definition: the share of each pixel that it covers."""
    i = (torch.arange(32 * SIZE, dtype=torch.float64) + 0.5) / 32 - SIZE / 2
    inside = (i[:, None] ** 2 + i**2 <= radius**2).double()
    area = inside.view(SIZE, 32, SIZE, 32).mean((1, 3))
    return area / area.sum()


def power_law_images(count: int, size: int, across: float = 0.0) -> Tensor:
    """Random images whose power falls like that of photographs.

    It is e^(2 across) times as strong along the x axis as along the y axis: most lines are upright.
    """
    generator = torch.Generator().manual_seed(0)
    f = torch.sqrt(torch.fft.fftfreq(size)[:, None] ** 2 + torch.fft.rfftfreq(size)[None] ** 2)
    amplitude = torch.where(f > 0, f ** (-EXPONENT / 2), 0)
    t = torch.atan2(torch.fft.fftfreq(size)[:, None], torch.fft.rfftfreq(size)[None])
    amplitude = amplitude * (across * (2 * t).cos() / 2).exp()
    spectrum = torch.fft.rfft2(torch.randn(count, 3, size, size, generator=generator)) * amplitude
    images: Tensor = torch.fft.irfft2(spectrum, s=(size, size))
    return 0.3 * images / images.std()


def blurred(kernels: Tensor, sigma: float = 0.03, size: int = 128, across: float = 0.0) -> Tensor:
    """A photo-like image for each kernel, blurred by it, with noise."""
    x = power_law_images(len(kernels), size + SIZE - 1, across)
    pairs = zip(x, kernels, strict=True)
    y = torch.stack([F.conv2d(image[:, None], k[None, None])[:, 0] for image, k in pairs])
    return y + sigma * torch.randn(y.shape, generator=torch.Generator().manual_seed(1))


def tensor(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def turned(a: Tensor, b: Tensor) -> Tensor:
    """Angle between two undirected lines."""
    return ((a - b + math.pi / 2) % math.pi - math.pi / 2).abs()


@pytest.mark.parametrize("length", [1.0, 3.0, 5.5, 9.0, 15.0])
@pytest.mark.parametrize("angle", [0.0, 0.3, math.pi / 4, 2.0])
def test_motion_is_the_mean_of_exposures_along_the_path(length: float, angle: float) -> None:
    expected = interpolated_segment(length, angle)
    kernel = motion_kernel(tensor(length), tensor(angle), SIZE)[0]
    assert float((kernel - expected).norm()) < 0.12 * float(expected.norm())


@pytest.mark.parametrize("radius", [1.0, 1.5, 2.0, 3.3, 5.0, 8.0])
def test_a_disk_is_the_area_that_it_covers_of_each_pixel(radius: float) -> None:
    expected = covered_area(radius)
    kernel = disk_kernel(tensor(radius), SIZE)[0]
    assert float((kernel - expected).norm()) < 0.1 * float(expected.norm())


def test_second_moments_are_those_of_a_segment_and_of_a_disk() -> None:
    """L / sqrt(12) along a path, and R / 2 along each diameter of a disk."""
    major, minor, angle = principal_widths(
        kernel_covariance(motion_kernel(tensor(13.0), tensor(2.5), SIZE))[0]
    )
    assert major == pytest.approx(13 / math.sqrt(12), rel=0.02)
    assert minor < 0.5
    assert angle == pytest.approx(2.5, abs=5e-3)
    major, minor, _ = principal_widths(kernel_covariance(disk_kernel(tensor(6.0), SIZE))[0])
    assert major == pytest.approx(minor, rel=1e-6)
    assert major == pytest.approx(3.0, rel=0.02)


def test_the_angle_turns_from_x_toward_y_which_points_down() -> None:
    kernel = motion_kernel(tensor(12.0), tensor(math.pi / 4), SIZE)[0]
    assert float(kernel[13, 13]) > 100 * float(kernel[13, 7])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_kernels_lie_on_the_simplex_and_have_no_offset(dtype: torch.dtype) -> None:
    sizes, angles = torch.rand(2, 200, generator=torch.Generator().manual_seed(0)).to(dtype)
    for kernel in (
        motion_kernel(1 + 19 * sizes, math.pi * angles, SIZE),
        disk_kernel(0.5 + 9.5 * sizes, SIZE),
    ):
        assert bool((kernel >= 0).all())
        assert torch.allclose(kernel.sum((1, 2)), torch.ones(200, dtype=dtype))
        assert float(kernel_centroid(kernel).abs().max()) < 1e-5


@pytest.mark.parametrize("angle", [0.0, 0.7, math.pi / 2])
def test_kernels_are_smooth_in_their_parameters(angle: float) -> None:
    """Paths along the axes are no exception: linear interpolation has a kink there."""
    length, direction = tensor(6.0).requires_grad_(), tensor(angle).requires_grad_()
    assert torch.autograd.gradcheck(lambda a, b: motion_kernel(a, b, 9), (length, direction))
    radius = tensor(2.0).requires_grad_()
    assert torch.autograd.gradcheck(lambda r: disk_kernel(r, 9), (radius,))


def test_length_and_direction_are_read_off_the_spectrum() -> None:
    lengths = torch.tensor([3.0, 5.0, 8.0, 11.0, 14.5])
    angles = torch.tensor([0.4, 3.1, 1.6, 2.2, 0.9])
    y = blurred(motion_kernel(lengths, angles, SIZE))
    phi = MotionBlur().init(y, torch.full((5,), 0.03))
    assert torch.allclose(phi["log_length"].exp(), lengths, rtol=0.1)
    assert float(turned(phi["angle"], angles).max()) < math.radians(6)
    assert bool(((phi["angle"] >= 0) & (phi["angle"] < math.pi)).all())


def test_a_radius_is_read_off_the_spectrum() -> None:
    radii = torch.tensor([1.2, 2.0, 3.1, 5.0, 7.5])
    phi = DefocusBlur().init(blurred(disk_kernel(radii, SIZE)), torch.full((5,), 0.03))
    assert torch.allclose(phi["log_radius"].exp(), radii, rtol=0.1)


def test_a_scene_of_few_directions_is_no_motion_across_them() -> None:
    length, angle = torch.full((6,), 4.0), torch.arange(6) * math.pi / 6
    family = MotionBlur(SIZE)
    y = blurred(motion_kernel(length, angle, SIZE), across=1.5)
    phi = family.init(y, family.estimate_sigma(y))
    assert float((phi["log_length"] - length.log()).abs().max()) < math.log(1.25)
    assert float(turned(phi["angle"], angle).max()) < 0.2


def test_where_a_photo_tells_little_the_smaller_blurs_are_taken() -> None:
    """A disk that is too large rings all over the photo; one too small leaves some of the blur."""
    radius = torch.linspace(1.2, 2.4, 8)
    y = 0.3 * blurred(disk_kernel(radius, SIZE), sigma=0.34)
    family = DefocusBlur(SIZE)
    phi = family.init(y, torch.full((8,), 0.102))
    assert float((phi["log_radius"].exp() / radius).max()) < 2


def test_a_size_that_larger_ones_explain_no_worse_is_none() -> None:
    """Lines of many lengths: what lies across them falls off as if a long path had blurred it."""
    generator = torch.Generator().manual_seed(0)
    edges = torch.where(torch.rand(4, 1, 128, generator=generator) < 0.15, 1.0, 0.0)
    steps = (edges * torch.randn(edges.shape, generator=generator)).cumsum(2)
    lines = (steps - steps.mean(2, keepdim=True)) / steps.std(2, keepdim=True)
    y = 0.3 * lines[:, None].expand(4, 3, 128, 128)
    y = y + 0.02 * torch.randn(y.shape, generator=generator)
    family = MotionBlur(SIZE)
    assert float(family.init(y, torch.full((4,), 0.02))["log_length"].exp().max()) < 19


def test_a_grey_photo_is_read_like_a_colour_photo() -> None:
    """Its channels carry one and the same noise, which averaging does not lower."""
    y = blurred(disk_kernel(torch.tensor([3.0]), SIZE), 0.06)[:, :1].expand(-1, 3, -1, -1)
    phi = DefocusBlur().init(y, torch.tensor([0.06]))
    assert float(phi["log_radius"].exp()) == pytest.approx(3.0, rel=0.1)


def test_what_is_known_is_kept_and_helps_to_find_the_rest() -> None:
    y = blurred(motion_kernel(torch.tensor([9.0]), torch.tensor([0.5]), SIZE))
    sigma = torch.tensor([0.03])
    for blur, free in (
        (MotionBlur(), ["log_length", "angle"]),
        (MotionBlur(length=9.0), ["angle"]),
        (MotionBlur(angle=0.5), ["log_length"]),
        (MotionBlur(length=9.0, angle=0.5), []),
    ):
        phi = blur.init(y, sigma)
        assert blur.free(phi) == free
        assert blur.estimated == bool(free)
        for name, truth in (("log_length", math.log(9.0)), ("angle", 0.5)):
            assert float(phi[name]) == pytest.approx(truth, abs=0.1 if name in free else 1e-6)
    known = DefocusBlur(radius=4.0)
    assert known.free(known.init(y, sigma)) == []
    assert float(known.init(y, sigma)["log_radius"].exp()) == pytest.approx(4.0)
    assert float(known.draw([image_generator(0, "a")], y)["log_radius"].exp()) == pytest.approx(4.0)


def test_images_that_say_nothing_are_taken_as_sharp() -> None:
    for y in (torch.full((1, 3, 40, 40), 0.2), torch.rand(1, 3, 1, 2)):
        sigma = torch.full((1,), 0.01)
        assert float(MotionBlur().init(y, sigma)["log_length"].exp()) == pytest.approx(1.0)
        assert float(DefocusBlur().init(y, sigma)["log_radius"].exp()) == pytest.approx(0.5)


def test_the_search_reaches_what_lies_between_its_candidates() -> None:
    truth = torch.tensor([4.37])
    y = blurred(disk_kernel(truth, SIZE), 1e-3)
    found = most_likely_kernel(
        y, torch.tensor([1e-3]), [torch.arange(1.0, 9.0)], lambda v: disk_kernel(v[:, 0], SIZE)
    )
    assert float(found) == pytest.approx(4.37, abs=0.1)


def test_adam_on_the_residual_of_the_clean_image_finds_the_parameters() -> None:
    x = power_law_images(1, 64)
    for blur, truth, start in (
        (
            MotionBlur(SIZE),
            Phi(log_length=tensor(9.0).log(), angle=tensor(0.6)),
            Phi(log_length=tensor(8.0).log(), angle=tensor(0.75)),
        ),
        (DefocusBlur(SIZE), Phi(log_radius=tensor(3.0).log()), Phi(log_radius=tensor(3.6).log())),
    ):
        y = blur(x.double(), truth)
        phi = start.leaves(start)
        optimizer = torch.optim.Adam(list(phi.values()), lr=1e-2)
        for _ in range(40):
            optimizer.zero_grad()
            (blur(x.double(), phi) - y).square().mean().backward()
            optimizer.step()
        for name, value in truth.items():
            assert float(phi[name].detach()) == pytest.approx(float(value), abs=0.02)


def test_half_a_turn_changes_neither_the_kernel_nor_the_distance_to_the_start() -> None:
    blur = MotionBlur()
    phi = Phi(log_length=tensor(7.0).log(), angle=tensor(0.2))
    other = phi.replace(angle=phi["angle"] - math.pi)
    assert torch.allclose(blur.kernel(phi), blur.kernel(other), atol=1e-12)
    assert float(blur.anchor(other, phi)) < 1e-20
    assert float(blur.canonicalize(other)["angle"]) == pytest.approx(0.2)


def test_the_anchor_grows_with_the_distance_and_its_gradient_is_right() -> None:
    for blur in (MotionBlur(), DefocusBlur()):
        start = blur.draw([image_generator(0, str(i)) for i in range(2)], tensor(0.0))
        moved = Phi({name: value + 0.05 for name, value in start.items()}).leaves(start)
        names = list(moved)
        assert bool((blur.anchor(moved, start) > 1).all())
        assert torch.autograd.gradcheck(
            lambda *v, b=blur, s=start, n=names: b.anchor(Phi(zip(n, v, strict=True)), s),
            tuple(moved.values()),
        )


def test_what_is_drawn_lies_in_the_ranges_and_in_the_kernel() -> None:
    generators = [image_generator(0, str(i)) for i in range(50)]
    lengths = MotionBlur(draw_length=(4.0, 8.0)).draw(generators, tensor(0.0))["log_length"].exp()
    assert bool(((lengths >= 4 - 1e-6) & (lengths <= 8 + 1e-6)).all())
    assert float(lengths.std()) > 0.5
    radii = DefocusBlur(5).draw(generators, tensor(0.0))["log_radius"].exp()
    assert bool((radii <= 2 + 1e-6).all())


def test_descriptions_name_the_parameters_in_pixels_and_radians() -> None:
    motion = MotionBlur(length=9.0, angle=2.0)
    (row,) = motion.describe(motion.init(torch.zeros(1, 3, 8, 8), torch.ones(1)))
    assert (row["kind"], row["length_px"], row["angle_rad"]) == ("MotionBlur", 9.0, 2.0)
    defocus = DefocusBlur(radius=2.5)
    (row,) = defocus.describe(defocus.init(torch.zeros(1, 3, 8, 8), torch.ones(1)))
    assert (row["kind"], row["radius_px"]) == ("DefocusBlur", 2.5)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: MotionBlur(20), "odd"),
        (lambda: MotionBlur(length=0.5), "length 0.5 must be at least 1 and at most 20"),
        (lambda: MotionBlur(length=25.0), "larger kernel_size"),
        (lambda: MotionBlur(draw_length=(5.0, 3.0)), "draw_length"),
        (lambda: MotionBlur(angle=math.nan), "angle"),
        (lambda: DefocusBlur(radius=0.0), "radius"),
        (lambda: DefocusBlur(7, radius=4.0), "larger kernel_size"),
        (lambda: DefocusBlur(draw_radius=(0.0, 3.0)), "draw_radius"),
    ],
)
def test_impossible_settings_are_refused(build: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()
