"""Blur that changes across the photo, by kernels that are known."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor

from d2ir_pl.degradations.base import LinearDegradation
from d2ir_pl.degradations.frame import Frame
from d2ir_pl.degradations.phi import Phi
from d2ir_pl.errors import in_words
from d2ir_pl.operators.convolution import Border, require_border
from d2ir_pl.operators.drawn_kernels import SUFFIXES
from d2ir_pl.operators.kernels import LARGEST_SIDE, padded, read_kernel
from d2ir_pl.operators.linear import Size
from d2ir_pl.operators.varying import VaryingOperator

MOST_TILES = 400
"""Kernels of one photo, at most: each takes two Fourier transforms of it in every step."""

_PLACE = re.compile(r"(\d{1,3})[_-](\d{1,3})")


class VaryingBlur(LinearDegradation):
    """Blur by a kernel that is interpolated between those of tiles: y = sum_t w_t (k_t * x) + n.

    The tiles divide the photo evenly into rows and columns, and their weights w_t change linearly
    between the middles of neighbours (`operators/varying.py`). phi: `kernels`
    `(B, rows, columns, k, k)`, which are known: nothing estimates them yet.

    Args:
        kernels: a `.npy` file of shape `(rows, columns, k, k)`, or a folder with a kernel file for
            each tile, named `ROW_COLUMN` from 0, such as `0_2.npy` or `0_2.png`. Each is what the
            photo is correlated with there, and is brought to sum 1.
        border: `extend` (nothing is assumed about what lies outside the photo), `reflect`,
            `replicate` or `circular`.

    Raises:
        ValueError: for files that hold no such kernels, or tiles that are missing.

    Source: Nagy and O'Leary, Restoring images degraded by spatially variant blur, 1998.
    """

    file_settings = ("kernels",)
    phi_settings = ()

    def __init__(self, kernels: str | None = None, border: Border = "extend") -> None:
        super().__init__()
        require_border(border)
        self.border: Border = border
        self.estimated = False
        if kernels is not None:
            self._tell(Phi(kernels=read_tiles(Path(kernels))[None]))

    def _tell(self, phi: Phi) -> None:
        super()._tell(phi)
        radius = phi["kernels"].shape[-1] // 2
        self.frame = Frame(margins=((radius, radius),) if self.border == "extend" else ())

    def init(self, y: Tensor, sigma_y: Tensor) -> Phi:  # noqa: ARG002
        raise _unknown()

    def draw(self, generators: Sequence[Generator], like: Tensor) -> Phi:  # noqa: ARG002
        raise _unknown()

    def operator(self, phi: Phi, image_size: Size) -> VaryingOperator:
        margin = self.frame.before + self.frame.after
        observed = (image_size[0] - margin, image_size[1] - margin)
        if min(observed) < 1:
            raise ValueError(
                f"an image of {image_size[0]}x{image_size[1]} pixels is smaller than the kernels: "
                "use border 'reflect' or smaller kernels"
            )
        return VaryingOperator(phi["kernels"], image_size, observed, self.border)

    def picture(self, phi: Phi) -> Tensor:
        """The kernels at their places, each with a largest entry of 1."""
        kernels = phi["kernels"]
        shown = kernels / kernels.amax((-2, -1), keepdim=True).clamp_min(1e-12)
        count, rows, columns, k, _ = kernels.shape
        return shown.permute(0, 1, 3, 2, 4).reshape(count, rows * k, columns * k)

    def describe(self, phi: Phi) -> list[dict[str, Any]]:
        rows, columns, side = phi["kernels"].shape[1:4]
        about = {"kind": "VaryingBlur", "rows": rows, "columns": columns, "kernel_size": side}
        return [dict(about) for _ in range(phi.count)]


def read_tiles(path: Path) -> Tensor:
    """The kernels `(rows, columns, k, k)` in a file or a folder, each with sum 1 and odd k.

    Raises:
        ValueError: if there are none, or one of the tiles is missing.
    """
    if path.is_dir():
        return _of_folder(path)
    if not path.is_file():
        raise ValueError(f"kernels {path} does not exist: give a .npy file or a folder of kernels")
    try:
        values = np.load(path, allow_pickle=False)
    except Exception as error:  # the reader raises anything at all on hostile bytes
        raise ValueError(f"kernels {path} is no readable .npy array: {in_words(error)}") from None
    shape: tuple[int, ...] = values.shape if isinstance(values, np.ndarray) else ()
    if len(shape) != 4 or shape[2] != shape[3] or shape[2] % 2 == 0 or shape[2] > LARGEST_SIDE:
        raise ValueError(
            f"kernels {path} holds an array of shape {shape}: give (rows, columns, k, k) with odd k"
        )
    _require_few(path, shape[0] * shape[1])
    kernels = torch.from_numpy(values.astype(np.float64))
    sums = kernels.sum((2, 3), keepdim=True)
    if not bool(kernels.isfinite().all()) or float(kernels.min()) < 0 or float(sums.min()) <= 0:
        raise ValueError(f"kernels {path} must hold finite weights of at least 0, not all 0")
    return (kernels / sums).float()


def _of_folder(folder: Path) -> Tensor:
    """The kernels in the files of a folder, on squares of the largest of their sides."""
    found: dict[tuple[int, int], Tensor] = {}
    for file in sorted(folder.iterdir()):
        place = _PLACE.fullmatch(file.stem)
        if place is None or file.suffix.lower() not in SUFFIXES:
            continue
        found[int(place[1]), int(place[2])] = read_kernel(file)
    if not found:
        raise ValueError(
            f"kernels {folder} holds no kernels of tiles: name them ROW_COLUMN from 0, such as "
            "0_2.npy"
        )
    rows, columns = (1 + max(place[axis] for place in found) for axis in (0, 1))
    _require_few(folder, rows * columns)
    side = max(kernel.shape[-1] for kernel in found.values())
    whole = torch.zeros(rows, columns, side, side)
    for i in range(rows):
        for j in range(columns):
            if (i, j) not in found:
                raise ValueError(f"kernels {folder} has no {i}_{j}: give a kernel for each tile")
            whole[i, j] = padded(found[i, j], side)
    return whole


def _require_few(path: Path, tiles: int) -> None:
    """Check the number of tiles.

    Raises:
        ValueError: if there are none, or too many.
    """
    if not 1 <= tiles <= MOST_TILES:
        raise ValueError(f"kernels {path} has {tiles} tiles: give 1 to {MOST_TILES}")


def _unknown() -> ValueError:
    return ValueError(
        "the kernels of VaryingBlur are not known: give them as --model.degradation.kernels, a "
        ".npy file (rows, columns, k, k) or a folder of kernels"
    )
