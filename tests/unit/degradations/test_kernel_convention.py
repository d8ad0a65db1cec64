"""How a given kernel is meant: as a correlation, or as a point spread function."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from photos import photo
from torch import Tensor

from d2ir_pl import restore
from d2ir_pl.degradations import Blur, Compose, Light
from d2ir_pl.degradations.remarks import remarks
from d2ir_pl.estimators.kernel_convention import is_symmetric, mirror_evidence
from d2ir_pl.image_io import read_image
from d2ir_pl.operators.kernels import gaussian_kernel, shake_kernel
from d2ir_pl.restoration import D2IR
from d2ir_pl.results.metrics import psnr

SIGMA = torch.tensor([0.02])


def corner() -> Tensor:
    """A kernel in the shape of an L."""
    kernel = torch.zeros(15, 15)
    kernel[3:13, 4], kernel[12, 4:11] = 1.0, 0.6
    return kernel / kernel.sum()


def correlated(x: Tensor, kernel: Tensor) -> Tensor:
    """A noisy photo that lies inside the correlation of x with a kernel."""
    y = F.conv2d(x[:, None], kernel[None, None])[:, 0]
    noise = torch.randn(y.shape, generator=torch.Generator().manual_seed(0))
    return ((((y + 0.02 * noise).clamp(-1, 1) + 1) * 127.5).round() / 127.5 - 1)[None]


def written(folder: Path, kernel: Tensor, name: str = "kernel.npy") -> str:
    np.save(folder / name, kernel.numpy())
    return str(folder / name)


def test_evidence_changes_its_sign_with_the_kernel() -> None:
    y = torch.cat([correlated(photo(seed, 78, 94), corner()) for seed in (1, 2)])
    sigma = SIGMA.expand(2)
    mirrored = mirror_evidence(y, sigma, corner().flip(0, 1))
    assert float(mirrored.min()) > 0.001
    assert torch.allclose(mirror_evidence(y, sigma, corner()), -mirrored)
    assert torch.equal(mirror_evidence(y[1:], SIGMA, corner().flip(0, 1)), mirrored[1:])


def test_most_random_shakes_are_told_and_hardly_one_wrongly() -> None:
    x = read_image(Path("examples/clean/chelsea.png")).pixels
    wrong = told = 0
    for seed in range(12):
        kernel = shake_kernel(torch.Generator().manual_seed(seed), 15)
        top, left = 20 * (seed % 6), 40 * (seed % 4)
        y = correlated(x[:, top : top + 110, left : left + 110], kernel)
        evidence = float(mirror_evidence(y, SIGMA, kernel))
        wrong += evidence > 0.001
        told += evidence < -0.001
    assert wrong == 0
    assert told >= 9


def test_a_kernel_that_is_its_mirror_image_has_no_convention(tmp_path: Path) -> None:
    gaussian = gaussian_kernel(torch.eye(2)[None] * 2.0, 9)[0]
    line = torch.zeros(9, 9)
    line[1, 2:7] = 0.2
    assert is_symmetric(gaussian)
    assert is_symmetric(line), "mirrored, it is the same line elsewhere"
    assert not is_symmetric(corner())
    blur = Blur(kernel=written(tmp_path, line))
    phi = blur.init(photo(0)[None], SIGMA)
    assert torch.allclose(blur.kernel(phi)[0], line, atol=1e-6)
    assert remarks(blur.describe(phi)[0]) == []


@pytest.mark.parametrize("mirrored", [False, True])
def test_a_photo_tells_how_its_kernel_is_meant(tmp_path: Path, mirrored: bool) -> None:
    y = correlated(photo(1, 78, 94), corner())
    file = written(tmp_path, corner().flip(0, 1) if mirrored else corner())
    blur = Blur(kernel=file)
    phi = blur.init(y, SIGMA)
    assert torch.allclose(blur.kernel(phi)[0], corner(), atol=1e-6)
    assert not blur.estimated
    assert blur.free(phi) == []
    (row,) = blur.describe(phi)
    assert row["convention"] == ("psf" if mirrored else "correlation")
    assert len(remarks(row)) == mirrored
    chain = Compose([blur, Light(gain=1.0, map_size=0)])
    said = remarks(chain.describe(chain.init(y, SIGMA))[0])
    assert ["mirrored" in sentence for sentence in said] == [True] * mirrored
    # An owner who says how it is meant is not contradicted.
    as_it_is = Blur(kernel=file, convention="correlation")
    other = Blur(kernel=file, convention="psf")
    for told, expected in ((as_it_is, mirrored), (other, not mirrored)):
        kernel = told.kernel(told.init(y, SIGMA))[0]
        assert torch.allclose(kernel, corner().flip(0, 1) if expected else corner(), atol=1e-6)


def test_a_photo_without_structure_leaves_the_kernel_as_it_is(tmp_path: Path) -> None:
    y = correlated(torch.zeros(3, 60, 60), corner())
    blur = Blur(kernel=written(tmp_path, corner()))
    phi = blur.init(y, SIGMA)
    assert torch.allclose(blur.kernel(phi)[0], corner(), atol=1e-6)
    assert "does not tell" in remarks(blur.describe(phi)[0])[0]


def test_what_the_program_degrades_itself_is_a_correlation(tmp_path: Path) -> None:
    blur = Blur(kernel=written(tmp_path, corner()))
    made = blur.for_images([], [], degraded=False)
    assert list(made.init(torch.zeros(1, 3, 40, 40), SIGMA)) == ["logits"]
    assert made.known is not None


def test_mistakes_about_the_convention_are_one_sentence() -> None:
    with pytest.raises(ValueError, match=r"^convention 'psf' is that of a known kernel: give its"):
        Blur(convention="psf")
    with pytest.raises(ValueError, match=r"^convention 'p' must be 'auto', 'psf' or 'correlation'"):
        Blur(convention="p")  # type: ignore[arg-type]


@pytest.mark.slow
def test_a_kernel_of_either_convention_restores_the_photo_alike(tmp_path: Path) -> None:
    x = read_image(Path("examples/clean/chelsea.png")).pixels[:, 64:174, 64:174]
    y = (correlated(x, corner())[0] + 1) / 2
    results: list[Tensor] = []
    for kernel in (corner(), corner().flip(0, 1)):
        blur = Blur(kernel=written(tmp_path, kernel))
        result = restore(y, blur, D2IR(stages="estimation"))
        assert result.parameters["convention"] == ("psf" if results else "correlation")
        assert any("mirrored" in reason for reason in result.reasons) is bool(results)
        results.append(result.restoration.x0)
    assert torch.equal(*results)
    reference = x[None, :, 7:-7, 7:-7]
    assert float(psnr(results[0], reference)) > float(psnr(2 * y[None] - 1, reference)) + 5
