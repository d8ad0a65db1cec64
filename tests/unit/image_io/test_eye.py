"""Pictures for the eye: their sizes, and that nothing else changes."""

import torch
from photos import photo

from d2ir_pl.image_io import enlarged, resized


def test_a_small_picture_grows_by_a_whole_factor() -> None:
    kernel = torch.arange(6.0).reshape(2, 3)
    large = enlarged(kernel, 10)
    assert large.shape == (6, 9)
    assert torch.equal(large[::3, ::3], kernel)
    assert torch.equal(large[2::3, 1::3], kernel)
    assert torch.equal(enlarged(kernel, 5), kernel)


def test_images_and_batches_are_resized_alike() -> None:
    image = photo()
    small = resized(image, (12, 16))
    assert small.shape == (3, 12, 16)
    assert torch.equal(resized(image[None], (12, 16))[0], small)
    assert torch.allclose(small.mean(), image.mean(), atol=0.02)
    assert resized(image, (24, 32)) is image
