"""Photos as a file stores them, before they are turned upright, and back."""

from __future__ import annotations

from torch import Tensor

from d2ir_pl.image_io.photo import FLIPS
from d2ir_pl.operators.linear import Size


def stored(x: Tensor, orientation: int) -> Tensor:
    """`(..., H, W)` turned from upright to how a file of that EXIF orientation stores it."""
    x = _flipped(x, orientation)
    return x.mT if orientation >= 5 else x


def upright(x: Tensor, orientation: int) -> Tensor:
    """The inverse of `stored`."""
    return _flipped(x.mT if orientation >= 5 else x, orientation)


def upright_place(place: tuple[float, float], orientation: int) -> tuple[float, float]:
    """Where a place of the file is in the upright image, both in shares of height and width."""
    shares = list(reversed(place) if orientation >= 5 else place)
    for axis in FLIPS.get(orientation, ()):
        shares[axis] = 1 - shares[axis]
    return shares[0], shares[1]


def stored_size(size: Size, orientation: int) -> Size:
    """Size in the file of an image that is `size` when upright."""
    return (size[1], size[0]) if orientation >= 5 else size


def _flipped(x: Tensor, orientation: int) -> Tensor:
    axes = FLIPS.get(orientation, ())
    return x.flip([axis - 2 for axis in axes]) if axes else x
