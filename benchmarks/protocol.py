"""Restorations under the field's protocols, beside what papers report of them.

    python -m benchmarks.protocol --list
    python -m benchmarks.protocol --protocol motion,sr4 --evaluations 40 --record results/field.csv
    python -m benchmarks.protocol --protocol motion --images FOLDER --prior ffhq-256
    python -m benchmarks.protocol --protocol box --images FOLDER --prior imagenet-256 --limit 100

Photographs of 256x256 pixels are degraded as papers do it (`protocols.py`) and restored by methods
of the quality table. With `--record`, each result is kept as it comes, pictures in a folder beside
the file, so that a run that was stopped goes on. Every method is run on one photograph before any
is run on the next. `--evaluations` cuts the number of network evaluations of methods that take
more (`budgets.py`), and the tables (`protocol_tables.py`) say which were cut.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks import tables
from benchmarks.budgets import cut, kept_as
from benchmarks.methods import ENTRIES
from benchmarks.protocol_tables import found, gain, listing, reported
from benchmarks.protocol_tasks import degraded, moved, pictures
from benchmarks.protocols import PROTOCOLS, SIZE, Protocol
from benchmarks.quality import run
from benchmarks.results import Results
from benchmarks.tasks import Task
from d2ir_pl.errors import DeviceError, OutputError, UsageError, UserError, require
from d2ir_pl.image_io import read_image
from d2ir_pl.priors import Prior, load_prior
from d2ir_pl.priors.memory import keep_freed_memory
from d2ir_pl.priors.precision import DTYPES, resolve
from d2ir_pl.results.metrics import lpips

BLUR_METHODS = ("d2ir", "gibbs_ddrm", "fast_em", "d2ir_known", "diffpir", "pigdm")
"""The methods that are run on blurred photographs if none are named; the first three are blind."""
OTHER_METHODS = ("d2ir", "ddrm", "ddnm", "diffpir", "pigdm", "red_diff", "daps")
"""Those that are run on others."""

COLUMNS = (
    *("task", "method", "image", "input", "psnr", "aligned", "ssim", "lpips", "reblur"),
    *("similarity", "kernel_rmse", "residual_over_sigma", "nfe", "seconds"),
)
"""What is kept of each restoration."""


@dataclass(frozen=True)
class Options:
    """What holds for all protocols of a run.

    Attributes:
        prior: name of the prior.
        images: folder with photographs; None for those in the public domain.
        limit: number of photographs at most; None for all.
        noise: noise in place of the protocols' own, in [-1, 1]; None for their own.
        size: side of the photographs in pixels.
        seed: seed of the restorations.
        evaluations: largest number of network evaluations; None for as many as methods take.

    Raises:
        ValueError: for numbers out of their range.
    """

    prior: str
    images: Path | None = None
    limit: int | None = None
    noise: float | None = None
    size: int = SIZE
    seed: int = 0
    evaluations: int | None = None

    def __post_init__(self) -> None:
        require("size", self.size, 32)
        for name, least in (("limit", 1), ("noise", 0), ("evaluations", 1)):
            value = getattr(self, name)
            if value is not None:
                require(name, value, least)

    def noise_of(self, protocol: Protocol) -> float:
        """Standard deviation of the noise that is added to values in [-1, 1]."""
        return protocol.noise if self.noise is None else self.noise

    def label(self, name: str) -> str:
        """What the results of a protocol are kept under."""
        noise = f"noise{self.noise_of(PROTOCOLS[name]):g}"
        parts = [name, noise, Path(self.prior).stem, f"{self.size}px"]
        parts += [] if self.images is None else [self.images.resolve().name]
        parts += [f"seed{self.seed}"] if self.seed else []
        return "_".join(parts)


# ---- A run ----


def restore(
    name: str, task: Task, methods: Sequence[str], prior: Prior, options: Options, results: Results
) -> list[str]:
    """Restore one photograph by methods, but for those whose result is kept already.

    Returns:
        The methods that are not for this protocol.
    """
    label, image, unfit = options.label(name), task.names[0], []
    for method in methods:
        kept = kept_as(method, ENTRIES[method].method(task), options.evaluations)
        if image in results.of(label, kept):
            continue
        try:
            row, x = run(task, method, prior, options.seed, lambda m: cut(m, options.evaluations))
        except ValueError as error:
            print(f"{name}: without {method}, as {error}", flush=True)
            unfit.append(method)
            continue
        distance = lpips(x, task.reference)
        row["lpips"] = None if distance is None else float(distance)
        results.add(label, kept, image, row, x.cpu())
        print(
            f"{name}, {image}, {kept}: {row['psnr']:.2f} dB ({gain(row):+.2f}), {row['nfe']} "
            f"evaluations, {row['seconds']:.0f} s",
            flush=True,
        )
    return unfit


def table(
    name: str, methods: Sequence[str], tasks: Sequence[Task], options: Options, results: Results
) -> str:
    """A line for each method under a protocol, of the photographs that it has restored."""
    label, lines = options.label(name), []
    clean = {task.names[0]: task.reference[0].cpu() for task in tasks}
    family = tasks[0].unknown
    for method in methods:
        entry = ENTRIES[method]
        kept = kept_as(method, entry.method(tasks[0]), options.evaluations)
        rows = {image: row for image, row in results.of(label, kept).items() if image in clean}
        if not rows:
            continue
        title = entry.title.removesuffix(", degradation known")
        title += "" if kept == method else f", cut to {options.evaluations}"
        told = entry.knows or family is None or not family.estimated
        shown = [read_image(results.picture(label, kept, image)).pixels for image in rows]
        lines.append(found(title, told, rows, shown, torch.stack([clean[i] for i in rows])))
    return tables.of(lines)


def protocol_run(
    name: str,
    methods: Sequence[str],
    prior: Prior,
    device: torch.device,
    options: Options,
    results: Results,
) -> None:
    """Restore all photographs under a protocol, and print what was found beside what is reported.

    Args:
        name: name of the protocol.
        methods: names of the methods; none for the usual ones.
        prior: the prior, on the device.
        device: where photographs are restored.
        options: what holds for the run.
        results: where results are kept.
    """
    protocol = PROTOCOLS[name]
    asked = methods or (BLUR_METHODS if protocol.blur else OTHER_METHODS)
    noise, serving, tasks = options.noise_of(protocol), list(asked), []
    for image, pixels in pictures(options.images, options.size, options.limit):
        tasks.append(degraded(protocol, image, pixels, noise))
        unfit = restore(name, moved(tasks[-1], device), serving, prior, options, results)
        serving = [method for method in serving if method not in unfit]
    print(
        f"\n{name}: {protocol.about}; noise {noise:g} of values in [-1, 1], prior {options.prior}\n"
        f"Used by {', '.join(protocol.papers)}.\n\n{table(name, asked, tasks, options, results)}"
    )
    if known := reported(protocol):
        own = "" if noise == protocol.noise else f", with their noise of {protocol.noise:g}"
        print(f"\nReported by papers{own}, with other photographs and priors; not run here:\n")
        print(known, flush=True)


# ---- The command ----


def chosen(text: str | None, known: Sequence[str]) -> list[str]:
    """The names in an option; none if it is not given.

    Raises:
        UsageError: if one is not known.
    """
    names = [] if text is None else list(known) if text == "all" else text.split(",")
    for name in names:
        if name not in known:
            raise UsageError(f"{name!r} is unknown: use {', '.join(known)} or all")
    return names


def usable(device: str) -> torch.device:
    """The device of an option; `auto` is a GPU where there is one.

    Raises:
        DeviceError: if it is a GPU and there is none.
    """
    gpu = torch.cuda.is_available()
    if device == "cuda" and not gpu:
        raise DeviceError("PyTorch sees no GPU for --device cuda: use --device cpu")
    return torch.device(("cuda" if gpu else "cpu") if device == "auto" else device)


def opened(record: Path) -> Results:
    """What a file and the folder beside it keep of earlier runs.

    Raises:
        OutputError: if they cannot be written.
    """
    try:
        record.with_suffix("").mkdir(parents=True, exist_ok=True)
        record.touch()
    except OSError as error:
        raise OutputError(
            f"{record} cannot be written ({error.strerror}): let --record name a file in a folder "
            "that you can write to"
        ) from None
    return Results(record.with_suffix(""), record, COLUMNS)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark with the arguments of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--protocol", default="motion", help="some, with commas between, or all")
    parser.add_argument("--list", action="store_true", help="list the protocols and stop")
    parser.add_argument("--images", type=Path, help="a folder; eight of the public domain")
    parser.add_argument("--prior", default="natural-small", help="name, file or folder")
    parser.add_argument("--methods", help=f"of {', '.join(ENTRIES)}; those of the protocol")
    parser.add_argument("--noise", type=float, help="in place of the protocol's, as 0.01 or 0.02")
    parser.add_argument("--limit", type=int, help="only the first so many photographs")
    parser.add_argument("--size", type=int, default=SIZE, help="side of the photographs in pixels")
    parser.add_argument("--evaluations", type=int, help="largest number that a method may take")
    parser.add_argument("--precision", choices=["auto", "bf16", "fp32"], default="auto")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--record", type=Path, help="a CSV file that results are kept in")
    given = parser.parse_args(arguments)
    if given.list:
        print(listing())
        return
    try:
        options = Options(
            *(given.prior, given.images, given.limit, given.noise, given.size, given.seed),
            given.evaluations,
        )
    except ValueError as error:
        parser.error(f"--{error}")
    try:
        names = chosen(given.protocol, list(PROTOCOLS))
        methods = chosen(given.methods, list(ENTRIES))
        device = usable(given.device)
        prior = load_prior(given.prior).to(device).cast(DTYPES[resolve(given.precision, device)])
        with tempfile.TemporaryDirectory() as temporary:
            results = opened(given.record or Path(temporary) / "record.csv")
            for name in names:
                protocol_run(name, methods, prior, device, options, results)
    except UserError as error:
        parser.error(str(error))


if __name__ == "__main__":
    keep_freed_memory()
    main()
