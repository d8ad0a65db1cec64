"""Whether the noise of a photo is that of a camera."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from repository import EXAMPLES
from torch import Tensor

from d2ir_pl.diagnosis.proposal import propose
from d2ir_pl.estimators.noise_spectrum import RADII, NoiseSpectrum, complement
from d2ir_pl.image_io import read_image

SIZE = 192
WIDTH = 0.7
"""Width in pixels of what a camera smooths its photo with."""


def soft(name: str, width: float) -> Tensor:
    """A photograph that is softer than its pixels allow, SIZE x SIZE."""
    x = read_image(EXAMPLES / "clean" / f"{name}.png").pixels[None, :, :SIZE, :SIZE]
    spectrum = torch.fft.rfft2(x)
    radius = torch.hypot(torch.fft.fftfreq(SIZE)[:, None], torch.fft.rfftfreq(SIZE))
    gain = torch.exp(-2 * (torch.pi * width * radius) ** 2)
    y: Tensor = torch.fft.irfft2(spectrum * gain, s=(SIZE, SIZE))
    return y


def noise(level: float, width: float) -> Tensor:
    """Noise of the luminance, and half of that in the colours, smoothed by a Gaussian."""
    radius = torch.arange(RADII) / 32
    power = level**2 * torch.exp(-((2 * torch.pi * width * radius) ** 2))
    spectrum = NoiseSpectrum(power * torch.tensor([[1.0], [0.25], [0.25]]))
    white = torch.randn(1, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    return complement(-spectrum.on_grid(SIZE, SIZE), 0.0, white)


def jpeg(y: Tensor, quality: int) -> Tensor:
    """What is left of a photo after JPEG."""
    pixels = ((y[0].clamp(-1, 1) + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=quality)
    return torch.from_numpy(np.array(Image.open(stream))).permute(2, 0, 1).float() / 127.5 - 1


@pytest.mark.parametrize("quality", [92, 97])
def test_coarse_noise_in_a_jpeg_is_removed_and_the_softness_of_the_camera_stays(
    quality: int,
) -> None:
    y = jpeg(soft("coffee", WIDTH) + noise(0.15, WIDTH), quality)
    proposal = propose(y)
    assert proposal.kinds == "noise alone"
    assert proposal.config == "denoising"
    assert any("the camera has smoothed it by about" in s for s in proposal.sentences)


@pytest.mark.parametrize("sigma", [0.0, 0.01])
def test_a_jpeg_with_little_white_noise_stays_one(sigma: float) -> None:
    white = torch.randn(1, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    proposal = propose(jpeg(soft("coffee", 0.0) + 2 * sigma * white, 90))
    assert proposal.kinds == "Jpeg"


def test_strong_white_noise_in_a_jpeg_is_that_of_its_brightness() -> None:
    white = torch.randn(1, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    proposal = propose(jpeg(soft("coffee", 0.0) + 0.1 * white, 92))
    assert proposal.config == "denoising"
    assert any("the same in red, green and blue" in s for s in proposal.sentences)


def test_a_poor_jpeg_stays_one() -> None:
    assert "Jpeg" in propose(jpeg(soft("coffee", WIDTH) + noise(0.1, WIDTH), 40)).kinds


def test_a_blur_that_is_wider_than_the_noise_is_smooth_is_believed() -> None:
    proposal = propose(jpeg(soft("coffee", 2.0) + noise(0.08, WIDTH), 95))
    assert "Blur" in proposal.kinds


def test_told_noise_is_white() -> None:
    y = jpeg(soft("coffee", WIDTH) + noise(0.15, WIDTH), 92)
    assert "Jpeg" in propose(y, sigma_y=0.03).kinds
