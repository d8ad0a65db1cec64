"""Calibrated intervals hold as many pixels as they promise, in every tenth of the contrasts."""

import json
from dataclasses import replace
from pathlib import Path
from unittest.mock import ANY

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from benchmarks import coverage
from benchmarks import held as counted
from benchmarks.held import Pixels, tenth_of, widths
from d2ir_pl.diffusion.calibration import Calibration, Widths
from d2ir_pl.image_io import write_png
from d2ir_pl.restoration import BlindDenoising
from d2ir_pl.restoration.intervals import factors
from d2ir_pl.restoration.situation import settings
from d2ir_pl.schema import checked, read_json

BOX = "Mask by D2IR, 20 steps at temperature 1"


def photograph(seed: int) -> Pixels:
    """Pixels whose errors are by far larger than their spread, and the more the more contrast."""
    rng = np.random.default_rng(seed)
    contrast = np.exp(rng.uniform(-6, -1, 4000)).astype(np.float32)
    spread = rng.uniform(0.002, 0.02, 4000).astype(np.float32)
    scale = spread * (2 + 30 * contrast)
    error = np.abs(rng.laplace(size=(4000, 3))).astype(np.float32) * scale[:, None]
    return Pixels(error, spread, contrast, 0.02, {})


@pytest.mark.parametrize("level", [0.5, 0.9])
def test_what_is_measured_on_some_photographs_holds_for_others(level: float) -> None:
    found = widths([photograph(seed) for seed in range(8)], 8, level)
    assert (found.num_samples, found.level, found.photographs) == (8, level, 8)
    others = [photograph(seed) for seed in range(100, 108)]
    error, spread, contrast = (
        np.concatenate([getattr(p, name) for p in others])
        for name in ("error", "spread", "contrast")
    )
    half = factors(found, torch.from_numpy(contrast)).numpy() * spread
    held = error <= half[:, None]
    assert held.mean() == pytest.approx(level, abs=0.01)
    tenths = tenth_of(contrast)
    for k in range(10):
        assert held[tenths == k].mean() == pytest.approx(level, abs=0.02)


def test_each_half_of_the_photographs_has_the_intervals_that_the_other_gives_it() -> None:
    photographs = [photograph(seed) for seed in range(5)]
    first, second = counted.halves(photographs, 8)
    for part, others in ((first, photographs[1::2]), (second, photographs[0::2])):
        for level in counted.LEVELS:
            found = widths(others, 8, level)
            for own in part:
                half = factors(found, torch.from_numpy(own.contrast)).numpy() * own.spread
                np.testing.assert_allclose(own.half_width[level], half, rtol=1e-6)
    assert [id(p.contrast) for p in first] == [id(p.contrast) for p in photographs[0::2]]
    assert [id(p.contrast) for p in second] == [id(p.contrast) for p in photographs[1::2]]


def test_what_is_wrong_in_one_half_does_not_change_its_own_intervals() -> None:
    photographs = [photograph(seed) for seed in range(3)]
    changed = [replace(photographs[0], error=photographs[0].error * 100), *photographs[1:]]
    before, after = (counted.halves(p, 8) for p in (photographs, changed))
    for level in counted.LEVELS:
        for p, q in zip(before[0], after[0], strict=True):
            np.testing.assert_array_equal(p.half_width[level], q.half_width[level])
        wider = after[1][0].half_width[level] > before[1][0].half_width[level]
        assert wider.mean() > 0.9


def test_flat_images_have_one_factor() -> None:
    flat = Pixels(
        np.full((50, 3), 0.01, np.float32),
        np.full(50, 0.01, np.float32),
        np.zeros(50, np.float32),
        0.02,
        {},
    )
    found = widths([flat], 8, 0.9)
    assert len(found.contrast) == 1
    assert found.factor == [1.0]


def test_a_task_without_a_calibration_has_an_empty_row(
    capsys: pytest.CaptureFixture[str],
) -> None:
    coverage.main(["--tasks", "colorization", "--limit", "1", "--size", "32", "--samples", "2"])
    line = next(ln for ln in capsys.readouterr().out.splitlines() if "colorization | 0" in ln)
    assert line.replace("|", "").split() == ["colorization", "0"]


def holed(seed: int) -> Pixels:
    """A photograph whose errors are ten times as large in its holes, a tenth of it."""
    whole = photograph(seed)
    lacking = np.random.default_rng(seed + 1000).random(4000) < 0.1
    return replace(whole, error=whole.error * (1 + 9 * lacking[:, None]), lacking=lacking)


