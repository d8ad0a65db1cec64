"""How much memory there is, what a computation takes, and how the C library hands it back."""

from __future__ import annotations

import ctypes
import os
import sys
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

# Where Linux says how much memory a group of processes may take, by version of its control groups.
_GROUPS, _FIRST_VERSION = "/sys/fs/cgroup", "/sys/fs/cgroup/memory/memory.limit_in_bytes"

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


def total_memory(device: str | torch.device) -> int:
    """Bytes that programs can have on a device; on a CPU no more than this process is allowed."""
    device = torch.device(device)
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    if device.type == "mps":
        return int(torch.mps.recommended_max_memory())
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for path in _limits():
        try:
            total = min(total, int(path.read_text(encoding="ascii")))
        except (OSError, ValueError):  # no limit
            continue
    return total


def _limits() -> list[Path]:
    """The files with the limits of this process's control group and those around it."""
    try:
        lines = Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:  # another system
        return []
    group = next((line[3:] for line in lines if line.startswith("0::")), "/")
    folder = Path(_GROUPS + group)
    around = [folder, *folder.parents][: len(folder.parents) - 2]
    return [*(path / "memory.max" for path in around), Path(_FIRST_VERSION)]


class AllocationCounter(TorchDispatchMode):
    """Counts the bytes of all tensors that the operations inside create.

    Attributes:
        peak: the most that were there at one time. What an operation takes for itself while it
            computes is not seen.
    """

    def __init__(self) -> None:
        super().__init__()
        self.live = self.peak = 0
        self._known: weakref.WeakSet[torch.UntypedStorage] = weakref.WeakSet()

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        for value in tree_leaves((args, kwargs)):
            if isinstance(value, Tensor):  # what was there before, such as weights
                self._known.add(value.untyped_storage())
        output = func(*args, **(kwargs or {}))
        for value in tree_leaves(output):
            if isinstance(value, Tensor):
                self._count(value.untyped_storage())
        self.peak = max(self.peak, self.live)
        return output

    def _count(self, storage: torch.UntypedStorage) -> None:
        if storage not in self._known:
            self._known.add(storage)
            self.live += storage.nbytes()
            weakref.finalize(storage, self._freed, storage.nbytes())

    def _freed(self, size: int) -> None:
        self.live -= size
