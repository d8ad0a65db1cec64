"""How much memory a device has, how much a computation takes, and whether freed memory is kept."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
import weakref
from pathlib import Path
from typing import Self

import torch
from torch import Tensor

from d2ir_pl.compat import watching_operations

# Linux limits the memory of groups of processes; these files hold the limits in the second and the
# first version of its control groups.
_GROUPS, _FIRST_VERSION = "/sys/fs/cgroup", "/sys/fs/cgroup/memory/memory.limit_in_bytes"

# The numbers of `mallopt`'s parameters in <malloc.h>.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -2, -4, -8


def keep_freed_memory() -> bool:
    """Let this process keep the large blocks that it frees instead of returning them to the system.

    By default glibc maps every large tensor anew, and the system clears its pages: on a CPU a
    third of a U-Net's time. All threads share one heap: in heaps of their own, what the thread of
    one restoration has freed is of no use to that of the next one. Only for programs: it changes
    the allocator of the whole process.

    Returns:
        Whether the C library took the settings, which only glibc knows.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    settings = (
        *((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, 2**31 - 1), (_M_TOP_PAD, 2**26)),
        (_M_ARENA_MAX, 1),
    )
    return all(mallopt(number, value) == 1 for number, value in settings)


def total_memory(device: str | torch.device) -> int:
    """Bytes of memory that this process may use on a device, with those that it uses already.

    Of a GPU that others compute on as well, these are the free ones and its own; on a CPU, no more
    than the process is allowed.
    """
    device = torch.device(device)
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0]) + int(torch.cuda.memory_reserved(device))
    if device.type == "mps":
        return int(torch.mps.recommended_max_memory())
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for path in _limits():
        try:
            total = min(total, int(path.read_text(encoding="ascii")))
        except (OSError, ValueError):  # there is no limit
            continue
    return total


def _limits() -> list[Path]:
    """The files with the limits of this process's control group and of those that contain it."""
    try:
        lines = Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:  # the system is not Linux
        return []
    group = next((line[3:] for line in lines if line.startswith("0::")), "/")
    folder = Path(_GROUPS + group)
    around = [folder, *folder.parents][: len(folder.parents) - 2]
    return [*(path / "memory.max" for path in around), Path(_FIRST_VERSION)]


class AllocationCounter:
    """Counts the bytes of all tensors that the operations in its `with` block create.

    Attributes:
        live: number of bytes that are there now.
        peak: the most bytes that were there at one time. Memory that an operation takes for itself
            while it computes is not counted.
    """

    def __init__(self) -> None:
        self.live = self.peak = 0
        self._known: weakref.WeakSet[torch.UntypedStorage] = weakref.WeakSet()
        self._watching = contextlib.ExitStack()

    def __enter__(self) -> Self:
        self._watching.enter_context(watching_operations(self._watch))
        return self

    def __exit__(self, *exception: object) -> None:
        self._watching.close()

    def _watch(self, inputs: list[Tensor], outputs: list[Tensor]) -> None:
        # Inputs that were not made inside were there before, such as weights.
        self._known.update(tensor.untyped_storage() for tensor in inputs)
        for tensor in outputs:
            self._count(tensor.untyped_storage())
        self.peak = max(self.peak, self.live)

    def _count(self, storage: torch.UntypedStorage) -> None:
        if storage not in self._known:
            self._known.add(storage)
            self.live += storage.nbytes()
            weakref.finalize(storage, self._freed, storage.nbytes())

    def _freed(self, size: int) -> None:
        self.live -= size
