"""Restorations under the field's protocols, beside what papers report of them.

    python -m benchmarks.protocol --list
    python -m benchmarks.protocol --protocol motion,sr4 --evaluations 40 --record results/field.csv
    python -m benchmarks.protocol --protocol motion --images FOLDER --prior ffhq-256
    python -m benchmarks.protocol --protocol box --images FOLDER --prior imagenet-256 --limit 100

Photographs of 256x256 pixels are degraded as papers do it (`protocols.py`) and restored by methods
of the quality table. With `--record`, each result is kept as it comes, pictures in a folder beside
the file, so that a run that was stopped goes on. Every method is run on one photograph before any
is run on the next. `--evaluations` cuts the number of network evaluations of methods that take
more, and the tables say which were cut.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from benchmarks import tables
from benchmarks.methods import ENTRIES
from benchmarks.protocols import PROTOCOLS, SIZE, Protocol, photograph
from benchmarks.quality import run
from benchmarks.results import Results
from benchmarks.scores import Row, fid
from benchmarks.shake_set import photographs
from benchmarks.tasks import Task
from d2ir_pl.diffusion.randomness import image_generator, normal_like
from d2ir_pl.errors import UserError
from d2ir_pl.image_io import read_image
from d2ir_pl.priors import Prior, load_prior
from d2ir_pl.priors.memory import keep_freed_memory
from d2ir_pl.priors.precision import DTYPES, resolve
from d2ir_pl.restoration import RestorationMethod
from d2ir_pl.restoration.baselines import BIRD, DAPS, FastDiffusionEM, GibbsDDRM
from d2ir_pl.results.metrics import lpips

METHODS = {
    True: ("d2ir", "gibbs_ddrm", "fast_em", "d2ir_known", "diffpir", "pigdm"),
    False: ("d2ir", "ddrm", "ddnm", "diffpir", "pigdm", "red_diff", "daps"),
}
"""The methods that are run if none are named: where a kernel is sought, and elsewhere."""

COLUMNS = (
    *("task", "method", "image", "input", "psnr", "aligned", "ssim", "lpips", "reblur"),
    *("similarity", "kernel_rmse", "residual_over_sigma", "nfe", "seconds"),
)


@dataclass(frozen=True)
class Options:
    """What holds for all protocols of a run.

    Attributes:
        prior: name of the prior.
        noise: noise in place of the protocols' own, in [-1, 1]; None for their own.
        size: side of the photographs in pixels.
        seed: seed of the restorations.
        evaluations: largest number of network evaluations; None for as many as methods take.
    """

    prior: str
    noise: float | None = None
    size: int = SIZE
    seed: int = 0
    evaluations: int | None = None

    def label(self, name: str) -> str:
        """What the results of a protocol are kept under."""
        noise = PROTOCOLS[name].noise if self.noise is None else self.noise
        parts = [name, f"noise{noise:g}", Path(self.prior).stem, f"{self.size}px"]
        parts += [f"seed{self.seed}"] if self.seed else []
        return "_".join(parts)


# ---- What is restored ----


def degraded(protocol: Protocol, name: str, image: Tensor, noise: float) -> Task:
    """One photograph under a protocol, with everything that is known about it.

    Args:
        protocol: the protocol.
        name: name of the photograph, which its damage depends on.
        image: `(3, H, W)` in [-1, 1].
        noise: standard deviation of the noise that is added to values in [-1, 1].
    """
    generator = image_generator(0, f"protocol/{protocol.about}/{name}")
    clean = image[None]
    damage = protocol.draw(generator, (image.shape[-2], image.shape[-1]))
    y = damage.applied(damage.applied.frame.embed(clean), damage.phi)
    added = noise * normal_like(y, [generator])
    if protocol.config == "colorization":
        added = added[:, :1].expand_as(y)  # a grey photo has one channel
    if "mask" in damage.phi:
        added = added * damage.phi["mask"]
    kernel = None if damage.kernel is None else damage.kernel[None]
    # Names of tasks tell methods what they are for.
    task = f"{'blur' if protocol.blur else 'other'}_{protocol.config}"
    return Task(
        task,
        protocol.config,
        [name],
        y + added,
        clean,
        damage.family,
        damage.phi,
        kernel,
        damage.unknown,
    )


def moved(task: Task, device: torch.device) -> Task:
    """A task on another device."""
    kernel = None if task.kernel is None else task.kernel.to(device)
    y, reference = task.y.to(device), task.reference.to(device)
    return replace(task, y=y, reference=reference, phi=task.phi.to(device), kernel=kernel)


def pictures(folder: Path | None, size: int, limit: int | None) -> Iterator[tuple[str, Tensor]]:
    """Names and squares of the photographs, without those that are smaller than that."""
    count = 0
    for file in photographs(folder):
        if limit is not None and count >= limit:
            return
        pixels = read_image(file).pixels
        if min(pixels.shape[-2:]) < size:
            print(f"{file.name}: left out, as it is smaller than {size}x{size} pixels", flush=True)
            continue
        count += 1
        yield file.stem, photograph(pixels, size)


# ---- Budgets ----


def cut(method: RestorationMethod, evaluations: int | None) -> RestorationMethod:
    """A method with fewer steps, so that it takes so many network evaluations or a few more.

    D2IR is left as it is: it takes 8 or 20, and more only where its second stage runs.
    """
    if evaluations is None:
        return method
    name, a_step = "steps", 1.0
    if isinstance(method, DAPS):
        name, a_step = "annealing_steps", float(method.ode_steps)
    elif isinstance(method, BIRD):
        name, a_step = "iterations", float(method.ddim_steps)
    elif isinstance(method, GibbsDDRM):
        a_step = 1 + method.kernel_start * method.rounds
    elif isinstance(method, FastDiffusionEM):
        a_step = float(method.samples)
    steps = getattr(method, name, None)
    if steps is None or steps * a_step <= evaluations:
        return method
    fewer = copy.copy(method)
    setattr(fewer, name, max(1, int(evaluations / a_step)))
    return fewer


def kept_as(name: str, method: RestorationMethod | None, evaluations: int | None) -> str:
    """The name that results of a method are kept under: what was cut is part of it."""
    if method is None or cut(method, evaluations) is method:
        return name
    return f"{name}_{evaluations}"


# ---- A run ----


def restore(
    name: str, task: Task, methods: Sequence[str], prior: Prior, options: Options, results: Results
) -> None:
    """Restore one photograph by methods, but for those whose result is kept already."""
    label, image = options.label(name), task.names[0]
    change = _cutting(options.evaluations)
    for method in methods:
        kept = kept_as(method, ENTRIES[method].method(task), options.evaluations)
        if image in results.of(label, kept):
            continue
        try:
            row, x = run(task, method, prior, options.seed, change)
        except (UserError, ValueError) as error:
            print(f"{name}, {method}: left out, as {error}", flush=True)
            continue
        distance = lpips(x, task.reference)
        row["lpips"] = None if distance is None else float(distance)
        results.add(label, kept, image, row, x.cpu())
        gain = float(row["psnr"]) - float(row["input"])
        print(
            f"{name}, {image}, {kept}: {row['psnr']:.2f} dB ({gain:+.2f}), {row['nfe']} "
            f"evaluations, {row['seconds']:.0f} s",
            flush=True,
        )


def _cutting(evaluations: int | None) -> Callable[[RestorationMethod], RestorationMethod]:
    return lambda method: cut(method, evaluations)


# ---- Tables ----


def own_table(
    name: str, methods: Sequence[str], tasks: Sequence[Task], options: Options, results: Results
) -> str:
    """A line for each method under a protocol.

    Args:
        name: name of the protocol.
        methods: names of the methods.
        tasks: the photographs.
        options: what holds for the run.
        results: the results.
    """
    label = options.label(name)
    lines = [
        tables.head(
            *("method", "told the degradation", "photos", "input dB", "PSNR dB", "best shift"),
            *("worst photo", "SSIM", "LPIPS", "FID", "kernel RMSE", "MNC", "evaluations", "s"),
        )
    ]
    images = {task.names[0]: task.reference for task in tasks}
    for method in methods:
        kept = kept_as(method, ENTRIES[method].method(tasks[0]), options.evaluations)
        done = results.of(label, kept)
        rows = {image: row for image, row in done.items() if image in images}
        if not rows:
            continue
        entry = ENTRIES[method]
        worst = min(rows, key=lambda image: _gain(rows[image]))
        shown = [read_image(results.picture(label, kept, image)).pixels for image in rows]
        references = torch.cat([images[image] for image in rows]).cpu()
        distance = fid(torch.stack(shown), references)
        cut_to = "" if kept == method else f", cut to {options.evaluations}"
        family = tasks[0].unknown
        told = entry.knows or family is None or not family.estimated
        values = list(rows.values())
        lines.append(
            tables.row(
                f"{entry.title.removesuffix(', degradation known')}{cut_to}",
                "yes" if told else "no",
                len(rows),
                _mean(values, "input", ".2f"),
                _mean(values, "psnr", ".2f"),
                _mean(values, "aligned", ".2f"),
                f"{worst} {_gain(rows[worst]):+.2f}",
                _mean(values, "ssim", ".3f"),
                _mean(values, "lpips", ".3f"),
                "" if distance is None else f"{distance:.1f}",
                _mean(values, "kernel_rmse", ".1e") if not told else "",
                _mean(values, "similarity", ".3f") if not told else "",
                _mean(values, "nfe", ".0f"),
                _mean(values, "seconds", ".0f"),
            )
        )
    return "\n".join(lines)


def reported_table(protocol: Protocol) -> str:
    """What papers report of a protocol; empty if nothing is known."""
    if not protocol.reported:
        return ""
    titles = ("method", "source", "prior and photos", "PSNR dB", "SSIM", "LPIPS", "FID")
    lines = [tables.head(*titles, "kernel RMSE", "MNC", "remark", "")]
    for line in protocol.reported:
        scores = [
            "" if value is None else format(value, form)
            for value, form in (
                *((line.psnr, ".2f"), (line.ssim, ".3f"), (line.lpips, ".3f"), (line.fid, ".2f")),
                *((line.kernel_rmse, ".1e"), (line.mnc, ".3f")),
            )
        ]
        cells = (line.method, line.source, line.prior, *scores, line.remark, "not run here")
        lines.append(tables.row(*cells))
    return "\n".join(lines)


def _gain(row: Row) -> float:
    return float(row["psnr"]) - float(row["input"])


def _mean(rows: Sequence[Row], column: str, form: str) -> str:
    values = [float(row[column]) for row in rows if row.get(column) is not None]
    return format(statistics.fmean(values), form) if values else ""


def report(
    name: str, methods: Sequence[str], tasks: Sequence[Task], options: Options, results: Results
) -> None:
    """Print what was found under a protocol, and what papers report of it."""
    protocol = PROTOCOLS[name]
    noise = protocol.noise if options.noise is None else options.noise
    print(
        f"\n{name}: {protocol.about}; noise {noise:g} of values in [-1, 1], prior {options.prior}"
    )
    print(f"Used by {', '.join(protocol.papers)}.\n")
    print(own_table(name, methods, tasks, options, results))
    if known := reported_table(protocol):
        own = "" if noise == protocol.noise else f", with their noise of {protocol.noise:g}"
        print(f"\nReported by papers{own}, with other photographs and priors; not run here:\n")
        print(known, flush=True)


def listing() -> str:
    """The protocols, one a line."""
    lines = [tables.head("protocol", "degradation", "noise", "papers")]
    for name, protocol in PROTOCOLS.items():
        papers = ", ".join(protocol.papers)
        lines.append(tables.row(name, protocol.about, f"{protocol.noise:g}", papers))
    return "\n".join(lines)


# ---- The command ----


def chosen(parser: argparse.ArgumentParser, text: str | None, known: Sequence[str]) -> list[str]:
    """The names in an option, all of which have to be known; none if it is not given."""
    names = [] if text is None else list(known) if text == "all" else text.split(",")
    for name in names:
        if name not in known:
            parser.error(f"{name!r} is unknown: use {', '.join(known)} or all")
    return names


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
    parser.add_argument("--device", default="auto", help="cpu, cuda; a GPU where there is one")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--record", type=Path, help="a CSV file that results are kept in")
    given = parser.parse_args(arguments)
    if given.list:
        print(listing())
        return
    names = chosen(parser, given.protocol, list(PROTOCOLS))
    methods = chosen(parser, given.methods, list(ENTRIES))
    options = Options(given.prior, given.noise, given.size, given.seed, given.evaluations)
    gpu = torch.cuda.is_available()
    device = torch.device(("cuda" if gpu else "cpu") if given.device == "auto" else given.device)
    prior = load_prior(given.prior).to(device).cast(DTYPES[resolve(given.precision, device)])
    with tempfile.TemporaryDirectory() as temporary:
        record = given.record or Path(temporary) / "record.csv"
        results = Results(record.with_suffix(""), record, COLUMNS)
        for name in names:
            protocol = PROTOCOLS[name]
            asked = methods or METHODS[protocol.blur]
            noise = protocol.noise if options.noise is None else options.noise
            tasks = []
            for image, pixels in pictures(given.images, given.size, given.limit):
                task = moved(degraded(protocol, image, pixels, noise), device)
                restore(name, task, asked, prior, options, results)
                tasks.append(task)
            if tasks:
                report(name, asked, tasks, options, results)


if __name__ == "__main__":
    keep_freed_memory()
    main()
