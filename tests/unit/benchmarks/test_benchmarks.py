"""Every benchmark on the smallest input that it takes."""

import csv
import importlib
import json
import os
import runpy
import subprocess
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from forks import Program, Programs
from repository import EXAMPLES, ROOT

from benchmarks import (
    attack,
    auto,
    formats,
    fuzz_images,
    make_examples,
    memory,
    model_card,
    quality,
    scaling,
    speed,
    tables,
    unet,
)
from benchmarks.results import Results, side_by_side
from benchmarks.scores import aligned_psnr, colourfulness
from benchmarks.tasks import make, read
from d2ir_pl.image_io import read_image, write_png

SMALL = 32

COMMANDS = sorted(
    path.stem
    for path in (ROOT / "benchmarks").glob("*.py")
    if '__name__ == "__main__"' in path.read_text(encoding="utf-8")
)


def rows(text: str) -> list[list[str]]:
    """The cells of the lines of all tables in a text, the rules below their heads left out."""
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line[1:-1].split("|")] for line in lines]


def test_there_are_commands() -> None:
    assert len(COMMANDS) >= 13


@pytest.mark.slow
def test_auto_is_tried_on_files_of_every_format(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ["png", "jpeg90", "webp80", "gamma+offgrid90", "bayer+turned80"]
    cell = ["--formats", ",".join(names), "--blurs", "1.6", "--noises", "0.01"]
    record = tmp_path / "outcomes.csv"
    options = ["--limit", "1", "--size", str(2 * SMALL), "--record", str(record), *cell]
    formats.main(options)
    text = capsys.readouterr().out
    lines = rows(text)[1:]
    assert [line[:3] for line in lines] == [[name, "1.6", "0.01"] for name in names]
    assert lines[1][-2] == "GaussianBlur + Jpeg (1)"
    # A clean image that is not cropped or turned as its photo is would be far from it.
    assert all(float(line[3]) > 20 for line in lines)
    # Of one photograph, the gain is the difference of the means.
    for line in lines:
        assert float(line[5]) == pytest.approx(float(line[4]) - float(line[3]), abs=0.011)
    # What is recorded is not done again.
    monkeypatch.setattr(formats, "trial", None)
    formats.main(options)
    assert capsys.readouterr().out == text
    formats.main([*options, "--gains"])
    head, line = rows(capsys.readouterr().out)
    assert head[2:] == names
    assert line[2:] == [f"{row[5]} ({row[5]})" for row in lines]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_benchmark_is_a_command_that_says_how_it_is_run(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [name, "--help"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(SystemExit) as end:
            runpy.run_module(f"benchmarks.{name}", run_name="__main__")
    assert end.value.code == 0
    assert capsys.readouterr().out.startswith("usage:")
    about = importlib.import_module(f"benchmarks.{name}").__doc__ or ""
    assert f"\n\n    python -m benchmarks.{name}" in about


def test_a_table_has_a_rule_as_wide_as_its_head() -> None:
    assert tables.head("a", "b").splitlines() == ["| a | b |", "|---|---|"]
    assert tables.row(1, "x") == "| 1 | x |"


# ---- Quality ----


def test_quality_compares_methods_and_goes_on_where_it_stopped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--tasks", "denoising", "--size", str(SMALL), "--output", str(tmp_path)]
    quality.main([*options, "--methods", "d2ir,tv", "--limit", "1"])
    first = rows(capsys.readouterr().out)
    assert ["task", "images", "input", "D2IR (shipped config)", "Total variation, noise known"] in (
        first
    )
    with (tmp_path / "quality.csv").open(newline="") as file:
        written = list(csv.DictReader(file))
    assert [(row["method"], row["image"]) for row in written] == [
        ("d2ir", f"astronaut_{SMALL}"),
        ("tv", f"astronaut_{SMALL}"),
    ]
    assert all(float(row["psnr"]) > float(row["input"]) for row in written)
    assert read_image(tmp_path / "denoising.png").pixels.shape == (3, 4 * SMALL, SMALL)
    quality.main([*options, "--methods", "d2ir,tv", "--limit", "1"])
    assert rows(capsys.readouterr().out) == first  # seconds included: nothing was done again


def test_quality_says_which_pairs_it_leaves_out_and_what_is_unknown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--size", str(SMALL), "--limit", "1", "--output", str(tmp_path)]
    quality.main(["--tasks", "denoising", "--methods", "wiener,tv", *options])
    assert "denoising, wiener: left out, as it deconvolves" in capsys.readouterr().out
    for wrong in (["--tasks", "nothing"], ["--methods", "nothing"]):
        with pytest.raises(SystemExit):
            quality.main([*wrong, *options])
        assert "'nothing' is unknown: use" in capsys.readouterr().err


@pytest.mark.slow
def test_the_sweep_is_drawn(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    few = {"steps_5": "five", "samples_2": "two", "ddrm": "other"}
    monkeypatch.setattr(quality, "_SWEEP_TITLES", few)
    options = ["--tasks", "blur_gaussian", "--size", str(SMALL), "--limit", "1"]
    quality.main(["--sweep", *options, "--output", str(tmp_path)])
    evaluations = {line[1]: line[10] for line in rows(capsys.readouterr().out) if len(line) == 12}
    assert (evaluations["five"], evaluations["two"]) == ("5", "16")
    assert read_image(tmp_path / "sweep.png").pixels.std() > 0.1


def test_methods_are_compared_on_the_images_that_all_of_them_restored(tmp_path: Path) -> None:
    results = Results(tmp_path)
    for method, image, value in (("a", "x", 10.0), ("a", "y", 20.0), ("b", "y", 30.0)):
        results.rows["t", method, image] = {"psnr": value, "input": 5.0}
    assert rows(side_by_side(results, ["t"], {"a": "A", "b": "B"}))[1:] == [
        ["t", "1", "5.00", "20.00", "30.00"]
    ]


def test_scores_know_shifts_and_colours() -> None:
    clean = make("denoising", SMALL).reference[:1]
    assert aligned_psnr(torch.roll(clean, (2, -1), (-2, -1)), clean) > 80
    assert colourfulness(clean.mean(1, keepdim=True).expand(-1, 3, -1, -1)) == pytest.approx(0)
    assert colourfulness(clean) > 10


def test_a_degraded_set_on_disk_is_a_task(tmp_path: Path) -> None:
    made = make("inpainting_box", SMALL)
    (tmp_path / "inpainting_box" / "mask").mkdir(parents=True)
    (tmp_path / "reference").mkdir()
    metadata = {"inpainting_box": {name: {"noise": 0.0} for name in made.names}}
    (tmp_path / "metadata.json").write_text(json.dumps(metadata))
    for b, name in enumerate(made.names):
        write_png(tmp_path / "inpainting_box" / f"{name}.png", made.y[b])
        write_png(tmp_path / "reference" / f"{name}.png", made.reference[b], bit_depth=16)
        mask = 2 * made.phi["mask"][b].expand(3, -1, -1) - 1
        write_png(tmp_path / "inpainting_box" / "mask" / f"{name}.png", mask)
    found = read("inpainting_box", tmp_path)
    order = [made.names.index(name) for name in found.names]
    assert torch.equal(found.phi["mask"], made.phi["mask"][order])
    assert torch.allclose(found.y, made.y[order], atol=1e-6)


# ---- The others ----


def test_auto_says_what_it_takes_photographs_for(capsys: pytest.CaptureFixture[str]) -> None:
    auto.main(["--tasks", "clean,blur_jpeg", "--size", "64", "--limit", "1", "--proposals"])
    shown = rows(capsys.readouterr().out)
    assert [line[0] for line in shown] == ["damage", "clean", "blur_jpeg"]
    assert all(line[1] == "1" and line[-1].endswith("(1)") for line in shown[1:])
    assert all(line[3] == line[4] == "" for line in shown[1:])


@pytest.mark.slow
def test_auto_restores(capsys: pytest.CaptureFixture[str]) -> None:
    auto.main(["--tasks", "denoising", "--size", "48", "--limit", "1"])
    (line,) = rows(capsys.readouterr().out)[1:]
    assert float(line[3]) > float(line[2]) + 3
    assert float(line[4]) > float(line[2])


def test_examples_are_blurred_photographs(tmp_path: Path) -> None:
    make_examples.main(["--output", str(tmp_path)])
    for name in make_examples.EXAMPLES:
        for folder in ("clean", "blurred"):
            assert (EXAMPLES / folder / f"{name}.png").is_file()
        clean = read_image(tmp_path / "clean" / f"{name}.png").pixels
        assert torch.equal(clean, read_image(EXAMPLES / "clean" / f"{name}.png").pixels)
        # The bundled one has other noise, of 0.04 in [-1, 1], and the same blur.
        difference = read_image(tmp_path / "blurred" / f"{name}.png").pixels
        difference -= read_image(EXAMPLES / "blurred" / f"{name}.png").pixels
        assert float(difference.std()) == pytest.approx(0.04 * 2**0.5, rel=0.05)


def test_a_model_card_has_errors_and_pictures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "new" / "card.png"
    options = ["--prior", "natural-small", "--size", str(SMALL), "--steps", "2"]
    model_card.main([*options, "--output", str(file)])
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in lines] == [
        f"t = {t}" for t in (50, 200, 400, 600, 800)
    ]
    errors = [float(line.partition(":")[2]) for line in lines]
    assert errors == sorted(errors, reverse=True)
    assert read_image(file).pixels.shape == (3, 5 * SMALL, 6 * SMALL)


def test_damaged_files_are_read_or_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ["--count", "34", "--output", str(tmp_path)]
    assert fuzz_images.main(options) == 0
    assert sum(int(line[1]) for line in rows(capsys.readouterr().out)[1:]) == 34

    def broken(path: Path, max_pixels: int) -> None:
        raise KeyError(path.name, max_pixels)

    monkeypatch.setattr(fuzz_images, "read_image", broken)
    assert fuzz_images.main(options) == 1
    assert len(list(tmp_path.iterdir())) == 20
    assert "KeyError" in capsys.readouterr().out


def test_attacks_are_survived_and_those_that_are_not_are_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ["--count", "8", "--kills", "0", "--seed", "2"]
    assert attack.main(options) == 0
    shown = rows(capsys.readouterr().out)[1:]
    assert {line[0]: line[1:] for line in shown} == {
        kind: ["8", "8"] for kind in ("pictures", *attack.READ)
    }

    def broken(rng: np.random.Generator, folder: Path) -> None:
        if rng.random() < 0.5:
            raise KeyError(folder.is_dir())

    monkeypatch.setattr(attack, "READ", {"broken": broken})
    assert attack.main(options) == 1
    output = capsys.readouterr()
    lost = output.err.count("broken: number ")
    assert 0 < lost < 8
    assert rows(output.out)[-1] == ["broken", "8", str(8 - lost)]


def test_a_crash_of_the_reader_is_one_file_s(monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(path: Path) -> None:
        sys.exit(3)

    monkeypatch.setattr(fuzz_images, "_outcome", crash)
    tally = fuzz_images.read_in_processes(seed=0, count=2)
    assert [what for _, _, what in tally.wrong] == ["the process ended with 3"] * 2


@pytest.mark.slow
def test_the_floor_and_the_ratio_of_the_unet_are_measured(
    capsys: pytest.CaptureFixture[str],
) -> None:
    unet.main(["--size", str(SMALL), "--runs", "1", "--precision", "fp32"])
    head, *lines = rows(capsys.readouterr().out)
    theirs, ours = (dict(zip(head, line, strict=True)) for line in lines)
    assert max(float(line["mean error"]) for line in (theirs, ours)) < 1e-5
    assert float(theirs["10^9 multiply-adds"]) == pytest.approx(0.3, abs=0.1)
    assert float(ours["10^9 multiply-adds"]) < 0.95 * float(theirs["10^9 multiply-adds"])
    assert float(ours["GB moved"]) <= float(theirs["GB moved"])
    assert float(ours["times faster"]) > 0


def test_the_cost_on_paper_shrinks_with_the_number_of_gpus(
    capsys: pytest.CaptureFixture[str],
) -> None:
    scaling.main(["--size", "64", "--images", "640"])
    lines = rows(capsys.readouterr().out)[1:]
    assert [(line[0], line[1]) for line in lines] == [("1", "640"), ("8", "80"), ("64", "16")]
    seconds = [float(line[4]) for line in lines]
    assert seconds[0] == pytest.approx(8 * seconds[1], rel=0.2)


@pytest.mark.slow
def test_the_time_of_a_restoration_is_that_in_the_unet_and_outside(
    capsys: pytest.CaptureFixture[str],
) -> None:
    speed.main(["--size", str(SMALL), "--runs", "1"])
    head, line = rows(capsys.readouterr().out)
    found = dict(zip(head, line, strict=True))
    total = float(found["s in the U-Net"]) + float(found["s outside it"])
    assert total == pytest.approx(float(found["s an image"]), abs=0.02)
    assert found["U-Net evaluations"] == "8"


@pytest.mark.slow
def test_larger_images_take_more_memory() -> None:
    small, large = (memory.latent(2, size) for size in (SMALL, 2 * SMALL))
    assert large > 1.5 * small
    assert memory.restore(24, 40) > 4 * 3_093_123  # bytes of the weights


@pytest.mark.slow
def test_memory_is_measured_in_processes(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, programs: Programs
) -> None:
    def run(command: list[str], cwd: Path, **_: Any) -> "subprocess.CompletedProcess[str]":
        done = programs.run(command[1:], cwd=cwd)
        done.check_returncode()
        return done

    def start(command: list[str], stderr: int) -> Program:
        with open(os.devnull, "w") as nothing:
            return programs.start(command[1:], nothing, nothing)

    forks = SimpleNamespace(run=run, Popen=start, PIPE=subprocess.PIPE, DEVNULL=subprocess.DEVNULL)
    monkeypatch.setattr(memory, "subprocess", forks)
    tensors, peak, seconds = memory.measure("restore", 24, 24)
    assert 0.001 < tensors < peak < 10
    assert seconds > 0
    memory.main(["--soak", "2"])
    (line,) = rows(capsys.readouterr().out)[1:]
    assert line[0] == "2"
    assert float(line[1]) > 100
