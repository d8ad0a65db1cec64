"""Memory that was freed and that the C library keeps: what of it is given back, and when."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from functools import cache

from torch import Tensor

LARGE = 10_000_000
"""Values of a photo from which its parts, such as its colours, are computed one after the other,
and freed memory is given back in between."""


def give_back(photo: Tensor) -> None:
    """Give freed memory back to the system, where a photo is large and on a CPU.

    A program keeps what it frees, for an evaluation of a U-Net takes the same again. Of a large
    photo the gaps that one part of the computation leaves are too small for the next one: after a
    photo of 12 million pixels 4 GB of 5 were gaps. To map 1 GB anew takes about 0.2 s.

    Args:
        photo: what is computed with, of any shape.
    """
    if photo.device.type == "cpu" and photo.numel() > LARGE and (trim := _trim()) is not None:
        trim(0)


def one_by_one(planes: Tensor) -> tuple[Tensor, ...]:
    """The planes of a large photo, such as its colours, one after the other; of others all at once.

    A computation holds several images of each plane that it is given, and those of all of a large
    photo fill the memory.

    Args:
        planes: `(B, C, h, w)`.

    Returns:
        C parts `(B, 1, h, w)`, or one part, the planes themselves.
    """
    return planes.split(1, 1) if planes[0].numel() > LARGE else (planes,)


@cache
def _trim() -> Callable[[int], int] | None:
    """The C library's function for it, which only glibc has."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        found: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError):
        return None
    return found
