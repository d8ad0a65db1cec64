"""The widths of edges tell a blurred photo from a sharp one, whatever noise and files do to it."""

import math

import pytest
import torch
from repository import EXAMPLES
from torch import Tensor

from d2ir_pl.degradations import GaussianBlur, Jpeg
from d2ir_pl.estimators.edge_width import edge_widths
from d2ir_pl.image_io import read_image


def noisy(y: Tensor, noise: float) -> Tensor:
    n = torch.randn(y.shape, generator=torch.Generator().manual_seed(0))
    return (y + 2 * noise * n).clamp(-1, 1)


def blurred(x: Tensor, width: float) -> Tensor:
    blur = GaussianBlur(width=width, border="reflect")
    image: Tensor = blur(x[None], blur.init(x[None], torch.zeros(1)))[0]
    return image


@pytest.mark.parametrize("width", [0.8, 1.2, 2.0])
@pytest.mark.parametrize("angle", [0.0, 0.4, 1.1])
def test_the_width_of_a_blurred_step_is_read(width: float, angle: float) -> None:
    i = torch.arange(96, dtype=torch.float64) - 47.5
    along = i * math.cos(angle) + i[:, None] * math.sin(angle)
    # Steps 40 pixels apart, blurred by a Gaussian.
    before, after = (torch.erf((along - c) / (math.sqrt(2) * width)) for c in (-20, 20))
    step = before + after - 1
    y = (0.4 * step).float().expand(3, -1, -1)
    found = edge_widths(y)
    assert found.count > 0
    assert found.typical == pytest.approx(width, abs=0.25)
    assert found.coarse_typical == pytest.approx(width, abs=0.25)


@pytest.mark.parametrize("photograph", ["astronaut", "chelsea", "coffee"])
@pytest.mark.parametrize("noise", [0.0, 0.02])
@pytest.mark.parametrize("quality", [None, 80])
def test_blurred_photos_have_wider_edges(
    photograph: str, noise: float, quality: int | None
) -> None:
    x = read_image(EXAMPLES / "clean" / f"{photograph}.png").pixels
    widths = []
    for y in (x, blurred(x, 1.5)):
        stored = noisy(y, noise)[None]
        if quality is not None:
            jpeg = Jpeg(quality, "4:2:0")
            stored = jpeg(stored, jpeg.init(stored, torch.zeros(1)))
        widths.append(edge_widths(stored[0]).typical)
    assert widths[0] < 0.85
    assert widths[1] > widths[0] + 0.3


@pytest.mark.parametrize("photograph", ["astronaut", "coffee"])
def test_noise_in_the_dark_looks_like_no_sharp_edges(photograph: str) -> None:
    x = read_image(EXAMPLES / "clean" / f"{photograph}.png").pixels
    sharp, soft = (noisy(0.08 * (y + 1) - 0.98, 0.01) for y in (x, blurred(x, 2.0)))
    assert edge_widths(sharp).typical < 0.5
    assert edge_widths(soft).typical > 0.9


def test_edges_of_what_is_no_part_of_the_photo_do_not_count() -> None:
    x = blurred(read_image(EXAMPLES / "clean" / "coffee.png").pixels, 2.0)
    framed, observed = x.clone(), torch.ones_like(x[:1])
    framed[:, :40], observed[:, :40] = 1.0, 0.0
    found = edge_widths(framed, observed)
    assert found.sharpest == pytest.approx(edge_widths(x).sharpest, abs=0.4)


@pytest.mark.parametrize("size", [(5, 90), (24, 24), (64, 64)])
def test_flat_and_tiny_photos_have_no_edges(size: tuple[int, int]) -> None:
    assert edge_widths(torch.zeros(3, *size)).count == 0