def test_holes_are_measured_by_themselves_and_hold_as_much_as_what_lies_around_them() -> None:
    photographs = [holed(seed) for seed in range(12)]
    observed, missing = counted.measured(photographs, 8, 0.9)
    assert (observed.part, missing.part) == ("observed", "missing")
    assert min(missing.factor) > 5 * min(observed.factor)
    for part in counted.halves(photographs, 8):
        for inside in (False, True):
            own = counted.some(part, inside)
            share = np.mean([(p.error <= p.half_width[0.9][:, None]).mean() for p in own])
            assert share == pytest.approx(0.9, abs=0.015)
    line = counted.row("one", counted.some(part, True))
    assert float(line.split("|")[3]) == pytest.approx(100 * share, abs=0.1)


def test_the_cells_of_a_task_have_a_value_for_each_half() -> None:
    parts = counted.halves([photograph(seed) for seed in range(4)], 8)
    both, *each = (counted.row("one", *own).split("|")[2:-1] for own in (parts, *zip(parts)))
    assert [cell.strip() for cell in both] == [
        f"{first.strip()}, {second.strip()}" for first, second in zip(*each, strict=True)
    ]
    assert len(both) == len(counted.TITLES) - 1


def smooth_photographs(folder: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    folder.mkdir(exist_ok=True)
    for name in "abc":
        x = F.interpolate(torch.rand(1, 3, 6, 6, generator=generator), (60, 60), mode="bilinear")
        write_png(folder / f"{name}.png", 2 * x[0] - 1)


def test_clean_photographs_of_a_folder_are_degraded_and_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    smooth_photographs(tmp_path)
    asked = ["--tasks", "denoising_0.05", "--size", "24", "--samples", "4", "--limit", "2"]
    coverage.main([*asked, "--photographs", str(tmp_path)])
    line = next(ln for ln in capsys.readouterr().out.splitlines() if "denoising_0.05 | 2" in ln)
    assert 0 <= float(line.split("|")[3]) <= 100


@pytest.mark.parametrize("config", [None, "auto"])
def test_files_are_restored_by_what_they_show(
    config: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    smooth_photographs(tmp_path / "photos")
    file = tmp_path / "own.intervals.json"
    asked = ["--tasks", "clean+jpeg60/40,jpeg", "--size", "32", "--samples", "2", "--limit", "3"]
    asked += ["--calibrate", str(tmp_path / "photos"), "--output", str(file)]
    coverage.main([*asked, *([] if config is None else ["--config", config])])
    rows = [line.split("|")[1].strip() for line in capsys.readouterr().out.splitlines()[2:]]
    assert [row.partition(",")[0] for row in rows] == ["clean+jpeg60/40", "jpeg"]
    found = checked(Calibration, read_json(file))
    names = {name.partition(" by")[0] for name in found.situations}
    noises = {w.noisiest > 1.1 * w.noise for w in next(iter(found.situations.values()))}
    assert True in noises  # of two qualities
    blurred = "GaussianBlur(width=given) + Jpeg"
    assert names == ({"Jpeg"} if config is None else {blurred})


def test_photographs_without_intervals_do_not_count() -> None:
    held = replace(photograph(0), half_width={0.9: np.full(4000, 9, np.float32)})
    assert counted.row("one", [held, photograph(1)]) == counted.row("one", [held])
    assert counted.row("one", [held]).replace("|", "").split()[:3] == ["one", "1", "100.0"]


def test_a_calibration_grows_by_what_is_measured_and_is_begun_anew_for_other_weights(
    tmp_path: Path,
) -> None:
    smooth_photographs(tmp_path / "photos")
    file = tmp_path / "own.intervals.json"
    asked = ["--calibrate", str(tmp_path / "photos"), "--output", str(file)]
    asked += ["--size", "24", "--samples", "2", "--limit", "2"]

    def measured(*options: str) -> dict[str, list[Widths]]:
        coverage.main([*asked, *options])
        found = checked(Calibration, read_json(file))
        assert found.settings.keys() == found.situations.keys()
        return found.situations

    first = measured("--tasks", "denoising,denoising_0.05", "--about", "noise")
    assert len({w.noise for w in first["Identity by BlindDenoising"]}) == 2
    more = measured("--tasks", "blur_gaussian", "--config", "best")
    assert more == first | {"GaussianBlur by D2IR, 8 steps at temperature 0.6": ANY}
    again = measured("--tasks", "denoising")
    assert again.keys() == more.keys()
    assert checked(Calibration, read_json(file)).about == "noise"
    assert len(again["Identity by BlindDenoising"]) < len(first["Identity by BlindDenoising"])
    other = json.loads(file.read_text()) | {"sha256": "0" * 64}
    file.write_text(json.dumps(other))
    assert measured("--tasks", "denoising").keys() == {"Identity by BlindDenoising"}
    assert {w.part for w in measured("--tasks", "inpainting_box")[BOX]} == {"observed", "missing"}
    how = checked(Calibration, read_json(file)).settings["Identity by BlindDenoising"]
    assert how == settings(BlindDenoising())
