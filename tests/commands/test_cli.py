"""The program as a user meets it: what it writes, what it skips, and how it refuses."""

import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from photos import files, photo, psnr, save, save_all
from PIL import Image
from rich.console import Console
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor

import d2ir_pl
from d2ir_pl import cli
from d2ir_pl.cli import main
from d2ir_pl.image_io import read_image, write_png
from d2ir_pl.inputs.items import Item, Sample
from d2ir_pl.prediction.data import Batch, RestorationDataModule
from d2ir_pl.prediction.module import RestorationModule
from d2ir_pl.priors.network import NetworkPrior
from d2ir_pl.restoration import D2IR, LatentOptimization, Restoration

QUICK = [
    *("--model.method.estimation.steps", "2"),
    *("--model.method.latent.iterations", "2", "--model.method.latent.ddim_steps", "1"),
    *("--model.method.latent.fixed_point_iterations", "1"),
    *("--trainer.accelerator", "cpu"),
    *("--trainer.precision", "32-true"),
]


def predict(inputs: Path | str, output: Path, *options: str) -> int:
    where = ["--data.inputs", str(inputs), "--output", str(output)]
    return main(["predict", *where, *QUICK, *options])


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def table(output: Path) -> dict[str, dict[str, str]]:
    with (output / "metrics.csv").open(newline="", encoding="utf-8") as file:
        return {row["name"]: row for row in csv.DictReader(file)}


