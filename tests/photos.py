"""Small synthetic photos for tests."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from torch import Generator, Tensor

from d2ir_pl.image_io import write_png


def photo(seed: int = 0, height: int = 24, width: int = 32) -> Tensor:
    """(3, H, W) in [-1, 1]: sharp rectangles of all sizes, with a little noise."""
    generator = Generator().manual_seed(seed)
    image = torch.zeros(3, height, width)
    for _ in range(60):
        top, left, tall, wide = torch.rand(4, generator=generator).square().tolist()
        rows = slice(int(top * height), int((top + tall) * height) + 1)
        columns = slice(int(left * width), int((left + wide) * width) + 1)
        colour = torch.rand(3, 1, 1, generator=generator) * 1.6 - 0.8
        image[:, rows, columns] = colour
    return (image + 0.03 * torch.randn(3, height, width, generator=generator)).clamp(-1, 1)


def save(path: Path, seed: int = 0, height: int = 24, width: int = 32, **options: object) -> Path:
    """Write a photo as a PNG file, whatever the suffix; image files are known by their contents."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_png(path, photo(seed, height, width), **options)  # type: ignore[arg-type]
    return path


def save_all(folder: Path, names: Iterable[str], height: int = 24, width: int = 32) -> Path:
    """A folder with a different photo under each name."""
    for seed, name in enumerate(names):
        save(folder / name, seed, height, width)
    return folder


def files(folder: Path) -> set[str]:
    """Relative paths of all files below a folder."""
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB of two 8-bit images."""
    return float(10 * np.log10(255**2 / np.mean((a.astype(float) - b.astype(float)) ** 2)))
