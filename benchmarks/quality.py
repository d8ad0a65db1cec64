"""Restoration quality: one table over tasks and methods.

    python -m benchmarks.quality                          # D2IR on public-domain photographs
    python -m benchmarks.quality --tasks all --methods all
    python -m benchmarks.quality --tasks blur_gaussian --methods d2ir,d2ir_known
    python -m benchmarks.quality --size 64 --methods d2ir,gdp_x0,bird
    python -m benchmarks.quality --sweep --tasks blur_gaussian,super_resolution_x2_blind
    python -m benchmarks.quality --data FOLDER            # a degraded set of your own

Prints Markdown, and writes a CSV file and a picture of all results a task under --output. An
interrupted run goes on where it stopped when the same command is given again.
"""

from __future__ import annotations

import argparse
import copy
import csv
import statistics
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from scipy.stats import spearmanr
from torch import Tensor

from benchmarks.classical import CLASSICAL
from benchmarks.plot import draw
from benchmarks.tasks import SIZE, TASKS, Task, make, on_disk, read
from d2ir_pl.degradations import Blur, Degradation, Downsampling, GaussianBlur, Phi
from d2ir_pl.image_io import read_image, write_png
from d2ir_pl.priors import Prior, load_prior
from d2ir_pl.priors.memory import keep_freed_memory
from d2ir_pl.priors.precision import DTYPES, resolve
from d2ir_pl.randomness import image_generator
from d2ir_pl.restoration import D2IR, Problem, RestorationMethod, restore_samples
from d2ir_pl.restoration.baselines import BIRD, DDRM, DPS, GDP, DiffPIR, FastDiffusionEM
from d2ir_pl.restoration.configs import load
from d2ir_pl.results.metrics import kernel_similarity, psnr, ssim

LIGHT = ("low_light", "hdr")
"""Tasks whose degradation GDP estimates itself."""

SLOW_IMAGES = 3
"""How many images the methods of about 1000 evaluations are run on."""


@dataclass(frozen=True)
class Entry:
    """A row of the table.

    Attributes:
        title: of the row.
        method: for a task; None where the pair makes no sense.
        knows: whether it is told phi.
        slow: whether it is run on `SLOW_IMAGES` images.
        samples: how many restorations the result is the mean of.
    """

    title: str
    method: Callable[[Task], RestorationMethod | None]
    knows: bool = True
    slow: bool = False
    samples: int = 1


def shipped(task: Task) -> RestorationMethod:
    """The method of the task's shipped config."""
    return load(task.config).method


def _changed(
    stages: Literal["both", "estimation", "latent"] = "both", **settings: float
) -> Callable[[Task], RestorationMethod | None]:
    """The shipped method with some of its stages, or other settings of stage 1."""

    def method(task: Task) -> RestorationMethod | None:
        both = shipped(task)
        if not isinstance(both, D2IR):
            return None
        estimation = replace(both.estimation, **settings)  # type: ignore[arg-type]
        return D2IR(estimation, both.latent, stages, both.model_error)

    return method


def _known(task: Task) -> RestorationMethod:
    """The shipped method for one who knows phi: nothing is left that it cannot express."""
    method = shipped(task)
    return D2IR(method.estimation, method.latent) if isinstance(method, D2IR) else method


def _gdp(variant: str) -> Callable[[Task], RestorationMethod]:
    scales = {"super_resolution_x4": 2000.0, "inpainting_random": 4000.0, "inpainting_box": 4000.0}
    scales |= dict.fromkeys(LIGHT, 80_000.0)
    return lambda task: GDP(variant, scales.get(task.name, 6000.0))  # type: ignore[arg-type]


def _bird(task: Task) -> RestorationMethod:
    # Those without published settings see all of an image, as a blur does.
    if task.name.startswith("blur") or task.name in ("colorization", "jpeg", "old_photo"):
        return BIRD()
    if task.name.startswith("super_resolution"):
        return BIRD(lr=1e-3)
    return BIRD(iterations=200, lr=1e-2)


