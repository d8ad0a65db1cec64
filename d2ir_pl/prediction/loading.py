"""Batches from processes that read ahead, which may die without ending the run."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from typing import Any

from rich.console import Console
from torch.utils.data import DataLoader

from d2ir_pl.console import say

GONE = (
    "a process that reads photos ahead has ended (it was killed, or ran out of memory): the photos "
    "that are left are read without it"
)


class PhotoLoader(DataLoader[Any]):
    """A DataLoader that reads itself what its worker processes leave when one of them dies.

    PyTorch lets the end of a worker raise an error wherever the program happens to be, which would
    be taken for a fault of the photo that is being restored. Here it is noticed where the next
    batch is waited for.
    """

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        return self._all() if self.num_workers else iter(super().__iter__())

    def _all(self) -> Iterator[Any]:
        before = signal.getsignal(signal.SIGCHLD)
        if getattr(before, "__module__", "").startswith("torch."):  # of an earlier DataLoader
            before = signal.SIG_DFL
        batches = super().__iter__()
        if before is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGCHLD, before)
        done = 0
        while True:
            try:
                batch = next(batches)
            except StopIteration:
                return
            except RuntimeError as error:
                if "DataLoader worker" not in str(error):
                    raise
                break
            done += 1
            yield batch
        del batches  # which ends the other processes
        say(Console(stderr=True), GONE)
        for index in list(self.sampler)[done:]:
            yield self.dataset[index]
