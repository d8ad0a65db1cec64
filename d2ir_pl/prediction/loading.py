"""Batches from processes that read ahead, which may die, or wait for ever, and end no run.

A process that reads ahead is a copy of the program, as one that reads a file is (`image_io`): it
has the locks that other threads held when it was made, and waits for ever where it needs one.
"""

from __future__ import annotations

import multiprocessing
import signal
import threading
from collections.abc import Iterator
from typing import Any

from rich.console import Console
from torch.utils.data import DataLoader

from d2ir_pl.console import say
from d2ir_pl.image_io.watched import Asleep

GONE = (
    "a process that reads photos ahead has ended (it was killed, or ran out of memory): the photos "
    "that are left are read without it"
)
ASLEEP = (
    "the processes that read photos ahead do nothing any more: the photos that are left are read "
    "without them"
)

LOOK, IDLE = 5.0, 30.0
"""Seconds after which it is looked at what processes do that send nothing, and seconds that they
may do nothing while a batch is waited for. Those that wait for a slow disk alone are given up too,
and the program waits for it itself."""


class PhotoLoader(DataLoader[Any]):
    """A DataLoader that reads itself what its worker processes leave when they die or hang.

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
        self.timeout = LOOK
        others = set(multiprocessing.active_children())
        batches = super().__iter__()
        workers = [p for p in multiprocessing.active_children() if p not in others]
        if before is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGCHLD, before)
        done, asleep = 0, Asleep(p.pid for p in workers if p.pid)
        while True:
            try:
                batch = next(batches)
            except StopIteration:
                return
            except RuntimeError as error:
                if "DataLoader timed out" in str(error):
                    if not asleep.for_longer_than(IDLE):
                        continue
                    reason = ASLEEP
                    for process in workers:  # none of them hears a request to end
                        process.kill()
                elif "DataLoader worker" in str(error):
                    reason = GONE
                else:
                    raise
                break
            done += 1
            yield batch
            asleep = Asleep(p.pid for p in workers if p.pid)
        del batches  # which ends the other processes
        say(Console(stderr=True), reason)
        for index in list(self.sampler)[done:]:
            yield self.dataset[index]
