"""How the C library hands memory back."""

from __future__ import annotations

import ctypes
import sys

# Numbers of <malloc.h>.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4


def keep_freed_memory() -> bool:
    """Let this process keep the large blocks that it frees instead of returning them to the system.

    By default glibc maps every large tensor anew, and the system clears its pages: on a CPU a
    third of a U-Net's time. Only for programs: it changes the allocator of the whole process.

    Returns:
        Whether the C library took the settings; others than glibc do not know them.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    settings = ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, 2**31 - 1), (_M_TOP_PAD, 2**26))
    return all(mallopt(number, value) == 1 for number, value in settings)
