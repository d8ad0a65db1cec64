"""Images of discs and shaken photos for tests."""

import torch
from torch import Tensor

from d2ir_pl.degradations import Blur, Phi
from d2ir_pl.diffusion.randomness import image_generator, normal_like


def corner(size: int = 21) -> Tensor:
    """A camera that moved to the right, then down, a little out of focus."""
    kernel = torch.zeros(size, size)
    left, top = size // 2 - 4, size // 2 - 1
    kernel[top, left : left + 7] = 1
    kernel[top : top + 5, left + 6] = 1
    return drawn(kernel, 0.7)


def drawn(path: Tensor, width: float) -> Tensor:
    """The kernel of a path that is drawn with a Gaussian pen."""
    i = torch.arange(len(path)) - len(path) // 2
    pen = (-((i[:, None] - i[None]) ** 2) / (2 * width**2)).exp()
    kernel = pen @ path @ pen
    return kernel / kernel.sum()


def discs(size: int = 148, seed: int = 3) -> Tensor:
    """An image `(3, size, size)` of flat discs, with edges in every direction."""
    g = torch.Generator().manual_seed(seed)
    image = torch.zeros(3, size, size)
    i = torch.arange(size)
    for _ in range(60):
        y, x, r = (torch.rand(3, generator=g) * torch.tensor([size, size, 30])).tolist()
        inside = (i[:, None] - y) ** 2 + (i[None] - x) ** 2 < (r + 4) ** 2
        image[:, inside] = 1.2 * torch.rand(3, 1, generator=g) - 0.6
    return image


def blurred(image: Tensor, kernel: Tensor, noise: float = 0.0) -> Tensor:
    """The part `(1, 3, h, w)` of a blurred image that the kernel's margin leaves, with noise."""
    y: Tensor = Blur(kernel.shape[-1])(image[None], Phi(logits=(kernel[None] + 1e-12).log()))
    return y + noise * normal_like(y, [image_generator(0, "n")])
