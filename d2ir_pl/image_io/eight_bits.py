"""Tensors as pictures for the eye: 8 bits a channel."""

import torch
from PIL import Image
from torch import Tensor


def eight_bits(pixels: Tensor) -> Tensor:
    """Values in [-1, 1] as uint8 on the CPU, clamped and rounded to the nearest; NaN is black."""
    unit = ((pixels.detach().float().cpu() + 1) / 2).nan_to_num().clamp(0, 1)
    return (unit * 255).round().to(torch.uint8)


def as_picture(pixels: Tensor) -> Image.Image:
    """`(3, H, W)` in [-1, 1] as a picture in RGB."""
    return Image.fromarray(eight_bits(pixels).permute(1, 2, 0).contiguous().numpy())
