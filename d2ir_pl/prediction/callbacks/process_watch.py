"""Stopping a run of several processes soon after one of them has died."""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from collections.abc import Callable
from datetime import timedelta

import pytorch_lightning as pl
from pytorch_lightning.strategies import DDPStrategy
from torch.distributed import PrefixStore, Store, TCPStore

from d2ir_pl.stopping import KEPT

PULSE = 2.0
"""Seconds between two signs of life."""

PATIENCE = 30.0
"""Seconds without a sign of life after which a process is taken for dead."""


class ProcessWatch(pl.Callback):
    """Every process gives signs of life; where one gives none, the others stop.

    Without it the rest would work on, and then wait for the dead one for as long as the process
    group allows. Signs are counters in the store through which the processes found each other:
    rank 0, which (or whose torchrun) keeps the store, looks at those of all others, and these at
    rank 0's. Whether the processes were started here, on other machines, by torchrun or by SLURM
    makes no difference. A process that is alive, but whose computation hangs, is not noticed.

    Args:
        die: function that ends this process; it is called with a sentence that names the dead one,
            or with None where another process says it. The default prints it and exits.
    """

    def __init__(self, die: Callable[[str | None], None] | None = None) -> None:
        self._die = die or _exit
        self._stopped = threading.Event()
        self._answered = time.monotonic()

    def setup(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,  # noqa: ARG002
        stage: str,  # noqa: ARG002
    ) -> None:
        strategy = trainer.strategy
        if trainer.world_size == 1 or not isinstance(strategy, DDPStrategy):
            return
        environment = strategy.cluster_environment
        assert environment is not None
        address, port = environment.main_address, environment.main_port
        # A connection of its own: that of the process group may be waiting for others.
        store = TCPStore(address, port, is_master=False, timeout=timedelta(seconds=PATIENCE))
        # The store of torchrun is the same when it starts the processes once more.
        prefix = f"d2ir-{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}"
        arguments = (PrefixStore(prefix, store), trainer.global_rank, trainer.world_size)
        threading.Thread(target=self.watch, args=arguments, daemon=True).start()

    def stop(self) -> None:
        """The work is done: processes may end from now on."""
        self._stopped.set()

    def watch(self, store: Store, rank: int, world_size: int) -> None:
        """Give signs of life and look at those of others until `stop` is called."""
        if rank:
            self._answered = time.monotonic()
            threading.Thread(target=self._wait_for_answers, args=[world_size], daemon=True).start()
        others = range(1, world_size) if rank == 0 else [0]
        seen = {other: (0, time.monotonic()) for other in others}
        try:
            store.set(f"host{rank}", socket.gethostname())
            looked = time.monotonic()
            while not self._stopped.wait(PULSE):
                if time.monotonic() - looked > PATIENCE / 2:
                    # This process was stopped itself, and with it perhaps all, as by Ctrl-Z.
                    seen = {other: (count, time.monotonic()) for other, (count, _) in seen.items()}
                looked = time.monotonic()
                store.add(f"pulse{rank}", 1)
                if rank and store.add("stopping", 0):
                    self._end(None)
                    return
                for other, (before, since) in seen.items():
                    count = store.add(f"pulse{other}", 0)
                    if count != before:
                        seen[other] = (count, time.monotonic())
                    elif count and time.monotonic() - since > PATIENCE:
                        host = store.get(f"host{other}").decode()
                        store.add("stopping", 1)
                        time.sleep(2 * PULSE)  # until all have seen that
                        self._lost(other, world_size, f" on {host}")
                        return
                self._answered = time.monotonic()
        except RuntimeError:  # the connection is lost, and with it rank 0
            self._lost(0, world_size, "")

    def _wait_for_answers(self, world_size: int) -> None:
        """A store whose machine is frozen or gone does not answer, and is waited for in vain."""
        while not self._stopped.wait(PULSE):
            if time.monotonic() - self._answered > PATIENCE + 2 * PULSE:
                self._lost(0, world_size, "")
                return

    def _lost(self, rank: int, world_size: int, where: str) -> None:
        self._end(
            f"process {rank + 1} of {world_size} (rank {rank}{where}) has died: "
            f"the run stops; {KEPT}"
        )

    def _end(self, sentence: str | None) -> None:
        if not self._stopped.is_set():
            self._stopped.set()
            self._die(sentence)


def _exit(sentence: str | None) -> None:
    if sentence is not None:
        print(f"d2ir: {sentence}", file=sys.stderr, flush=True)
    os._exit(2)  # the main thread may be waiting for the dead process
