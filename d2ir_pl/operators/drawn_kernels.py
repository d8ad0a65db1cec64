"""Random kernels to degrade clean images with: by a named law, or out of a folder."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Generator, Tensor

from d2ir_pl.operators.kernels import padded, read_kernel, shake_kernel
from d2ir_pl.operators.shake_paths import GENERATORS, drawn_shake, walked_kernel
from d2ir_pl.operators.zernike import aberrated_kernel

KernelLaw = Callable[[Generator, int], Tensor]
"""A random kernel `(size, size)` with sum 1, of a generator and a side in pixels."""

LAWS: dict[str, KernelLaw] = {
    "shake": shake_kernel,
    "walk": walked_kernel,
    **{name: partial(drawn_shake, name=name) for name in GENERATORS},
    "zernike": aberrated_kernel,
}
"""The laws by their names."""

SUFFIXES = (".npy", ".png", ".tif", ".tiff", ".bmp")
"""Endings of files in a folder that are taken for kernels."""


def kernel_law(name: str) -> KernelLaw:
    """The law of this name, or the kernels in the folder of that name, any of them as likely.

    Raises:
        ValueError: if it is neither, or the folder holds no kernels.
    """
    if name in LAWS:
        return LAWS[name]
    folder = Path(name)
    if not folder.is_dir():
        raise ValueError(
            f"draw_kernel {name!r} is no law and no folder of kernels: use {', '.join(LAWS)}, or a "
            "folder with .npy files or images"
        )
    files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES)
    if not files:
        raise ValueError(f"draw_kernel {name!r} holds no kernels: put .npy files or images there")
    return partial(_any_of, files)


def _any_of(files: list[Path], generator: Generator, size: int) -> Tensor:
    """One of the kernels in files, in the middle of a square of a side in pixels.

    Raises:
        ValueError: if it is larger than that, or the file holds no kernel.
    """
    file = files[int(torch.randint(len(files), (), generator=generator))]
    kernel = read_kernel(file)
    if len(kernel) > size:
        raise ValueError(
            f"kernel file {file} holds a kernel of {len(kernel)}x{len(kernel)} pixels: set "
            f"kernel_size to {len(kernel)} or more"
        )
    return padded(kernel, size)
