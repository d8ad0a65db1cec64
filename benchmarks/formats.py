"""How `auto` does on what cameras and programs write: blurs and noise, in files of several formats.

    python -m benchmarks.formats
    python -m benchmarks.formats --limit 2 --formats png,jpeg90 --noises 0,0.01
    python -m benchmarks.formats --photographs FOLDER
    python -m benchmarks.formats --record FILE.csv --gains
    python -m benchmarks.formats --config blind_deblur --formats correlated+png,bayer+png

Each photograph, at half its size, is blurred by a Gaussian, gets white noise, is stored as a file,
and restored from that file. A line of the table is the mean of the photographs: PSNR in dB of the
file and of what `auto` makes of it, the gain on the photograph that gains least, what `auto` took
the files for, and what a second opinion has chosen where it was against the first result. Settings
are chosen on other photographs than the eight in the public domain that are the default.

Every file of one photograph comes first, then of two, and so on. With `--record`, each outcome is
written as it comes, and what the CSV file holds is not done again: a run that was stopped goes on,
and `--limit 0` prints what is there. `--gains` prints gains alone, a column a format.

A format is a codec and its quality: `png`, `jpeg90`, `webp80`, `avif60`; `rgb90` and `cmyk90` are
JPEGs of other colours, `twice90` one of quality 80 that was cropped and compressed again,
`offgrid90` and `turned90` decoded JPEGs, cropped by (3, 5) or turned by 90 degrees and stored as
PNG. `sharpened+jpeg90` is sharpened before it is stored; `enlarged` and `gamma` are other words
that may stand there. `correlated+jpeg90` has noise that is smooth, `bayer` that of a sensor that
sees one colour a pixel, and `light` noise whose variance grows with the light.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import statistics
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

import torch
from torch import Tensor

from benchmarks import tables
from benchmarks.kinds import RADIUS
from benchmarks.tasks import SIZE
from benchmarks.written import aligned, degrade, photographs, processed, store
from d2ir_pl import restore
from d2ir_pl.image_io import read_image
from d2ir_pl.priors import Prior, load_prior
from d2ir_pl.priors.memory import keep_freed_memory
from d2ir_pl.priors.precision import DTYPES, resolve
from d2ir_pl.results.metrics import psnr

FORMATS = ("png", "jpeg75", "jpeg85", "jpeg90", "jpeg93", "jpeg95", "jpeg97", "webp80")
"""The formats of the first table; the docstring of this module has more."""
BLURS = (0.0, 1.0, 1.6, 2.5)
NOISES = (0.0, 0.01, 0.03, 0.05)


@dataclass(frozen=True)
class Cell:
    """What became of sharp photographs: blur in pixels, noise in [0, 1], and a format."""

    form: str
    blur: float
    noise: float


@dataclass(frozen=True)
class Outcome:
    """What `auto` made of one file.

    Attributes:
        before: PSNR in dB of the file.
        after: PSNR in dB of what was made of it.
        kinds: what the file was taken for.
        opinion: what a second opinion has chosen.
    """

    before: float
    after: float
    kinds: str
    opinion: str


def trial(path: Path, clean: Tensor, prior: Prior, config: str) -> Outcome:
    """Restore a file by a shipped config."""
    restored = restore(path, config, prior=prior)
    y = read_image(path).pixels[None]
    return Outcome(
        float(psnr(y, clean[None])),
        float(psnr(restored.restoration.x0, clean[None])),
        _kinds(restored.reasons[0]) if restored.reasons else config,
        restored.opinion,
    )


def _kinds(reason: str) -> str:
    """What a photo was taken for, by the names of the degradations."""
    return reason.removesuffix(")").removeprefix("taken for: ").rpartition(" (")[2]


def line(cell: Cell, outcomes: Sequence[Outcome]) -> str:
    """The line of a cell."""
    gains = [o.after - o.before for o in outcomes]
    kinds = counted([o.kinds for o in outcomes])
    opinions = counted([o.opinion for o in outcomes if o.opinion != "agreed"])
    means = (
        statistics.mean(o.before for o in outcomes),
        statistics.mean(o.after for o in outcomes),
    )
    numbers = [f"{value:.2f}" for value in means]
    least = f"{min(gains):+.2f}"
    return tables.row(cell.form, cell.blur or "sharp", cell.noise, *numbers, least, kinds, opinions)


def table(outcomes: Mapping[Cell, Sequence[Outcome]]) -> str:
    """The table with a line a cell."""
    heads = ("file", "blur", "noise", "input", "auto", "least gain", "taken for", "second opinion")
    return "\n".join([tables.head(*heads), *(line(*item) for item in outcomes.items())])


def gains(outcomes: Mapping[Cell, Sequence[Outcome]]) -> str:
    """The table of mean gains and, in brackets, the least, with a column a format."""
    forms = list(dict.fromkeys(cell.form for cell in outcomes))
    rows = dict.fromkeys((cell.blur, cell.noise) for cell in outcomes)
    lines = [tables.head("blur", "noise", *forms)]
    for blur, noise in rows:
        texts = []
        for form in forms:
            found = [o.after - o.before for o in outcomes.get(Cell(form, blur, noise), ())]
            texts.append(f"{statistics.mean(found):+.2f} ({min(found):+.2f})" if found else "")
        lines.append(tables.row(blur or "sharp", noise, *texts))
    return "\n".join(lines)


def counted(names: Sequence[str]) -> str:
    """Names and how often they occur."""
    return ", ".join(f"{name} ({n})" for name, n in Counter(names).most_common())


class Record:
    """The outcomes of a run, in a CSV file if one is given, so that it can be interrupted.

    Args:
        file: the outcomes that it holds are read, and others are added to it.
    """

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self.outcomes: dict[tuple[Cell, str], Outcome] = {}
        if file is not None and file.is_file():
            with file.open(newline="") as lines:
                for form, blur, noise, name, before, after, kinds, opinion in csv.reader(lines):
                    outcome = Outcome(float(before), float(after), kinds, opinion)
                    self.outcomes[Cell(form, float(blur), float(noise)), name] = outcome

    def add(self, cell: Cell, name: str, outcome: Outcome) -> None:
        """Keep what became of a photograph."""
        self.outcomes[cell, name] = outcome
        if self._file is not None:
            with self._file.open("a", newline="") as lines:
                csv.writer(lines).writerow((*astuple(cell), name, *astuple(outcome)))

    def of(self, cells: Iterable[Cell]) -> dict[Cell, list[Outcome]]:
        """The outcomes of cells, of those that have one."""
        found = {c: [o for (cell, _), o in self.outcomes.items() if cell == c] for c in cells}
        return {cell: outcomes for cell, outcomes in found.items() if outcomes}


def run(
    cells: Sequence[Cell], clean: Mapping[str, Tensor], record: Record, prior: Prior, config: str
) -> None:
    """Restore each photograph in each of the files, but for those that the record holds."""
    names = list(clean)
    with tempfile.TemporaryDirectory() as folder:
        for turn, (number, cell) in itertools.product(range(len(names)), enumerate(cells)):
            # Whatever is done until a run is stopped has about as much of every photograph.
            name = names[(turn + number) % len(names)]
            if (cell, name) in record.outcomes:
                continue
            wide = clean[name]
            process, _, codec = cell.form.rpartition("+")
            inner = wide[:, RADIUS:-RADIUS, RADIUS:-RADIUS]
            y = degrade(wide, cell.blur, cell.noise, name, process)
            y, inner = processed(y, inner, process)
            path = store(y, codec, Path(folder))
            record.add(cell, name, trial(path, aligned(inner, codec), prior, config))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark with the arguments of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--photographs", type=Path, help="a folder; eight of the public domain")
    parser.add_argument("--limit", type=int, help="only the first so many photographs")
    parser.add_argument("--size", type=int, default=SIZE, help="side of the photographs' crops")
    parser.add_argument("--formats", default=",".join(FORMATS), help="some, with commas between")
    parser.add_argument("--blurs", default=",".join(map(str, BLURS)), help="widths in pixels")
    parser.add_argument("--noises", default=",".join(map(str, NOISES)), help="in [0, 1]")
    parser.add_argument("--config", default="auto", help="name of the shipped config")
    parser.add_argument("--record", type=Path, help="a CSV file that outcomes are kept in")
    parser.add_argument("--gains", action="store_true", help="print gains alone")
    options = parser.parse_args(arguments)
    prior = load_prior("natural-small").cast(DTYPES[resolve("auto", torch.device("cpu"))])
    clean = photographs(options.photographs, options.size, options.limit)
    cells = [
        Cell(form, blur, noise)
        for form in options.formats.split(",")
        for blur in map(float, options.blurs.split(","))
        for noise in map(float, options.noises.split(","))
    ]
    record = Record(options.record)
    run(cells, clean, record, prior, options.config)
    outcomes = record.of(cells)
    print(gains(outcomes) if options.gains else table(outcomes))


if __name__ == "__main__":
    keep_freed_memory()
    main()
