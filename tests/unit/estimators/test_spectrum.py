import pytest
import torch
import torch.nn.functional as F

from d2ir_pl.estimators.periodogram import EXPONENT, cell_means, periodogram
from d2ir_pl.estimators.spectrum import gaussian_covariance
from d2ir_pl.estimators.widths import MAX_WIDTH, MIN_WIDTH
from d2ir_pl.operators.kernels import gaussian_kernel


def power_law_images(count: int, size: int, seed: int = 0, horizontal: float = 0.0) -> torch.Tensor:
    """Random images whose power falls like that of photographs.

    The logarithm of the power in direction t has `horizontal` cos 2t added to it.
    """
    g = torch.Generator().manual_seed(seed)
    fy, fx = torch.fft.fftfreq(size)[:, None], torch.fft.rfftfreq(size)[None]
    f = torch.sqrt(fy**2 + fx**2)
    amplitude = torch.where(f > 0, f ** (-EXPONENT / 2), 0)
    amplitude = amplitude * (horizontal * (2 * torch.atan2(fy, fx)).cos() / 2).exp()
    spectrum = torch.fft.rfft2(torch.randn(count, 1, size, size, generator=g)) * amplitude
    images: torch.Tensor = torch.fft.irfft2(spectrum, s=(size, size))
    return (0.3 * images / images.std()).expand(-1, 3, -1, -1)


def blurred(
    covariance: torch.Tensor, sigma: float, size: int = 128, horizontal: float = 0.0
) -> torch.Tensor:
    x = power_law_images(len(covariance), size + 40, horizontal=horizontal)
    k = gaussian_kernel(covariance, 41)
    y = torch.cat(
        [F.conv2d(a[:, None], b[None, None])[None, :, 0] for a, b in zip(x, k, strict=True)]
    )
    return y + sigma * torch.randn(y.shape, generator=torch.Generator().manual_seed(9))


@pytest.mark.parametrize("noise", [0.01, 0.04])
def test_the_width_of_a_blur_is_read_off_the_spectrum(noise: float) -> None:
    widths = torch.tensor([0.8, 1.2, 1.6, 2.4, 3.5])
    y = blurred(torch.diag_embed((widths**2)[:, None].expand(-1, 2)), noise)
    found = gaussian_covariance(y, torch.full((5,), noise))[:, 0, 0].sqrt()
    assert torch.allclose(found, widths, rtol=0.12)


def test_two_widths_and_their_direction_are_read_off_the_spectrum() -> None:
    angle = torch.tensor([0.3, 1.2, 2.5])
    r = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], -1).view(-1, 2, 2)
    truth = r @ torch.diag(torch.tensor([2.5, 1.0]) ** 2) @ r.mT
    found = gaussian_covariance(blurred(truth, 0.02), torch.full((3,), 0.02), isotropic=False)
    values, vectors = torch.linalg.eigh(found)
    assert torch.allclose(values.sqrt(), torch.tensor([1.0, 2.5]).expand(3, 2), rtol=0.15)
    direction = torch.atan2(vectors[:, 1, 1], vectors[:, 0, 1])
    assert float(torch.sin(direction - angle).abs().max()) < 0.1


@pytest.mark.parametrize("horizontal", [-1.0, 1.0])
def test_the_directions_of_a_scene_are_not_taken_for_blur(horizontal: float) -> None:
    """Power that differs between directions by the same factor at every frequency is the scene."""
    truth = torch.eye(2).expand(4, 2, 2) * 1.5**2
    y = blurred(truth, 0.01, horizontal=horizontal)
    found = gaussian_covariance(y, torch.full((4,), 0.01), isotropic=False)
    widths = torch.linalg.eigvalsh(found).sqrt()
    assert float((widths[:, 1] / widths[:, 0]).max()) < 1.2


@pytest.mark.parametrize("size", [127, 128])
def test_a_mirrored_photo_has_the_mirrored_blur(size: int) -> None:
    truth = torch.tensor([[2.0, 0.8], [0.8, 1.0]])[None]
    y = blurred(truth, 0.002, size)
    found, mirrored = (
        gaussian_covariance(image, torch.tensor([0.002]), isotropic=False)[0]
        for image in (y, y.flip(-2))
    )
    sign = torch.tensor([[1.0, -1.0], [-1.0, 1.0]])
    assert torch.allclose(found, sign * mirrored, atol=0.02)


def test_cells_hold_the_mean_power_of_their_frequencies() -> None:
    power, frequency = periodogram(
        torch.randn(2, 3, 48, 60, generator=torch.Generator().manual_seed(0))
    )
    keep = frequency.norm(dim=1) > 0.1
    means, law, count, place = cell_means(power[:, keep], frequency[keep], 16)
    assert torch.allclose((means * count).sum(1), power[:, keep].sum(1))
    assert int(count.sum()) == int(keep.sum())
    near = ((frequency - place[7] / 16).abs() < 1 / 32 - 1e-9).all(1) & keep
    assert float(means[1, 7]) == pytest.approx(float(power[1, near].mean()))
    assert float(law[7]) == pytest.approx(float((frequency[near].norm(dim=1) ** -EXPONENT).mean()))


def test_white_noise_has_its_variance_as_power_at_every_block_size() -> None:
    for size in (64, 700):
        y = 0.2 * torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(0))
        power, _ = periodogram(y)
        # The grey image averages three channels of independent noise.
        assert float(power.mean()) == pytest.approx(0.2**2 / 3, rel=0.05)


def test_images_without_information_are_taken_as_sharp_and_bounds_hold() -> None:
    flat = torch.full((1, 3, 40, 40), 0.2)
    tiny = torch.rand(1, 3, 1, 2)
    for y in (flat, tiny):
        assert float(gaussian_covariance(y, torch.zeros(1))[0, 0, 0].sqrt()) == pytest.approx(
            MIN_WIDTH
        )
    noise = torch.randn(12, 3, 48, 48, generator=torch.Generator().manual_seed(0))
    for sigma in (0.01, 0.5, 1.0, 3.0, 100.0):
        covariance = gaussian_covariance(noise, torch.full((12,), sigma), isotropic=False)
        widths = torch.linalg.eigvalsh(covariance).sqrt()
        assert bool((widths >= MIN_WIDTH - 1e-4).all())
        assert bool((widths <= MAX_WIDTH + 1e-4).all())


def test_images_do_not_influence_each_other() -> None:
    y = blurred(torch.eye(2).expand(3, 2, 2) * torch.tensor([1.0, 2.0, 4.0])[:, None, None], 0.02)
    sigma = torch.full((3,), 0.02)
    for isotropic in (True, False):
        together = gaussian_covariance(y, sigma, isotropic)
        alone = torch.cat(
            [gaussian_covariance(y[i : i + 1], sigma[:1], isotropic) for i in range(3)]
        )
        assert torch.allclose(together, alone, rtol=0, atol=1e-5 if isotropic else 0)


def test_a_grey_photo_is_read_like_the_colour_photo_it_came_from() -> None:
    """Its channels carry one and the same noise, which averaging does not lower."""
    y = blurred(torch.eye(2).expand(2, 2, 2) * 1.8**2, 0.04)
    grey = y[:, :1].expand(-1, 3, -1, -1)
    found = gaussian_covariance(grey, torch.full((2,), 0.04))[:, 0, 0].sqrt()
    assert torch.allclose(found, torch.full((2,), 1.8), rtol=0.12)