def _paper(task: Task) -> RestorationMethod | None:
    if not task.name.startswith("blur") and task.name != "super_resolution_x2_blind":
        return None
    return load("d2ir_paper").method


ENTRIES: dict[str, Entry] = {
    "d2ir": Entry("D2IR (shipped config)", shipped, knows=False),
    "fast": Entry("D2IR, config fast", _changed(steps=5, start=80), knows=False),
    "best": Entry("D2IR, config best", _changed(temperature=0.6), knows=False, samples=4),
    "sample": Entry("D2IR, one sample", _changed(temperature=1.0), knows=False),
    "samples": Entry("D2IR, mean of 8 samples", _changed(temperature=1.0), knows=False, samples=8),
    "d2ir_known": Entry("D2IR, degradation known", _known),
    "estimation": Entry("D2IR, stage 1 alone", _changed("estimation"), knows=False),
    "latent": Entry("D2IR, stage 2 alone", _changed("latent"), knows=False),
    "paper": Entry("D2IR, published settings", _paper, knows=False, slow=True),
    "gdp_x0": Entry("GDP-x0, degradation known", _gdp("x0"), slow=True),
    "gdp_blind": Entry(
        "GDP-x0, blind",
        lambda t: _gdp("x0")(t) if t.name in LIGHT else None,
        knows=False,
        slow=True,
    ),
    "gdp_xt": Entry("GDP-xt, degradation known", _gdp("xt"), slow=True),
    "dps": Entry("DPS, degradation known", lambda t: DPS(), slow=True),
    "bird": Entry("BIRD, degradation known", _bird, slow=True),
    "ddrm": Entry("DDRM, degradation known", lambda t: DDRM()),
    "diffpir": Entry("DiffPIR, degradation known", lambda t: DiffPIR()),
    "fast_em": Entry(
        "Fast Diffusion EM",
        lambda t: FastDiffusionEM() if t.name.startswith("blur") else None,
        knows=False,
    ),
}
# With fewer steps the walk starts lower, or they would be too far apart.
_STARTS = {5: {"start": 80}, 6: {"start": 80}, 8: {}, 12: {}, 20: {}}
SWEEP = {
    f"steps_{n}": Entry(f"D2IR, {n} steps", _changed(steps=n, **start), False)
    for n, start in _STARTS.items()
}
SWEEP |= {
    f"samples_{n}": Entry(f"D2IR, mean of {n}", _changed(temperature=0.6), False, samples=n)
    for n in (2, 4, 8, 16)
}
DEFAULT_METHODS = "d2ir,d2ir_known"


def told(task: Task) -> Degradation:
    """The family with the true parameters."""
    degradation = copy.copy(task.degradation)
    degradation.estimated = False
    degradation.init = lambda y, sigma_y: task.phi  # type: ignore[method-assign]
    degradation.free = lambda phi: []  # type: ignore[method-assign]
    return degradation


def asked(task: Task, name: str) -> Degradation:
    """The family as the method has to find it."""
    if name in ("paper", "fast_em") and task.name.startswith("blur"):
        return Blur(border="reflect" if name == "paper" else "extend", start="spectrum")
    return load(task.config).degradation


def run(task: Task, name: str, prior: Prior, seed: int) -> tuple[dict[str, Any], Tensor]:
    """The row of one image, and the restored image; ValueError if the pair makes no sense."""
    entry = {**ENTRIES, **SWEEP}[name]
    method = entry.method(task)
    if method is None:
        raise ValueError("it is not for this task")
    if name == "d2ir_known" and not asked(task, name).estimated:
        raise ValueError("nothing is estimated: see d2ir")
    degradation = told(task) if entry.knows else asked(task, name)
    method.check(degradation, prior)
    start = time.perf_counter()
    generators = [image_generator(seed, task.names[0])]
    problem = Problem.of(task.y, degradation, generators)
    result = restore_samples(method, entry.samples, problem, prior)
    seconds = time.perf_counter() - start
    assert result.reblurred is not None
    row = {
        **score(task, result.x0),
        "reblur": float(psnr(result.reblurred, task.y)) if task.y.ndim == 4 else None,
        "residual_over_sigma": float(result.residual.sqrt() / result.sigma_y),
        "nfe": result.nfe[0],
        "seconds": round(seconds, 3),
    }
    if result.std is not None:
        error = (result.x0 - task.reference).square().mean(1, keepdim=True).sqrt()
        row["calibration"] = float(spearmanr(result.std.flatten(), error.flatten()).statistic)
    if task.kernel is not None:
        found = _kernel(degradation, result.phi)
        row["similarity"] = float(kernel_similarity(found, task.kernel[0]))
    return row, result.x0


