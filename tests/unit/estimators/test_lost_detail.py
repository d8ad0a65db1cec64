import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from d2ir_pl.degradations.parametric_blur import disk_kernel, motion_kernel
from d2ir_pl.estimators.lost_detail import lost_detail
from d2ir_pl.estimators.periodogram import EXPONENT

SIZE, KERNEL = 160, 21
KERNELS = torch.cat(
    [
        disk_kernel(torch.tensor([1.2, 2.0, 4.0]), KERNEL),
        motion_kernel(torch.tensor([4.0, 12.0]), torch.tensor([0.0, 1.0]), KERNEL),
    ]
)


def scenes(count: int, contrast: float = 0.3) -> Tensor:
    """Random images whose power falls like that of photographs, of one standard deviation."""
    size = SIZE + KERNEL - 1
    rows, columns = torch.fft.fftfreq(size)[:, None], torch.fft.rfftfreq(size)[None]
    f = (rows**2 + columns**2).sqrt()
    amplitude = torch.where(f > 0, f ** (-EXPONENT / 2), 0)
    noise = torch.randn(count, 1, size, size, generator=torch.Generator().manual_seed(2))
    x: Tensor = torch.fft.irfft2(torch.fft.rfft2(noise) * amplitude, s=(size, size))
    return (contrast * x / x.std()).expand(-1, 3, -1, -1)


def blurred(x: Tensor, noise: float) -> tuple[Tensor, Tensor]:
    """Each image by a kernel of its own, with noise, and what that took of it."""
    clear = torch.cat(
        [F.conv2d(a[:, None], k[None, None])[:, 0][None] for a, k in zip(x, KERNELS, strict=True)]
    )
    r = KERNEL // 2
    taken = (x[..., r:-r, r:-r] - clear).square().mean((1, 2, 3)).sqrt()
    drawn = torch.randn(clear.shape, generator=torch.Generator().manual_seed(3))
    return clear + noise * drawn, taken


@pytest.mark.parametrize("noise", [0.004, 0.04, 0.1])
def test_what_a_blur_took_is_seen_in_the_photo(noise: float) -> None:
    y, taken = blurred(scenes(len(KERNELS)), noise)
    found = lost_detail(y, torch.full((len(y),), noise), KERNELS)
    assert float((found / taken).log().abs().max()) < 0.25


def test_it_grows_with_the_contrast_of_the_scene() -> None:
    sigma = torch.full((len(KERNELS),), 0.004)
    faint, strong = (
        lost_detail(blurred(scenes(len(KERNELS), c), 0.004)[0], sigma, KERNELS) for c in (0.1, 0.3)
    )
    assert torch.allclose(strong / faint, torch.full_like(faint, 3), rtol=0.1)


def test_photos_of_noise_alone_and_those_smaller_than_the_kernel_have_a_little() -> None:
    noise = 0.1 * torch.randn(5, 3, 17, 14, generator=torch.Generator().manual_seed(4))
    for y in (noise, torch.zeros(5, 3, 17, 14)):
        found = lost_detail(y, torch.full((5,), 0.1), KERNELS)
        assert bool((found > 0).all())
        assert float(found.max()) < 0.1
