"""One run of `predict` over many small photos, and what the program keeps of them in memory.

    python -m benchmarks.long_run
    python -m benchmarks.long_run --count 2000 --data.num_workers 1

Further options are those of `predict`. Prints what the program has in memory after a tenth of the
photos and at their end; the exit status is 1 where that grew by more than `GROWTH`.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks import tables
from benchmarks.visits import GROWTH, memory, photo

SIDE = 48
"""Height and width of a photo in pixels."""

FAST = "--model.method.stages estimation --model.method.estimation.steps 2 --progress none"
"""Options that keep a restoration short; all results are written as usual."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Restore photos with the arguments of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=200, help="number of photos")
    options, more = parser.parse_known_args(arguments)
    with TemporaryDirectory() as folder:
        inputs, output = Path(folder) / "in", Path(folder) / "out"
        inputs.mkdir()
        for number in range(options.count):
            (inputs / f"{number:05d}.png").write_bytes(photo(number, SIDE))
        where = ["--data.inputs", str(inputs), "--output", str(output)]
        command = [sys.executable, "-m", "d2ir_pl", "predict", *where, *FAST.split(), *more]
        begun = time.monotonic()
        sizes = _sizes(subprocess.Popen(command), output / "restored", options.count)
        pace = (time.monotonic() - begun) / options.count
    before, after = sizes[len(sizes) // 10], sizes[-1]
    growth = after / before - 1
    print(tables.head("photos", "seconds a photo", "MB after a tenth", "at the end", "growth"))
    row = (f"{pace:.2f}", f"{before:.0f}", f"{after:.0f}", f"{growth:.1%}")
    print(tables.row(options.count, *row))
    return 1 if growth > GROWTH else 0


def _sizes(program: subprocess.Popen[bytes], restored: Path, count: int) -> list[float]:
    """What a program has in memory after each of its photos, in MB."""
    sizes: list[float] = []
    while program.poll() is None and len(sizes) < count:
        done = len(list(restored.glob("*.png"))) if restored.is_dir() else 0
        if done > len(sizes):
            sizes += [memory(program.pid)] * (done - len(sizes))
            if done % 100 == 0:
                print(f"{done}: {sizes[-1]:.0f} MB", file=sys.stderr)
        time.sleep(0.2)
    assert not program.wait(), "the run has failed"
    assert len(sizes) == count, f"{len(sizes)} photos are restored"
    return sizes


if __name__ == "__main__":
    sys.exit(main())
