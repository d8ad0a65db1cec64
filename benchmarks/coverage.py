r"""How many true pixels the intervals of restorations hold, and how wide those are.

    python -m benchmarks.coverage
    python -m benchmarks.coverage --tasks blur_gaussian,jpeg --data FOLDER
    python -m benchmarks.coverage --photographs FOLDER --size 96
    python -m benchmarks.coverage --calibrate FOLDER --size 96 --output own.intervals.json
    python -m benchmarks.coverage --calibrate FOLDER --size 96 --output own.intervals.json \
        --tasks blur_gaussian,blur_gaussian_noisy --config best --samples 4
    python -m benchmarks.coverage --calibrate FOLDER --size 96 --output own.intervals.json \
        --tasks soft+jpeg92/80 --config auto

Photographs are degraded as in `benchmarks.quality` and restored `--samples` times each: ones in the
public domain, the clean ones of `--photographs`, or those of `--data`, degraded already. The table
has a row a task: the share of pixel values within their intervals of 90 %, over all photographs,
its least and greatest value among the tenths of the pixels by the local contrast of the restored
image, its standard deviation between photographs, the mean width of the intervals in [0, 1], and
the share for intervals of other levels. Photographs that have no intervals, such as all of a task
that the prior is not calibrated for, are left out.

`--calibrate` makes a calibration instead, from clean photographs outside the training and every
benchmark: each of them is degraded in every way, and restored. The file belongs beside the weights,
and is written after each task: what it holds of the same weights is kept, but for situations that
are measured again, so that a run that was stopped goes on with `--tasks`, all noises of a kind
together. The cells of the table then have two values: of every second photograph with the intervals
that are measured on the others alone, and of the others with those of these; the file is made of
both. Of photographs with holes, the pixels in these are measured by themselves, and
have a row more.
`--config` measures another config than that of the task; with `auto`, each photograph is restored
as what it is taken for, and situations of fewer than 15 photographs are left out. `KIND+jpeg90` are
photographs that were damaged as in `KIND` and then stored as JPEG files of that quality, or of the
qualities of `jpeg92/80` in turn. They are restored with what their compression has rounded off, as
`predict` does; where they had noise alone, by the config `jpeg`.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import torch

from benchmarks.held import FLOOR, LEVEL, LEVELS, Pixels, Places, halves, measured, show
from benchmarks.restored_alike import Alike, parts
from benchmarks.tasks import SIZE, make, of_photographs, on_disk, photograph_files, read
from d2ir_pl.diffusion.calibration import Calibration, Widths
from d2ir_pl.diffusion.randomness import image_generator
from d2ir_pl.priors import Prior, load_prior
from d2ir_pl.priors.download import file_sha256
from d2ir_pl.priors.precision import DTYPES, resolve
from d2ir_pl.priors.registry import prior_file
from d2ir_pl.restoration import Problem, with_intervals
from d2ir_pl.restoration.intervals import local_contrast, missing, noise_of, smoothed
from d2ir_pl.restoration.samples import mean_of
from d2ir_pl.restoration.situation import situation, variant
from d2ir_pl.schema import checked, read_json

TASKS = (
    *("blur_gaussian", "blur_gaussian_noisy", "blur_anisotropic", "super_resolution_x2_blind"),
    "super_resolution_x4",
    *(f"grainy+jpeg{quality}" for quality in (12, 30, 60, 85, 95)),
    *("soft+jpeg70/85/95", "low_light", "old_photo"),
    *("denoising", "denoising_0.05", "denoising_0.025"),
    *("hdr", "blur_motion", "blur_defocus", "blur_straight", "faded"),
)
LEAST = 15
"""Photographs without which nothing is said of a situation that photographs are sorted into."""


def restored(
    alike: Alike, prior: Prior, counts: Sequence[int]
) -> Iterator[tuple[int, list[Pixels]]]:
    """A number of samples, and the pixels of photographs that have so many."""
    family, method = alike.degradation, alike.method
    problem = Problem.of(alike.y, family, [image_generator(0, n) for n in alike.names])
    problem = method.prepared(problem, prior)
    samples = [method.restore(problem, prior) for _ in range(max(counts))]
    for count in counts:
        mean = mean_of(samples[:count], problem)
        assert mean.std is not None
        spread, contrast = smoothed(mean.std) / 2 + FLOOR, local_contrast(mean.x0)
        error = (mean.x0 - alike.reference).abs().flatten(2).mT / 2
        holes: list[Places | None] = [None] * len(error)
        if "mask" in mean.phi:
            holes = [own.flatten().numpy() for own in missing(mean)]
        told = zip(error, spread, contrast, noise_of(mean), holes, strict=True)
        found: list[Pixels] = [
            Pixels(e.numpy(), s.flatten().numpy(), c.flatten().numpy(), n, {}, h)
            for e, s, c, n, h in told
        ]
        for level in LEVELS:
            known = with_intervals(mean, family, method, prior, count, level).intervals
            if known is not None and known.half_width is not None:
                for pixels, half in zip(found, known.half_width / 2, strict=True):
                    if half.isfinite().all():
                        pixels.half_width[level] = half.flatten().numpy()
        yield count, found


def calibration(names: Sequence[str], prior: Prior, options: argparse.Namespace) -> None:
    """Measure how far restorations are off, on the photographs of a folder, and write that."""
    before = already(options.output, file_sha256(prior_file(options.prior)))
    before = replace(before, about=options.about or before.about)
    situations: dict[str, list[Widths]] = defaultdict(list)
    methods, most = dict(before.settings), max(options.counts)
    told: dict[str, list[list[Pixels]]] = {}
    for name in names:
        found: dict[str, dict[int, list[Pixels]]] = defaultdict(lambda: defaultdict(list))
        for alike in _parts(name, options):
            own = variant(situation(alike.degradation, alike.method), alike.method, methods)
            for count, pixels in restored(alike, prior, options.counts):
                found[own][count] += pixels
        for own, by_count in found.items():
            if len(found) > 1 and len(by_count[most]) < LEAST:
                continue
            for count, pixels in by_count.items():
                situations[own] += [w for level in LEVELS for w in measured(pixels, count, level)]
            row = name if len(found) == 1 else f"{name}, taken for {own}"
            told[row] = halves(by_count[most], most)
        known = {**before.situations, **situations}
        kept = {own: methods[own] for own in known if own in methods}
        made = replace(before, situations=known, settings=kept)
        options.output.write_text(json.dumps(asdict(made), indent=1) + "\n", encoding="utf-8")
    show(told)


def already(file: Path, sha256: str) -> Calibration:
    """The calibration of the same weights in a file, or an empty one."""
    if file.is_file() and (found := checked(Calibration, read_json(file))).sha256 == sha256:
        return found
    return Calibration(sha256, LEVEL, FLOOR, "", {})


def _parts(name: str, options: argparse.Namespace) -> Iterator[Alike]:
    """The photographs of a task, whose name may have the format of their files behind a plus."""
    damage, _, stored = name.partition("+")
    if folder := options.calibrate or options.photographs:
        chosen = {path.stem: path for path in photograph_files(folder)[: options.limit]}
        task = of_photographs(damage, chosen, options.size)
    else:
        whole = make(damage, options.size) if options.data is None else read(damage, options.data)
        task = whole.part(slice(options.limit))
    config = "jpeg" if stored and task.config == "denoising" else task.config
    return parts(replace(task, config=options.config or config), stored)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables, or make a calibration, for the arguments of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tasks", default=",".join(TASKS), help="with commas between")
    parser.add_argument("--limit", type=int, help="only the first so many photographs")
    parser.add_argument("--size", type=int, default=SIZE, help="side of the photographs' crops")
    parser.add_argument("--samples", type=int, default=8, help="restorations of each photograph")
    parser.add_argument("--data", type=Path, help="folder with degraded sets and references")
    parser.add_argument("--photographs", type=Path, help="folder of clean photographs")
    parser.add_argument("--prior", default="natural-small")
    parser.add_argument("--precision", choices=["auto", "bf16", "fp32"], default="auto")
    parser.add_argument("--calibrate", type=Path, help="folder of clean photographs")
    parser.add_argument("--config", help="a config that restores every task")
    parser.add_argument("--output", type=Path, default=Path("prior.intervals.json"))
    parser.add_argument("--about", default="", help="what the photographs are")
    options = parser.parse_args(arguments)
    options.counts = sorted({min(4, options.samples), options.samples})
    torch.set_grad_enabled(True)
    prior = load_prior(options.prior).cast(DTYPES[resolve(options.precision, "cpu")])
    names = options.tasks.split(",")
    if options.calibrate is not None:
        calibration(names, prior, options)
        return
    known = names
    if options.data is not None:
        known = [n for n in names if n.partition("+")[0] in on_disk(options.data)]
    found: dict[str, list[Pixels]] = defaultdict(list)
    for name in known:
        for alike in _parts(name, options):
            for _, pixels in restored(alike, prior, [options.samples]):
                found[name] += pixels
    show({name: [pixels] for name, pixels in found.items()})


if __name__ == "__main__":
    main()