def _kernel(degradation: Degradation, phi: Phi) -> Tensor:
    """The kernel `(k, k)` of one image, in pixels of the clean image."""
    if isinstance(degradation, Downsampling):
        taps = degradation.taps(phi)[0]
        return torch.outer(taps, taps)
    assert isinstance(degradation, Blur | GaussianBlur)
    return degradation.kernel(phi)[0]


def score(task: Task, x: Tensor) -> dict[str, Any]:
    """What can be said of any restored image."""
    row: dict[str, Any] = {
        "input": float(psnr(task.shown(), task.reference)),
        "psnr": float(psnr(x, task.reference)),
        "ssim": float(ssim(x, task.reference)),
    }
    if isinstance(task.degradation, Blur):
        row["aligned"] = aligned_psnr(x, task.reference)
    if task.name == "colorization":
        row["grey_psnr"] = float(psnr(task.degradation(x, task.phi), task.y))
        original = colourfulness(task.reference)
        row["colour"] = colourfulness(x) / original if original > 1 else None
    return row


def aligned_psnr(x: Tensor, reference: Tensor, reach: int = 3) -> float:
    """The best PSNR over shifts by whole pixels, without a border of `reach` pixels.

    A free kernel and the image may be shifted against each other, which nobody can see.
    """
    inner = slice(reach, -reach)
    shifts = range(-reach, reach + 1)
    shifted = [torch.roll(x, (dy, dx), (-2, -1)) for dy in shifts for dx in shifts]
    candidates = torch.cat(shifted)[..., inner, inner]
    return float(psnr(candidates, reference[..., inner, inner].expand_as(candidates)).max())


def colourfulness(x: Tensor) -> float:
    """Hasler and Suesstrunk, Measuring colourfulness in natural images, 2003, M^(3)."""
    r, g, b = (x[0] + 1) * 127.5
    rg, yb = r - g, (r + g) / 2 - b
    spread = (rg.var() + yb.var()).sqrt()
    return float(spread + 0.3 * (rg.mean().square() + yb.mean().square()).sqrt())


COLUMNS = ["task", "method", "image", "input", "psnr", "aligned", "ssim", "reblur", "similarity"]
COLUMNS += ["residual_over_sigma", "calibration", "grey_psnr", "colour", "nfe", "seconds"]


