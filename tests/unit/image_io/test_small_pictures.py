"""Pictures to look at: their sizes, on the CPU and on a GPU."""

import pytest
import torch

from benchmarks.pretended_device import can_pretend, pretended_gpu
from d2ir_pl.image_io import resized


@pytest.mark.parametrize("size", [(2000, 300), (1999, 311), (96, 20)])
def test_a_smaller_picture_has_the_same_light(size: tuple[int, int]) -> None:
    rows = torch.linspace(-1, 1, size[0])[:, None].expand(3, *size)
    found = resized(rows, (24, 8))
    expected = (torch.arange(24) + 0.5) / 12 - 1
    assert found.shape == (3, 24, 8)
    assert torch.allclose(found[0, :, 0], expected, atol=0.02)


@pytest.mark.skipif(not can_pretend(), reason="no GPU can be pretended with this PyTorch")
def test_a_gpu_makes_small_pictures_of_photos_of_any_height() -> None:
    tall = torch.rand(1, 3, 9600, 4, generator=torch.Generator().manual_seed(0))
    with pretended_gpu():
        with pytest.raises(RuntimeError, match="shared memory"):
            torch.nn.functional.interpolate(
                tall.to("cuda"), (96, 4), mode="bilinear", antialias=True
            )
        there = resized(tall.to("cuda"), (96, 1)).cpu()
    assert torch.allclose(there, resized(tall, (96, 1)), atol=1e-5)
