"""Tensors as pictures for the eye: of a size that suits it, and 8 bits a channel."""

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor


def eight_bits(pixels: Tensor) -> Tensor:
    """Values in [-1, 1] as uint8 on the CPU, clamped and rounded to the nearest; NaN is black."""
    unit = ((pixels.detach().float().cpu() + 1) / 2).nan_to_num().clamp(0, 1)
    return (unit * 255).round().to(torch.uint8)


def as_picture(pixels: Tensor) -> Image.Image:
    """`(3, H, W)` in [-1, 1] as a picture in RGB."""
    return Image.fromarray(eight_bits(pixels).permute(1, 2, 0).contiguous().numpy())


def resized(pixels: Tensor, size: tuple[int, int]) -> Tensor:
    """Images at another size, by bilinear interpolation with antialiasing.

    Args:
        pixels: `(3, H, W)` or `(B, 3, H, W)`.
        size: height and width of the result; where the images have it, they stay as they are.
    """
    if pixels.shape[-2:] == size:
        return pixels
    batch = pixels if pixels.ndim == 4 else pixels[None]
    found = F.interpolate(batch.float(), size, mode="bilinear", antialias=True)
    return found if pixels.ndim == 4 else found[0]


def enlarged(picture: Tensor, side: int) -> Tensor:
    """A small picture, such as a kernel, with pixels that one can see.

    Args:
        picture: `(h, w)`.
        side: longest side in pixels that the result has at most.

    Returns:
        `(n h, n w)`, in which each value stands n times n times; the picture itself if it is
        larger than half of `side`.
    """
    n = max(1, side // max(picture.shape))
    return picture.repeat_interleave(n, 0).repeat_interleave(n, 1)
