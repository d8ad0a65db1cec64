"""How long the shipped settings take, by numbers of pixels; nothing heavy is imported for it."""

from __future__ import annotations

import os
from pathlib import Path

LARGE = 6_000_000
"""Pixels of all photos from which it is said at once how long a CPU will take for them."""

SECONDS_A_PIXEL = 2e-5
"""Seconds a pixel on two CPU cores in float32: 4 minutes for 12 megapixels."""

IN_BFLOAT16 = 3 / 4
"""Share of these where the prior computes in bfloat16, and the processor has arithmetic for it."""

COSTS = {"fast": 5 / 8, "best": 4.0, "denoising": 0.3}
"""How often the usual time a config takes, where that is not once."""

LOOKING = 8e-7
"""Seconds a pixel on two CPU cores to look at a photo: 10 s for 12 megapixels."""


def usual_seconds(pixels: int, precision: str = "auto") -> float:
    """About how long it takes to restore so many pixels on the cores of this computer.

    Args:
        pixels: number of pixels.
        precision: name that Lightning has for what the prior computes in, or `auto`.
    """
    half = precision in ("auto", "bf16-mixed", "bf16") and multiplies_in_bfloat16()
    return pixels * SECONDS_A_PIXEL * (IN_BFLOAT16 if half else 1.0) * 2 / cores()


def multiplies_in_bfloat16() -> bool:
    """Whether the processor has arithmetic for bfloat16, where the system is Linux; else False."""
    try:
        words = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").split()
    except OSError:
        return False
    return not {"avx512_bf16", "amx_bf16"}.isdisjoint(words)


def seconds_of_looking(pixels: int) -> float:
    """About how long it takes to see what is wrong with a photo of so many pixels."""
    return pixels * LOOKING * 2 / cores()


def in_time(seconds: float) -> str:
    """A time in the largest unit that says it well, such as `40 s`, `5 min` or `2 h`."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"


def cores() -> int:
    """The number of CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1