def state_of(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {
        name: ((folder / name).read_bytes(), (folder / name).stat().st_mtime_ns)
        for name in files(folder)
    }


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with inputs of every kind in `in` and their results in `out`."""
    root = tmp_path_factory.mktemp("finished")
    alpha = torch.linspace(0, 1, 24 * 32).reshape(1, 24, 32)
    save(root / "in" / "colour.png", 1)
    save(root / "in" / "sub" / "größer 2.png", 2, 40, 25)
    save(root / "in" / "grey.png", 3, grey=True)
    save(root / "in" / "alpha.png", 4, alpha=alpha)
    save(root / "in" / "deep.png", 5, bit_depth=16)
    save_all(root / "in", ["same.jpg", "same.png"])
    (root / "in" / "notes.txt").write_text("no image")
    assert predict(root / "in", root / "out") == 0
    return root


@pytest.fixture
def finished_copy(finished: Path, tmp_path: Path) -> Path:
    """The same, to be changed."""
    return shutil.copytree(finished, tmp_path / "copy")


# ---- What a run leaves behind ----

NAMES = {"colour", "sub/größer 2", "grey", "alpha", "deep", "same.jpg", "same.png"}


def test_a_run_writes_what_is_promised_and_nothing_else(finished: Path) -> None:
    written = files(finished / "out")
    events = {name for name in written if name.startswith("tensorboard/")}
    runs = {*NAMES, "means"}
    assert {name.rpartition("/")[0] for name in events} == {f"tensorboard/{n}" for n in runs}
    assert len(events) == len(runs)
    assert written - events == {
        *(f"restored/{name}.png" for name in NAMES),
        *(f"degradation/{name}.png" for name in NAMES),
        *(f"degradation/{name}.json" for name in NAMES),
        *(f"preview/{name}.{kind}.jpg" for name in NAMES for kind in ("input", "steps")),
        *("metrics.csv", "config.yaml", "report.html", ".lock"),
    }


def test_inputs_are_left_as_they_are(finished: Path) -> None:
    assert len(files(finished / "in")) == 8
    assert np.abs(pixels(finished / "in" / "colour.png") / 127.5 - 1 - hwc(photo(1))).max() < 0.01


def hwc(image: Tensor) -> np.ndarray:
    return image.permute(1, 2, 0).numpy()


@pytest.mark.parametrize("name", sorted(NAMES - {"same.jpg", "same.png"}))
def test_restored_pictures_are_of_the_kind_of_their_inputs(finished: Path, name: str) -> None:
    before = read_image(finished / "in" / f"{name}.png")
    after = read_image(finished / "out" / "restored" / f"{name}.png")
    assert after.pixels.shape == before.pixels.shape
    assert (after.grey, after.bit_depth) == (before.grey, before.bit_depth)
    assert (after.alpha is None) == (before.alpha is None)
    if before.alpha is not None and after.alpha is not None:
        assert torch.equal(after.alpha, before.alpha)
    assert not torch.equal(after.pixels, before.pixels)
    # Blurred again as estimated, the result is the photo but for its noise.
    assert float(table(finished / "out")[name]["reblur_psnr"]) > 25


def test_sixteen_bits_are_used(finished: Path) -> None:
    values = read_image(finished / "out" / "restored" / "deep.png").pixels
    assert len(torch.unique(values)) > 256


def test_degradation_is_told_in_numbers_and_as_a_picture(finished: Path) -> None:
    record = json.loads((finished / "out" / "degradation" / "colour.json").read_text())
    kernel = np.array(record["phi"]["kernel"])
    assert kernel.sum() == pytest.approx(1, abs=1e-4)
    picture = pixels(finished / "out" / "degradation" / "colour.png")
    np.testing.assert_allclose(picture / 255, kernel / kernel.max(), atol=0.51 / 255 + 1e-4)
    assert len(record["losses"]["estimation"]) == 2
    assert 0 < record["sigma_y"] < 0.2
    assert (record["height"], record["width"], record["seed"]) == (24, 32, 0)
    assert record["precision"] == "32-true"


def test_table_agrees_with_the_records(finished: Path) -> None:
    rows = table(finished / "out")
    assert set(rows) == NAMES
    for name, row in rows.items():
        path = finished / "out" / "degradation" / f"{name}.json"
        record = json.loads(path.read_text(encoding="utf-8"))
        for key in ("height", "width", "seed", "sigma_y", "residual", "nfe", "reblur_psnr"):
            assert float(row[key]) == record[key]
        assert float(row["estimation_first_loss"]) == record["losses"]["estimation"][0]
        assert float(row["latent_last_loss"]) == record["losses"]["latent"][-1]
        assert (row["status"], row["psnr"]) == ("restored", "")


def test_saved_config_repeats_the_run(finished_copy: Path) -> None:
    out = finished_copy / "out"
    before = state_of(out / "restored")
    saved = yaml.safe_load((out / "config.yaml").read_text())
    assert saved["model"]["method"]["init_args"]["estimation"]["steps"] == 2
    shutil.copy(out / "config.yaml", finished_copy / "again.yaml")
    again = ["--config", str(finished_copy / "again.yaml"), "--output", str(finished_copy / "out2")]
    assert main(["predict", *again, "--data.inputs", str(finished_copy / "in")]) == 0
    after = state_of(finished_copy / "out2" / "restored")
    assert {k: v[0] for k, v in after.items()} == {k: v[0] for k, v in before.items()}


# ---- Second runs ----


def test_a_second_run_skips_everything_and_touches_nothing(
    finished_copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = finished_copy / "out"
    kept = [out / "restored", out / "degradation", *(out / "tensorboard" / n for n in NAMES)]
    before = [state_of(folder) for folder in kept]
    rows = table(out)
    assert predict(finished_copy / "in", out, "--data.batch_size", "3") == 0
    assert [state_of(folder) for folder in kept] == before
    assert table(out) == rows
    error = capsys.readouterr().err
    assert "7 of 7 images are complete: skipped" in error
    assert f"0 restored, 7 skipped (complete already), 0 failed; results in {out}" in error


def test_a_second_run_does_what_is_missing_and_lists_all(finished_copy: Path) -> None:
    out = finished_copy / "out"
    lost = out / "restored" / "colour.png"
    expected = state_of(out / "restored")
    lost.unlink()
    save(finished_copy / "in" / "grey.png", 30, grey=True)  # a changed input
    save(finished_copy / "in" / "new.png", 31)
    assert predict(finished_copy / "in", out) == 0
    after = state_of(out / "restored")
    assert after["colour.png"][0] == expected["colour.png"][0]
    changed = {name for name in after if after[name] != expected.get(name)}
    assert changed == {"colour.png", "grey.png", "new.png"}
    assert after["grey.png"][0] != expected["grey.png"][0]
    assert set(table(out)) == NAMES | {"new"}


@pytest.mark.parametrize(
    "change",
    [
        ("--seed", "1"),
        ("--model.method.estimation.steps", "3"),
        ("--model.sigma_y", "0.1"),
        ("--trainer.precision", "bf16-mixed"),
        ("--data.degrade", "true"),
    ],
)
def test_other_settings_are_refused_in_one_sentence(
    finished_copy: Path, capsys: pytest.CaptureFixture[str], change: tuple[str, str]
) -> None:
    before = state_of(finished_copy / "out")
    assert predict(finished_copy / "in", finished_copy / "out", *change) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "holds 7 results made with other settings" in line
    assert "--overwrite true" in line
    before.pop(".lock")
    after = state_of(finished_copy / "out")
    after.pop(".lock")
    assert after == before


def test_overwrite_replaces_results_of_other_settings(finished_copy: Path) -> None:
    out = finished_copy / "out"
    before = state_of(out / "restored")
    assert predict(finished_copy / "in", out, "--seed", "1", "--overwrite", "true") == 0
    after = state_of(out / "restored")
    assert set(after) == set(before)
    assert all(after[name][0] != before[name][0] for name in before)
    assert {row["seed"] for row in table(out).values()} == {"1"}
    runs = [name.rpartition("/")[0] for name in files(out / "tensorboard")]
    assert len(runs) == len(set(runs)), "a run holds the curves of two restorations"


def test_without_overwrite_nothing_else_in_the_folder_is_touched(tmp_path: Path) -> None:
    save(tmp_path / "a.png")
    (tmp_path / "out" / "restored").mkdir(parents=True)
    (tmp_path / "out" / "restored" / "mine.png").write_text("mine")
    (tmp_path / "out" / "notes.txt").write_text("mine")
    assert predict(tmp_path / "a.png", tmp_path / "out", "--tensorboard", "false") == 0
    assert (tmp_path / "out" / "restored" / "mine.png").read_text() == "mine"
    assert (tmp_path / "out" / "notes.txt").read_text() == "mine"
    assert not (tmp_path / "out" / "tensorboard").exists()


# ---- Files that cannot be restored ----


def test_broken_files_are_named_and_the_others_finished(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    inputs = save_all(tmp_path / "in", ["a.png", "b.png", "c.png", "d.png"])
    whole = (inputs / "b.png").read_bytes()
    (inputs / "b.png").write_bytes(whole[: len(whole) // 2])
    (inputs / "c.png").write_text("no image")
    assert predict(inputs, tmp_path / "out", "--data.batch_size", "4") == 1
    error = capsys.readouterr().err
    assert "2 restored, 2 failed" in error
    assert "failed: b: " in error
    assert "b.png is damaged, truncated" in error
    assert "c.png is not a PNG" in error
    assert "Traceback" not in error
    assert files(tmp_path / "out" / "restored") == {"a.png", "d.png"}
    rows = table(tmp_path / "out")
    assert {name: row["status"] for name, row in rows.items()} == {
        **dict.fromkeys("ad", "restored"),
        **dict.fromkeys("bc", "failed"),
    }
    assert "truncated" in rows["b"]["reason"]

    (inputs / "b.png").write_bytes(whole)
    (inputs / "c.png").unlink()
    before = state_of(tmp_path / "out" / "restored")
    assert predict(inputs, tmp_path / "out") == 0
    after = state_of(tmp_path / "out" / "restored")
    assert set(after) == {"a.png", "b.png", "d.png"}
    assert before.items() <= after.items()


def test_an_image_that_the_method_refuses_does_not_stop_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    inputs = save_all(tmp_path / "in", ["a.png", "c.png"])
    save(inputs / "b.png", 9, 8, 8)
    restore = D2IR.restore

    def refuse(self: D2IR, y: Tensor, *rest: Any) -> Restoration:
        if y.shape[-1] < 16:
            raise ValueError("8 pixels are too few: give a larger photo")
        return restore(self, y, *rest)

    monkeypatch.setattr(D2IR, "restore", refuse)
    assert predict(inputs, tmp_path / "out") == 1
    assert "failed: b: 8 pixels are too few: give a larger photo" in capsys.readouterr().err
    assert files(tmp_path / "out" / "restored") == {"a.png", "c.png"}


def diverge_above(monkeypatch: pytest.MonkeyPatch, lr: float) -> None:
    """The network returns NaN for bright images of methods whose steps are larger than `lr`."""
    network, restore = NetworkPrior._network, D2IR.restore
    current: list[float] = []

    def watched(self: D2IR, *arguments: Any) -> Restoration:
        current[:] = [self.latent.lr]
        return restore(self, *arguments)

    def broken(self: NetworkPrior, x_t: Tensor, t: int) -> Tensor:
        eps = network(self, x_t, t)
        bright = x_t.mean((1, 2, 3), keepdim=True) > 0.5
        return torch.where(bright & (current[0] > lr), torch.nan, eps)

    monkeypatch.setattr(D2IR, "restore", watched)
    monkeypatch.setattr(NetworkPrior, "_network", broken)


def dark_bright_dark(folder: Path) -> Path:
    save_all(folder, ["a.png", "c.png"])
    write_png(folder / "b.png", 0.8 + 0.1 * photo(5))
    return folder


@pytest.mark.parametrize(
    "degradation", ["Blur", "GaussianBlur", "MotionBlur", "d2ir_pl.degradations.Light"]
)
def test_nan_in_any_degradation_costs_no_neighbour(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, degradation: str
) -> None:
    inputs = dark_bright_dark(tmp_path / "in")
    diverge_above(monkeypatch, 0.0)
    options = ("--data.batch_size", "3", "--model.degradation", degradation)
    assert predict(inputs, tmp_path / "out", *options) == 1
    assert files(tmp_path / "out" / "restored") >= {"a.png", "c.png"}


def test_one_mask_that_is_missing_costs_no_neighbour(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    inputs = save_all(tmp_path / "in", ["a.png", "b.png", "c.png"])
    masks = save_all(tmp_path / "masks", ["a.png", "c.png"])
    mask = ("--model.degradation", "Mask", "--model.degradation.source", str(masks))
    options = ("--data.batch_size", "3", "--data.degrade", "true", *mask)
    assert predict(inputs, tmp_path / "out", *options) == 1
    assert "failed: b: " in capsys.readouterr().err
    assert files(tmp_path / "out" / "restored") == {"a.png", "c.png"}


def test_an_image_that_diverges_is_restored_once_more_and_its_neighbours_are_untouched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    inputs = dark_bright_dark(tmp_path / "in")
    batch = ("--data.batch_size", "3", "--model.method.latent.discrepancy", "0")
    assert predict(inputs, tmp_path / "before", *batch) == 0
    capsys.readouterr()
    diverge_above(monkeypatch, 0.005)
    assert predict(inputs, tmp_path / "out", *batch) == 0
    assert capsys.readouterr().err.count("(the restoration diverged at first: restored with") == 1
    for name in ("a.png", "c.png"):
        before, after = (tmp_path / run / "restored" / name for run in ("before", "out"))
        assert before.read_bytes() == after.read_bytes()
    record = json.loads((tmp_path / "out" / "degradation" / "b.json").read_text())
    assert record["notes"] == [
        "the restoration diverged at first: restored with a tenth of the step sizes"
    ]
    assert all(np.isfinite(record["losses"]["estimation"]))
    assert len(record["phi_change"]) == len(record["losses"]["estimation"]) - 1
    # Of the two attempts, the curves are those of the second.
    run = EventAccumulator(str(tmp_path / "out" / "tensorboard" / "b"))
    run.Reload()
    losses = [event.value for event in run.Scalars("estimation/loss")]
    assert losses == pytest.approx(record["losses"]["estimation"], rel=1e-4)


def test_an_image_that_diverges_twice_is_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    inputs = dark_bright_dark(tmp_path / "in")
    diverge_above(monkeypatch, 0.0)
    assert predict(inputs, tmp_path / "out", "--data.batch_size", "3") == 1
    assert "failed: b: the restoration diverged, with a tenth of" in capsys.readouterr().err
    assert files(tmp_path / "out" / "restored") == {"a.png", "c.png"}
    assert {name: row["status"] for name, row in table(tmp_path / "out").items()} == {
        "a": "restored",
        "b": "failed",
        "c": "restored",
    }


def test_a_batch_that_memory_does_not_hold_is_halved_then_tiled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    inputs = save_all(tmp_path / "in", [*"abcd"], height=40, width=64)
    for path in inputs.iterdir():
        path.rename(path.with_suffix(".png"))
    network = NetworkPrior._network
    shapes: list[tuple[int, ...]] = []

    def small(self: NetworkPrior, x_t: Tensor, t: int) -> Tensor:
        shapes.append(tuple(x_t.shape))
        if x_t.numel() > 3 * 64 * 64:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return network(self, x_t, t)

    monkeypatch.setattr(NetworkPrior, "_network", small)
    options = ("--data.batch_size", "4", "--model.tile", "128")
    assert predict(inputs, tmp_path / "out", *options) == 0
    assert files(tmp_path / "out" / "restored") == {"a.png", "b.png", "c.png", "d.png"}
    sizes = [shape[0] for shape in shapes if shape[0] > 1]
    assert sizes == [4, 2]
    shown = capsys.readouterr().err
    assert shown.count("(memory ran out: restored 1 at a time, on tiles of 64 pixels)") == 4
    record = json.loads((tmp_path / "out" / "degradation" / "d.json").read_text())
    assert record["tile"] == 64
    assert len(record["phi_change"]) == 1, "only those of the attempt that fitted"


@pytest.mark.parametrize("size", [(1, 1), (1, 30), (3, 5), (64, 9)])
def test_tiny_and_thin_photos_are_restored(tmp_path: Path, size: tuple[int, int]) -> None:
    save(tmp_path / "a.png", 0, *size)
    assert predict(tmp_path / "a.png", tmp_path / "out") == 0
    assert pixels(tmp_path / "out" / "restored" / "a.png").shape == (*size, 3)


def test_an_interrupted_run_is_continued_by_the_same_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    inputs = save_all(tmp_path / "in", ["a.png", "b.png"])
    restore, calls = D2IR.restore, []

    def interrupt(self: D2IR, *arguments: Any) -> Restoration:
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return restore(self, *arguments)

    handler = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(D2IR, "restore", interrupt)
    try:
        assert predict(inputs, tmp_path / "out") == 130
    finally:
        signal.signal(signal.SIGINT, handler)
    assert "finished images are kept, and the same command does the rest" in capsys.readouterr().err
    first = state_of(tmp_path / "out" / "restored")
    assert set(first) == {"a.png"}
    assert predict(inputs, tmp_path / "out") == 0
    assert first.items() <= state_of(tmp_path / "out" / "restored").items()
    assert set(table(tmp_path / "out")) == {"a", "b"}


# ---- An image does not depend on its neighbours, and noise only on the seed ----


def batch_of(items: list[Item]) -> Batch:
    photos = [read_image(item.path) for item in items]
    samples = [
        Sample(i, photo, photo.pixels, None, "") for i, photo in zip(items, photos, strict=True)
    ]
    return Batch(samples, [], torch.stack([s.y for s in samples]))


@pytest.fixture(scope="module")
def both_stages() -> RestorationModule:
    """In single precision, with a second stage that never stops early."""
    latent = LatentOptimization(
        iterations=2, ddim_steps=2, fixed_point_iterations=2, discrepancy=0.0
    )
    return RestorationModule(method=D2IR(latent=latent))


@pytest.mark.parametrize("stages", ["estimation", "both"])
def test_alone_in_a_batch_and_in_another_order_the_result_is_the_same(
    tmp_path: Path,
    both_stages: RestorationModule,
    monkeypatch: pytest.MonkeyPatch,
    stages: str,
) -> None:
    monkeypatch.setattr(both_stages.method, "stages", stages)
    save_all(tmp_path, ["a.png", "b.png", "c.png", "d.png"])
    items = RestorationDataModule(str(tmp_path)).items
    moved = both_stages.predict_step(batch_of(items)).phi_change
    for b, item in enumerate(items):
        (alone_moved,) = both_stages.predict_step(batch_of([item])).phi_change
        assert len(alone_moved) == 7
        np.testing.assert_allclose(moved[b], alone_moved, atol=1e-4)
    together = both_stages.predict_step(batch_of(items)).restoration
    reverse = both_stages.predict_step(batch_of(items[::-1])).restoration
    assert together is not None
    assert reverse is not None
    for b, item in enumerate(items):
        alone = both_stages.predict_step(batch_of([item])).restoration
        assert alone is not None
        for other, at in ((together, b), (reverse, 3 - b)):
            np.testing.assert_allclose(other.x0[at], alone.x0[0], atol=1e-4)
            np.testing.assert_allclose(other.sigma_y[at], alone.sigma_y[0], rtol=1e-5)
            for name, value in alone.phi.items():
                np.testing.assert_allclose(other.phi[name][at], value[0], atol=1e-4)
            assert other.nfe[at] == alone.nfe[0]
            assert other.stopped_by[at] == alone.stopped_by[0]
            for stage, losses in alone.losses.items():
                np.testing.assert_allclose(other.losses[stage][at], losses[0], rtol=1e-2, atol=1e-5)
    assert (together.x0[0] - together.x0[1]).abs().max() > 0.1


def test_neighbours_in_a_batch_change_nothing_at_all(
    tmp_path: Path, both_stages: RestorationModule
) -> None:
    save_all(tmp_path, ["a.png", "b.png", "c.png"])
    save(tmp_path / "c.png", 9, grey=True)
    a, b, c = RestorationDataModule(str(tmp_path)).items
    with_b, with_c = (both_stages.predict_step(batch_of([a, x])).restoration for x in (b, c))
    assert with_b is not None
    assert with_c is not None
    assert torch.equal(with_b.x0[0], with_c.x0[0])
    assert with_b.losses["latent"][0] == with_c.losses["latent"][0]
    assert not torch.equal(with_b.x0[1], with_c.x0[1])


@pytest.mark.parametrize(("precision", "bits"), [("32-true", 16), ("bf16-mixed", 8)])
def test_files_do_not_depend_on_the_batch(tmp_path: Path, precision: str, bits: int) -> None:
    for i in range(3):
        save(tmp_path / "in" / f"{i}.png", i, 16, 16, bit_depth=bits)
    options = ["--trainer.precision", precision, "--tensorboard", "false"]
    options += ["--model.degradation.kernel_size", "5"]
    for size in (1, 3):
        batch = ["--data.batch_size", str(size)]
        assert predict(tmp_path / "in", tmp_path / f"out{size}", *options, *batch) == 0
    assert predict(tmp_path / "in" / "2.png", tmp_path / "alone", *options) == 0
    together = read_image(tmp_path / "out3" / "restored" / "2.png").pixels
    for other in ("out1", "alone"):
        single = read_image(tmp_path / other / "restored" / "2.png").pixels
        difference = float((single - together).abs().max())
        assert difference <= (1e-4 if precision == "32-true" else 2.01 / 255)
    alone = (tmp_path / "alone" / "restored" / "2.png").read_bytes()
    assert (tmp_path / "out1" / "restored" / "2.png").read_bytes() == alone


def test_same_seed_same_bytes_other_seed_other_bytes(finished: Path, tmp_path: Path) -> None:
    expected = state_of(finished / "out" / "restored")
    for seed in ("0", "1"):
        out = tmp_path / seed
        assert predict(finished / "in", out, "--seed", seed, "--tensorboard", "false") == 0
        for name, (content, _) in state_of(out / "restored").items():
            assert (content == expected[name][0]) == (seed == "0"), name
    for name in NAMES:
        first, again = (
            json.loads((root / "degradation" / f"{name}.json").read_text(encoding="utf-8"))
            for root in (finished / "out", tmp_path / "0")
        )
        del first["seconds"], again["seconds"]
        assert first == again


def test_images_of_one_run_draw_different_noise(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        save(tmp_path / "in" / name, 1)
    assert predict(tmp_path / "in", tmp_path / "out", "--data.batch_size", "2") == 0
    a, b = (pixels(tmp_path / "out" / "restored" / name) for name in ("a.png", "b.png"))
    assert (a != b).any()


# ---- Precision ----


@pytest.fixture
def slow_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A CPU without arithmetic for half precision, on which nothing is computed in it."""
    monkeypatch.setattr("d2ir_pl.priors.precision.computes_in_bfloat16", lambda device: False)
    monkeypatch.setattr(NetworkPrior, "cast", lambda self, dtype: self)


@pytest.mark.parametrize("precision", ["bf16-mixed", "16-mixed"])
def test_a_precision_that_is_slow_here_is_respected_with_a_sentence(
    slow_cpu: None, tmp_path: Path, capsys: pytest.CaptureFixture[str], precision: str
) -> None:
    save(tmp_path / "a.png")
    options = ["--trainer.precision", precision, "--tensorboard", "false"]
    assert predict(tmp_path / "a.png", tmp_path / "out", *options) == 0
    sentence, *others = capsys.readouterr().err.splitlines()
    assert sentence.startswith(f"--trainer.precision {precision} will be very slow")
    assert sentence.endswith("use auto or 32-true")
    assert not [line for line in others if "very slow" in line]
    record = json.loads((tmp_path / "out" / "degradation" / "a.json").read_text())
    assert record["precision"] == "bf16-mixed"  # Lightning knows no fp16 on a CPU

    # Where nothing is left to do there is nothing to wait for.
    assert predict(tmp_path / "a.png", tmp_path / "out", *options) == 0
    assert "very slow" not in capsys.readouterr().err


def test_auto_is_kept_in_the_settings_and_the_record_tells_what_it_was(
    slow_cpu: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save(tmp_path / "a.png")
    assert predict(tmp_path / "a.png", tmp_path / "out", "--trainer.precision", "auto") == 0
    assert "very slow" not in capsys.readouterr().err
    saved = yaml.safe_load((tmp_path / "out" / "config.yaml").read_text())
    assert saved["trainer"]["precision"] == "auto"
    record = json.loads((tmp_path / "out" / "degradation" / "a.json").read_text())
    assert record["precision"] == "32-true"


def test_auto_goes_on_on_other_hardware(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(NetworkPrior, "cast", lambda self, dtype: self)
    inputs = save_all(tmp_path / "in", ["a.png"])
    for fast in (False, True):
        monkeypatch.setattr(
            "d2ir_pl.priors.precision.computes_in_bfloat16", lambda device, f=fast: f
        )
        assert predict(inputs, tmp_path / "out", "--trainer.precision", "auto") == 0
        save(inputs / "b.png", 1)
    assert "1 of 2 images are complete: skipped" in capsys.readouterr().err
    precisions = [
        json.loads((tmp_path / "out" / "degradation" / f"{name}.json").read_text())["precision"]
        for name in "ab"
    ]
    assert precisions == ["32-true", "bf16-mixed"]


# ---- Clean images ----


def test_references_give_scores(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    inputs = save_all(tmp_path / "in", ["a.png", "sub/b.png"])
    save(tmp_path / "clean" / "a.tif", 10)
    (tmp_path / "clean" / "sub").mkdir()
    write_png(tmp_path / "clean" / "sub" / "b.png", 0.9 * photo(1))
    assert predict(inputs, tmp_path / "out", "--data.references", str(tmp_path / "clean")) == 0
    rows = table(tmp_path / "out")
    for name, clean in (("a", "a.tif"), ("sub/b", "sub/b.png")):
        truth = np.round((hwc(read_image(tmp_path / "clean" / clean).pixels) + 1) * 127.5)
        restored = pixels(tmp_path / "out" / "restored" / f"{name}.png")
        assert float(rows[name]["psnr"]) == pytest.approx(psnr(restored, truth), abs=0.05)
        assert -1 <= float(rows[name]["ssim"]) <= 1
    degraded, truth = pixels(inputs / "a.png"), pixels_of(tmp_path / "clean" / "a.tif")
    assert float(rows["a"]["input_psnr"]) == pytest.approx(psnr(degraded, truth), abs=0.01)
    assert float(rows["sub/b"]["psnr"]) > float(rows["a"]["psnr"])
    mean = np.mean([float(row["psnr"]) for row in rows.values()])
    assert f"psnr {mean:.2f}" in capsys.readouterr().err


def pixels_of(path: Path) -> np.ndarray:
    return np.round((hwc(read_image(path).pixels) + 1) * 127.5)


def test_scores_that_do_not_exist_are_left_out_of_valid_json(tmp_path: Path) -> None:
    path = save(tmp_path / "in" / "tiny.png", 0, 9, 9)  # too small for SSIM; its own reference
    assert predict(path, tmp_path / "out", "--data.references", str(path.parent)) == 0
    row = table(tmp_path / "out")["tiny"]
    assert (row["ssim"], row["input_psnr"]) == ("", "")
    assert float(row["psnr"]) > 0

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    text = (tmp_path / "out" / "degradation" / "tiny.json").read_text()
    assert json.loads(text, parse_constant=refuse)["status"] == "restored"


def test_a_reference_of_another_size_fails_that_image_only(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    inputs = save_all(tmp_path / "in", ["a.png", "b.png"])
    save(tmp_path / "clean" / "a.png", 0, 12, 12)
    save(tmp_path / "clean" / "b.png", 1)
    assert predict(inputs, tmp_path / "out", "--data.references", str(tmp_path / "clean")) == 1
    assert "a.png is 12x12, not 24x32" in capsys.readouterr().err
    assert files(tmp_path / "out" / "restored") == {"b.png"}


def test_degrade_makes_inputs_and_measures_against_the_clean_images(tmp_path: Path) -> None:
    inputs = save_all(tmp_path / "in", ["a.png", "b.png", "c.png"])
    known = ["--data.degrade", "true", "--model.degradation.width", "1.5"]
    assert predict(inputs, tmp_path / "out", *known, "--data.degrade_noise", "0.03") == 0
    rows = table(tmp_path / "out")
    for name in "abc":
        clean = pixels(inputs / f"{name}.png")
        degraded = pixels(tmp_path / "out" / "degraded" / f"{name}.png")
        restored = pixels(tmp_path / "out" / "restored" / f"{name}.png")
        assert degraded.shape == clean.shape
        assert float(rows[name]["input_psnr"]) == pytest.approx(psnr(degraded, clean), abs=0.01)
        assert float(rows[name]["psnr"]) == pytest.approx(psnr(restored, clean), abs=0.05)
        record = json.loads((tmp_path / "out" / "degradation" / f"{name}.json").read_text())
        assert record["true_phi"]["width_major_px"] == pytest.approx(1.5, rel=0.02)
        assert float(rows[name]["sigma_y"]) == pytest.approx(0.03, rel=0.35)
    # The same images, degraded beforehand, are restored alike.
    again = [*known[2:], "--data.references", str(inputs)]
    assert predict(tmp_path / "out" / "degraded", tmp_path / "again", *again) == 0
    for name, row in table(tmp_path / "again").items():
        assert float(row["psnr"]) == pytest.approx(float(rows[name]["psnr"]), abs=1e-3)


def test_degrading_depends_on_the_seed_and_not_on_the_batch(tmp_path: Path) -> None:
    inputs = save_all(tmp_path / "in", ["a.png", "b.png"])
    runs = {"one": ("0", "1"), "two": ("0", "2"), "other": ("1", "2")}
    for run, (seed, batch) in runs.items():
        options = ["--data.degrade", "true", "--seed", seed, "--data.batch_size", batch]
        assert predict(inputs, tmp_path / run, *options) == 0
    degraded = {run: state_of(tmp_path / run / "degraded") for run in runs}
    for name in ("a.png", "b.png"):
        assert degraded["one"][name][0] == degraded["two"][name][0] != degraded["other"][name][0]


# ---- TensorBoard ----


@pytest.fixture(scope="module")
def events(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("events")
    save_all(root / "in", ["a.png", "sub/b.png"])
    options = [
        *("--model.method.estimation.steps", "7"),
        *("--model.method.latent.discrepancy", "0"),
        *("--data.references", str(root / "in"), "--data.batch_size", "2"),
    ]
    assert predict(root / "in", root / "out", *options) == 0
    return root / "out"


def accumulate(folder: Path) -> EventAccumulator:
    accumulator = EventAccumulator(str(folder), size_guidance={"images": 0, "scalars": 0})
    return accumulator.Reload()


@pytest.mark.parametrize("name", ["a", "sub/b"])
def test_curves_of_every_step_are_logged(events: Path, name: str) -> None:
    log = accumulate(events / "tensorboard" / name)
    record = json.loads((events / "degradation" / f"{name}.json").read_text())
    assert set(log.Tags()["scalars"]) == {
        *("estimation/loss", "estimation/residual_over_sigma", "estimation/phi_change"),
        *("latent/loss", "latent/residual_over_sigma", "latent/x_T_rms"),
        *("score/psnr", "score/ssim", "score/reblur_psnr", "score/residual_over_sigma"),
        *("score/nfe", "score/seconds"),
    }
    curve = log.Scalars("estimation/loss")
    assert [point.step for point in curve] == list(range(7))
    np.testing.assert_allclose([p.value for p in curve], record["losses"]["estimation"], rtol=1e-5)
    np.testing.assert_allclose(
        [p.value for p in log.Scalars("estimation/residual_over_sigma")],
        np.sqrt(record["losses"]["estimation"]) / record["sigma_y"],
        rtol=1e-4,
    )
    moved = log.Scalars("estimation/phi_change")
    assert [point.step for point in moved] == list(range(1, 7))
    np.testing.assert_allclose([p.value for p in moved], record["phi_change"], rtol=1e-5)
    latent = [p.value for p in log.Scalars("latent/loss")]
    assert len(latent) == 3
    assert set(np.float32(latent)) <= set(np.float32(record["losses"]["latent"]))
    assert all(0 < p.value < 3 for p in log.Scalars("latent/x_T_rms"))
    assert log.Scalars("score/psnr")[0].value == pytest.approx(record["psnr"], rel=1e-5)


@pytest.mark.parametrize("name", ["a", "sub/b"])
def test_pictures_along_the_way_are_logged(events: Path, name: str) -> None:
    log = accumulate(events / "tensorboard" / name)
    assert set(log.Tags()["images"]) == {
        *("estimation/x0", "estimation/degradation", "latent/x0", "latent/degradation"),
        *("degradation", "input | restored | reference"),
    }
    for tag in ("estimation/x0", "estimation/degradation"):
        assert [picture.step for picture in log.Images(tag)] == [0, 5, 6]
    (row,) = log.Images("input | restored | reference")
    drawn = np.asarray(Image.open(io.BytesIO(row.encoded_image_string))).astype(float)
    assert drawn.shape == (24, 3 * 32, 3)
    clean = pixels(events.parent / "in" / f"{name}.png")
    restored = pixels(events / "restored" / f"{name}.png")
    for i, expected in enumerate((clean, restored, clean)):
        assert np.abs(drawn[:, 32 * i : 32 * (i + 1)] - expected).max() <= 1
    (kernel,) = log.Images("degradation")
    assert (kernel.height, kernel.width) == (168, 168)


def test_several_samples_give_a_map_of_their_deviation(tmp_path: Path) -> None:
    save(tmp_path / "in" / "a.png")
    several = ["--model.num_samples", "3", "--model.method.estimation.temperature", "1"]
    assert predict(tmp_path / "in", tmp_path / "out", *several) == 0
    drawn = pixels(tmp_path / "out" / "uncertainty" / "a.png")
    assert drawn.shape == (24, 32)
    assert drawn.dtype == np.uint16
    row = table(tmp_path / "out")["a"]
    assert row["num_samples"] == "3"
    # White is a standard deviation of 0.1.
    deviation = drawn / 65535 * 0.1
    assert float(row["std"]) == pytest.approx(np.sqrt(np.square(deviation).mean()), rel=1e-2)
    log = accumulate(tmp_path / "out" / "tensorboard" / "a")
    assert "uncertainty" in log.Tags()["images"]
    assert [point.step for point in log.Scalars("estimation/loss")] == [0, 1]
    assert predict(tmp_path / "in", tmp_path / "out", "--overwrite", "true") == 0
    assert not (tmp_path / "out" / "uncertainty" / "a.png").exists()


def test_tensorboard_can_be_switched_off(tmp_path: Path) -> None:
    save(tmp_path / "a.png")
    assert predict(tmp_path / "a.png", tmp_path / "out", "--tensorboard", "false") == 0
    assert not (tmp_path / "out" / "tensorboard").exists()


# ---- Progress ----


def test_a_line_an_image_where_there_is_no_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    inputs = save_all(tmp_path / "in", ["a.png", "b [1].png"])
    assert predict(inputs, tmp_path / "out", "--data.references", str(inputs)) == 0
    out, error = capsys.readouterr()
    assert out == ""
    lines = error.splitlines()
    assert lines[0].startswith("restored 1/2: a in ")
    assert lines[1].startswith("restored 2/2: b [1] in ")
    assert "dB" in lines[1]
    assert lines[2] == f"2 restored, 0 failed; results in {tmp_path / 'out'}"


def test_without_progress_only_the_summary_is_left(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    inputs = save_all(tmp_path / "in", ["a.png", "b.png"])
    assert predict(inputs, tmp_path / "out", "--progress", "none") == 0
    assert capsys.readouterr().err == f"2 restored, 0 failed; results in {tmp_path / 'out'}\n"


def test_the_summary_tells_new_from_old_and_has_the_means_of_all(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    inputs = save_all(tmp_path / "in", ["a.png", "b.png"])
    clean = ["--data.references", str(save_all(tmp_path / "clean", [f"{n}.png" for n in "bacd"]))]
    assert predict(inputs, tmp_path / "out", *clean, "--progress", "none") == 0
    assert "mean input_psnr " in capsys.readouterr().err
    save(inputs / "c.png", 5)
    (inputs / "d.png").write_text("no image")
    assert predict(inputs, tmp_path / "out", *clean, "--progress", "none") == 1
    first, scores, *failed = capsys.readouterr().err.splitlines()
    counts = "1 restored, 2 skipped (complete already), 1 failed"
    assert first == f"{counts}; results in {tmp_path / 'out'}"
    rows = [row for row in table(tmp_path / "out").values() if row["status"] == "restored"]
    mean = np.mean([float(row["psnr"]) for row in rows])
    assert scores.startswith("mean of all 3, those skipped included: input_psnr ")
    assert f", psnr {mean:.2f}, " in scores
    assert len(failed) == 1
    assert failed[0].startswith("failed: d: ")


def test_a_terminal_shows_image_stage_step_and_loss(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = save_all(tmp_path / "in", ["a.png", "b.png"])
    screen = Console(file=io.StringIO(), force_terminal=True, width=150)
    monkeypatch.setattr("d2ir_pl.commands.predict.Console", lambda **options: screen)
    assert predict(inputs, tmp_path / "out", "--model.method.estimation.steps", "30") == 0
    assert isinstance(screen.file, io.StringIO)
    shown = screen.file.getvalue()
    assert "image 1 of 2 (a), estimation " in shown
    assert "/30, loss " in shown
    assert shown.endswith(f"results in {tmp_path / 'out'}\n")


def test_a_terminal_counts_samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = save_all(tmp_path / "in", ["a.png"])
    screen = Console(file=io.StringIO(), force_terminal=True, width=150)
    monkeypatch.setattr("d2ir_pl.commands.predict.Console", lambda **options: screen)
    options = ["--model.method.estimation.steps", "30", "--model.num_samples", "2"]
    assert predict(inputs, tmp_path / "out", *options) == 0
    assert isinstance(screen.file, io.StringIO)
    assert "image 1 of 1 (a), sample 2/2, estimation " in screen.file.getvalue()


# ---- Mistakes ----

MISTAKES = [
    (["--model.sigma", "0.1"], ["--model.sigma is not an option", "did you mean --model.sigma_y?"]),
    (["--data.batch", "3"], ["--data.batch is not", "did you mean --data.batch_size?"]),
    (["--modle.prior", "x"], ["--modle.prior is not", "did you mean --model.prior?"]),
    (["--entirely_different=3"], ["--entirely_different is not", "d2ir predict --help"]),
    (["photos/"], ["photos/ is not an option"]),
    (
        ["--model.method.estimation.stepz", "3"],
        ["--model.method.estimation.stepz is not an option of D2IR", "--model.method.help D2IR"],
    ),
    (["--model.method.estimation.step", "3"], ["--model.method.estimation.step is not an option"]),
    (["--model.method.latent.iter", "3"], ["--model.method.latent.iter is not an option"]),
    (["--model.degradation.kern", "3"], ["--model.degradation.kern is not an option of Gaussian"]),
    (["--trainer.max_epochs", "3"], ["--trainer.max_epochs is not an option"]),
    (["--config", "typo.yaml"], ["--model.sigma is not an option", "--model.sigma_y?"]),
    (["--config", "nested.yaml"], ["--model.method.estimation.stepz is not an option of D2IR"]),
    (["--seed", "x"], ["--seed: expected int, not x"]),
    (["--data.batch_size", "two"], ["--data.batch_size: expected int, not two"]),
    (["--overwrite", "maybe"], ["--overwrite: expected bool, not maybe"]),
    (
        ["--model.method.stages", "all"],
        ["--model.method.stages: expected Literal['both', 'estimation', 'latent'], not all"],
    ),
    (["--model.method.estimation.steps", "0"], ["estimation.steps 0 must lie between 1"]),
    (["--model.num_samples", "0"], ["model.num_samples 0 must be at least 1"]),
    (["--model.sigma_y", "2"], ["model.sigma_y 2.0 must lie in [0, 1)"]),
    (["--model.degradation.kernel_size", "4"], ["kernel_size 4 must be odd"]),
    (["--model.degradation", "Blurr"], ["--model.degradation Blurr is unknown", "GaussianBlur"]),
    (["--model.method", "Nothing"], ["--model.method Nothing is unknown", "D2IR"]),
    (["--data.inputs", "missing"], ["input missing does not exist", "give a file"]),
    (["--data.references", "missing"], ["references missing is not a folder"]),
    (["--config", "missing"], ["config missing does not exist", "blind_deblur"]),
    (["--config=missing.yaml"], ["config missing.yaml does not exist", "blind_deblur"]),
    (["--model.prior", "missing.pt"], ["'missing.pt' is neither a file nor", "natural-small"]),
    (["--model.prior", "imagenet-256"], ["imagenet-256", "download imagenet-256"]),
    (["--model.prior", "photo.png"], ["photo.png carries no architecture", "prior_flags"]),
    *(
        (["--trainer.precision", name], [f"--trainer.precision {name} is not", "auto, 32-true"])
        for name in ("16-true", "bf16-true", "64-true", "nonsense")
    ),
    (["--trainer.accelerator", "quantum"], ["accelerator", "quantum"]),
    (
        ["--config", "deblur", "--model.degradation.kernel", "missing.npy"],
        ["kernel file missing.npy does not exist", "give a .npy or image file"],
    ),
]


@pytest.mark.parametrize(("options", "expected"), MISTAKES, ids=lambda o: " ".join(o)[:40])
def test_a_mistake_is_one_sentence_before_any_work(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    expected: list[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("D2IR_CACHE", str(tmp_path / "cache"))
    save(tmp_path / "photo.png")
    (tmp_path / "typo.yaml").write_text("model: {sigma: 0.1}\n")
    (tmp_path / "nested.yaml").write_text(
        "model: {method: {class_path: D2IR, init_args: {estimation: {stepz: 3}}}}\n"
    )
    before = files(tmp_path)
    # The wrong option comes last, so that it wins over the right one of the same name.
    right = ["--data.inputs", "photo.png", "--trainer.accelerator", "cpu"]
    assert main(["predict", "--output", "out", *right, *options]) == 2
    out, error = capsys.readouterr()
    assert out == ""
    (line,) = error.splitlines()
    assert line.startswith("d2ir: ")
    assert len(line) < 250
    for part in expected:
        assert part in line
    assert files(tmp_path) == before


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["predict"], "no input is given: add --data.inputs"),
        (["predcit"], "'predcit' is not a command: did you mean predict?"),
        (
            ["paint"],
            "'paint' is not a command: use one of predict, propose, compare, report, serve, fit",
        ),
        (["download", "imagenet"], "'imagenet' is unknown"),
        (["download", "natural-small"], "natural-small is part of the package"),
    ],
)
def test_wrong_commands_are_one_sentence(
    capsys: pytest.CaptureFixture[str], arguments: list[str], expected: str
) -> None:
    assert main(arguments) == 2
    out, error = capsys.readouterr()
    assert out == ""
    (line,) = error.splitlines()
    assert line.startswith("d2ir: ")
    assert expected in line


def test_an_output_that_is_in_use_or_a_file_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(tmp_path / "a.png")
    assert predict(path, path) == 2
    assert "a.png cannot be written to" in capsys.readouterr().err

    def held(*arguments: object) -> None:
        raise BlockingIOError

    monkeypatch.setattr("fcntl.lockf", held)
    assert predict(path, tmp_path / "out") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "another run is writing to" in line
    assert not (tmp_path / "out" / "restored").exists()


def test_a_disk_that_fills_up_is_one_sentence_and_loses_nothing_finished(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = save_all(tmp_path / "in", ["a.png", "b.png"])
    replace = os.replace

    def full(source: Path, target: Path) -> None:
        if Path(target).match("restored/b.png"):
            raise OSError(28, "No space left on device", str(target))
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        assert predict(inputs, tmp_path / "out") == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("d2ir: ")
    assert "b.png cannot be written (No space left on device)" in last
    assert files(tmp_path / "out" / "restored") == {"a.png"}
    assert predict(inputs, tmp_path / "out") == 0
    assert files(tmp_path / "out" / "restored") == {"a.png", "b.png"}


# ---- Commands ----


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in cli.COMMANDS)
    assert main([]) == 2
    assert capsys.readouterr().out == shown


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"{d2ir_pl.__version__}\n"


def test_predict_help_shows_what_can_be_swapped_and_no_training(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["predict", "--help"])
    assert stop.value.code == 0
    shown = capsys.readouterr().out
    for option in ("--model.prior", "--model.degradation", "--model.method", "--data.inputs"):
        assert option in shown
    for option in ("max_epochs", "seed_everything", "gradient_clip"):
        assert option not in shown


def test_class_help_lists_the_settings_of_a_method(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["predict", "--model.method.help", "D2IR"])
    assert stop.value.code == 0
    assert "--model.method.estimation.steps" in capsys.readouterr().out


def test_two_processes_share_the_images_and_report_once(tmp_path: Path) -> None:
    inputs = save_all(tmp_path / "in", ["a.png", "b.png", "c.png", "d.png"])
    assert predict(inputs, tmp_path / "out") == 0
    folder = tmp_path / "out" / "restored"
    before = {name: (read_image(folder / name).pixels, v) for name, v in state_of(folder).items()}
    for name in ("b.png", "d.png"):
        (folder / name).unlink()
    (inputs / "c.png").write_text("no image")
    script = tmp_path / "run.py"
    script.write_text("import sys; from d2ir_pl.cli import main; sys.exit(main())")
    where = ["--data.inputs", str(inputs), "--output", str(tmp_path / "out")]
    run = subprocess.run(
        [sys.executable, str(script), "predict", *where, *QUICK, "--trainer.devices", "2"],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=120,
    )
    assert run.returncode == 1, run.stderr
    assert run.stderr.count("2 restored, 1 skipped (complete already), 1 failed") == 1
    assert "c.png is not a PNG" in run.stderr
    assert "Traceback" not in run.stderr
    after = state_of(folder)
    assert after["a.png"] == before["a.png"][1]
    for name in ("b.png", "d.png"):
        # Within 1e-4 of the range, and the rounding of 16 bits.
        assert (read_image(folder / name).pixels - before[name][0]).abs().max() <= 2e-4 + 4e-5
    assert set(table(tmp_path / "out")) == set("abcd")
    assert len(list((tmp_path / "out" / "tensorboard" / "means").iterdir())) == 1