class Results:
    """Rows and pictures of a run, written as they come, so that it can be interrupted."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "quality.csv"
        self.rows: dict[tuple[str, str, str], dict[str, Any]] = {}
        if self.file.is_file():
            with self.file.open(newline="") as file:
                for row in csv.DictReader(file):
                    values = {k: _number(v) for k, v in row.items()}
                    self.rows[row["task"], row["method"], row["image"]] = values

    def picture(self, task: str, method: str, image: str) -> Path:
        return self.folder / "restored" / task / method / f"{image}.png"

    def add(self, task: str, method: str, image: str, row: dict[str, Any], x: Tensor) -> None:
        path = self.picture(task, method, image)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_png(path, x[0].clamp(-1, 1))
        new = not self.file.is_file()
        row = {"task": task, "method": method, "image": image, **row}
        with self.file.open("a", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS)
            if new:
                writer.writeheader()
            writer.writerow(row)
        self.rows[task, method, image] = row

    def sheet(self, task: Task, methods: list[str]) -> None:
        """A picture: degraded, each method, clean; a column an image."""
        lines = [task.shown()]
        for method in methods:
            paths = [self.picture(task.name, method, image) for image in task.names]
            done = [read_image(p).pixels if p.is_file() else None for p in paths]
            if any(x is not None for x in done):
                blank = torch.ones_like(task.reference[0])
                lines.append(torch.stack([blank if x is None else x for x in done]))
        lines.append(task.reference)
        sheet = torch.cat([torch.cat(list(images), 2) for images in lines], 1)
        write_png(self.folder / f"{task.name}.png", sheet.clamp(-1, 1))


def _number(text: str) -> Any:
    try:
        return float(text)
    except ValueError:
        return text or None


HEAD = (
    "| task | method | images | input dB | PSNR dB | gain | smallest gain | SSIM | reblur dB "
    "| kernel similarity | U-Net evaluations | s an image |"
)


def line(rows: list[dict[str, Any]], title: str) -> str:
    """Markdown for the images of a task and method."""

    def mean(name: str, digits: int) -> str:
        values = [float(row[name]) for row in rows if row.get(name) is not None]
        return f"{statistics.fmean(values):.{digits}f}" if values else ""

    gains = [float(row["psnr"]) - float(row["input"]) for row in rows]
    return (
        f"| {rows[0]['task']} | {title} | {len(rows)} | {mean('input', 2)} | {mean('psnr', 2)} "
        f"| {statistics.fmean(gains):+.2f} | {min(gains):+.2f} | {mean('ssim', 3)} "
        f"| {mean('reblur', 2)} | {mean('similarity', 3)} | {mean('nfe', 0)} "
        f"| {mean('seconds', 1)} |"
    )


def table(results: Results, tasks: list[str], methods: list[str], names: dict[str, str]) -> str:
    lines = [HEAD, "|" + "---|" * 12]
    for task in tasks:
        for method in methods:
            rows = [r for (t, m, _), r in results.rows.items() if (t, m) == (task, method)]
            if rows:
                lines.append(line(rows, names[method]))
    return "\n".join(lines)


def side_by_side(results: Results, tasks: list[str], names: dict[str, str]) -> str:
    """Mean PSNR of all methods over those images of a task that each of them restored."""
    used = [name for name in names if any(method == name for _, method, _ in results.rows)]
    lines = [f"| task | images | input | {' | '.join(names[name] for name in used)} |"]
    lines.append("|" + "---|" * (len(used) + 3))
    for task in tasks:
        rows = {
            name: {i: r for (t, m, i), r in results.rows.items() if (t, m) == (task, name)}
            for name in used
        }
        done = [set(images) for images in rows.values() if images]
        if not done:
            continue
        common = set.intersection(*done)

        def mean(column: str, images: dict[str, Any], common: set[str] = common) -> str:
            return f"{statistics.fmean(float(images[i][column]) for i in common):.2f}"

        first = next(images for images in rows.values() if images)
        cells = [mean("psnr", images) if images else "" for images in rows.values()]
        lines.append(f"| {task} | {len(common)} | {mean('input', first)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def colours(results: Results, names: dict[str, str]) -> str:
    """For colourisation, where PSNR rewards grey."""
    lines = ["| method | grey of the result against the input dB | colourfulness / original |"]
    lines.append("|---|---|---|")
    for method, title in names.items():
        rows = [r for (t, m, _), r in results.rows.items() if (t, m) == ("colorization", method)]
        if rows:
            grey = statistics.fmean(float(r["grey_psnr"]) for r in rows)
            colour = statistics.fmean(float(r["colour"]) for r in rows if r["colour"] is not None)
            lines.append(f"| {title} | {grey:.2f} | {colour:.2f} |")
    return "\n".join(lines) if len(lines) > 2 else ""


def calibration(results: Results, tasks: list[str]) -> str:
    """Whether pixels where samples differ are those where their mean is wrong."""
    lines = [
        "| task | images | rank correlation of deviation and error | least |",
        "|---|---|---|---|",
    ]
    for task in tasks:
        rows = [r for (t, m, _), r in results.rows.items() if (t, m) == (task, "samples")]
        values = [float(r["calibration"]) for r in rows if r.get("calibration") is not None]
        if values:
            mean = statistics.fmean(values)
            lines.append(f"| {task} | {len(values)} | {mean:.2f} | {min(values):.2f} |")
    return "\n".join(lines) if len(lines) > 2 else ""


def main() -> None:
    names = {name: entry.title for name, entry in ENTRIES.items()}
    names |= {name: method.title for name, method in CLASSICAL.items()}
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", default="all", help=f"of {', '.join(TASKS)}")
    parser.add_argument("--methods", default=DEFAULT_METHODS, help=f"of {', '.join(names)}")
    parser.add_argument("--data", type=Path, help="a degraded set; made from photographs if absent")
    parser.add_argument("--prior", default="natural-small")
    parser.add_argument("--size", type=int, default=SIZE, help="side of the photographs' crops")
    parser.add_argument("--limit", type=int, help="only the first so many images")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--precision", choices=["auto", "bf16", "fp32"], default="auto")
    parser.add_argument(
        "--sweep", action="store_true", help="presets and what lies between them, with a plot"
    )
    parser.add_argument("--output", type=Path, default=Path("results/quality"))
    options = parser.parse_args()
    available = list(TASKS) if options.data is None else on_disk(options.data)
    tasks = available if options.tasks == "all" else options.tasks.split(",")
    methods = list(names) if options.methods == "all" else options.methods.split(",")
    for name in tasks:
        if name not in available:
            parser.error(f"task {name!r} is unknown: use {', '.join(available)} or all")
    if options.sweep:
        methods = [*SWEEP, "ddrm"]
        names |= {name: entry.title for name, entry in SWEEP.items()}
    for name in methods:
        if name not in names:
            parser.error(f"method {name!r} is unknown: use {', '.join(names)} or all")

    precision = resolve(options.precision, "cpu")
    prior = load_prior(options.prior).cast(DTYPES[precision])
    results = Results(options.output)
    images: dict[str, set[str]] = {}
    for task_name in tasks:
        whole = (
            make(task_name, options.size) if options.data is None else read(task_name, options.data)
        )
        whole = whole.part(slice(options.limit))
        for name in methods:
            slow = name in ENTRIES and ENTRIES[name].slow
            for i in range(min(len(whole.names), SLOW_IMAGES) if slow else len(whole.names)):
                task = whole.part(slice(i, i + 1))
                key = (task_name, name, task.names[0])
                if key in results.rows:
                    continue
                try:
                    if name in CLASSICAL:
                        row, x = CLASSICAL[name].run(task, score)
                    else:
                        row, x = run(task, name, prior, options.seed)
                except ValueError as error:
                    print(f"{task_name}, {name}: left out, as {error}", flush=True)
                    break
                results.add(*key, row, x)
            keys = [(task_name, name, image) for image in whole.names]
            done = [results.rows[key] for key in keys if key in results.rows]
            if done:
                print(line(done, names[name]), flush=True)
        results.sheet(whole, methods)
        images[task_name] = set(whole.names)
    # The folder may hold rows of other images, such as crops of another size.
    results.rows = {k: row for k, row in results.rows.items() if k[2] in images.get(k[0], ())}
    if options.sweep:
        rows = {key: row for key, row in results.rows.items() if key[1] in methods}
        draw(rows, options.output / "sweep.png", {"ddrm": names["ddrm"]})
    print("\n" + table(results, tasks, methods, names))
    shown_names = {name: names[name] for name in methods}
    print("\nMean PSNR over the images that all methods of a line restored:\n")
    print(side_by_side(results, tasks, shown_names))
    if shown := calibration(results, tasks):
        print("\n" + shown)
    if shown := colours(results, names):
        print("\n" + shown)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    keep_freed_memory()
    main()
