"""One of every degradation, and what it makes of smooth images."""

import pytest
import torch
from own_degradation import Stripes
from torch import Tensor

from d2ir_pl.degradations import (
    Blur,
    Compose,
    DefocusBlur,
    Degradation,
    Downsampling,
    Exposures,
    Fading,
    GaussianBlur,
    Grayscale,
    Identity,
    Jpeg,
    Light,
    Mask,
    MotionBlur,
    Phi,
    VaryingBlur,
)
from d2ir_pl.degradations.base import is_linear
from d2ir_pl.diffusion.randomness import image_generator

CLEAN = (24, 32)
EXAMPLES: dict[str, Degradation] = {
    "Blur": Blur(7),
    "GaussianBlur": GaussianBlur(9),
    "GaussianBlur anisotropic, reflect": GaussianBlur(9, isotropic=False, border="reflect"),
    "MotionBlur": MotionBlur(9),
    "MotionBlur of known angle, reflect": MotionBlur(9, border="reflect", angle=0.5),
    "DefocusBlur": DefocusBlur(9),
    "Blur of light": Blur(7, response="srgb"),
    "GaussianBlur of light, reflect": GaussianBlur(9, border="reflect", response="srgb"),
    "Downsampling bicubic": Downsampling(4),
    "Downsampling area, reflect": Downsampling(2, "area", border="reflect"),
    "Downsampling gaussian": Downsampling(2, "gaussian"),
    "Downsampling gaussian, known, centred": Downsampling(
        4, "gaussian", border="reflect", width=2.0, centred=True
    ),
    "VaryingBlur": VaryingBlur().told(Phi(kernels=torch.rand(1, 2, 3, 5, 5) / 12)),
    "Mask zeros": Mask(missing=0.6),
    "Mask box": Mask([3, 5, 9, 11]),
    "Grayscale": Grayscale(),
    "Grayscale weights": Grayscale([1.0, 2.0, 3.0]),
    "Identity": Identity(),
    "Light": Light(),
    "Light as an exposure": Light(scales="auto", map_size=0),
    "Light of known gain, per channel, gamma": Light(0.3, per_channel=True, gamma=True),
    "Exposures": Exposures(),
    "Exposures of known gains, darkest": Exposures(2, [0.5, 0.9], reference=0),
    "Fading": Fading(),
    "Jpeg": Jpeg(),
    "Jpeg of known quality": Jpeg(80, "4:4:4"),
    "Compose blur, downsampling": Compose([GaussianBlur(7), Downsampling(2)]),
    "Compose blur, mask": Compose([Blur(5), Mask([3, 5, 9, 11])]),
    "Compose of one": Compose([Grayscale()]),
    "Stripes, the example of docs/own_degradation.md": Stripes(),
}
every_degradation = pytest.mark.parametrize("degradation", EXAMPLES.values(), ids=EXAMPLES)
every_linear_one = pytest.mark.parametrize(
    ("degradation"),
    [d for d in EXAMPLES.values() if is_linear(d)],
    ids=[name for name, d in EXAMPLES.items() if is_linear(d)],
)


def scene(
    degradation: Degradation, count: int = 3, dtype: torch.dtype = torch.float64
) -> tuple[Tensor, Tensor, Phi, Tensor]:
    """Smooth clean images, the x that shows them, phi, and the degraded images without noise."""
    rows = torch.arange(CLEAN[0], dtype=dtype)[:, None]
    columns = torch.arange(CLEAN[1], dtype=dtype)
    phase = torch.arange(3 * count, dtype=dtype).view(count, 3, 1, 1)
    clean = 0.7 * torch.sin(rows / 4 + phase) * torch.cos(columns / 5 - phase / 2)
    phi = degradation.draw([image_generator(0, str(i)) for i in range(count)], clean)
    x = degradation.frame.embed(clean)
    return clean, x, phi, degradation(x, phi)
