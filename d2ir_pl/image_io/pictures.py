"""Tensors as pictures to look at: 8 bits a channel, and of a size that can be seen."""

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

COARSE = 8
"""How many times as large as the result an image stays that is averaged first."""


def eight_bits(pixels: Tensor) -> Tensor:
    """Convert values in [-1, 1] to uint8 on the CPU: clamped, rounded to the nearest, NaN to 0."""
    unit = ((pixels.detach().float().cpu() + 1) / 2).nan_to_num().clamp(0, 1)
    return (unit * 255).round().to(torch.uint8)


def as_picture(pixels: Tensor) -> Image.Image:
    """Convert an image `(3, H, W)` in [-1, 1] to a picture in RGB."""
    return Image.fromarray(eight_bits(pixels).permute(1, 2, 0).contiguous().numpy())


def resized(pixels: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize images by bilinear interpolation with antialiasing.

    Much larger ones are first made smaller by averaging whole numbers of pixels.

    Args:
        pixels: `(3, H, W)` or `(B, 3, H, W)`, the images.
        size: height and width of the result; images of that size are returned as they are.
    """
    if pixels.shape[-2:] == size:
        return pixels
    batch = pixels if pixels.ndim == 4 else pixels[None]
    batch = batch.float()
    # A GPU has no room for the weights of a kernel that is more than some 90 pixels wide.
    height, width = (
        max(1, n // (COARSE * new)) for n, new in zip(batch.shape[-2:], size, strict=True)
    )
    if height > 1 or width > 1:
        batch = F.avg_pool2d(batch, (height, width))
    found = F.interpolate(batch, size, mode="bilinear", antialias=True)
    return found if pixels.ndim == 4 else found[0]


def enlarged(picture: Tensor, side: int) -> Tensor:
    """Enlarge a small picture, such as a kernel, by a whole number n, so that its pixels show.

    Args:
        picture: `(h, w)`, the picture.
        side: largest height and width of the result in pixels.

    Returns:
        `(n h, n w)`; the picture itself if it is larger than half of `side`.
    """
    n = max(1, side // max(picture.shape))
    return picture.repeat_interleave(n, 0).repeat_interleave(n, 1)
