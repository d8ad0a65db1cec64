"""What a run leaves behind."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from photos import files, photo
from program import NAMES, hwc, pixels, state_of, table

from d2ir_pl.cli import main
from d2ir_pl.image_io import read_image


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
        *(f"filled_in/{name}.png" for name in NAMES),
        *(f"preview/{name}.{kind}.jpg" for name in NAMES for kind in ("input", "steps")),
        *("metrics.csv", "config.yaml", "report.html", ".lock"),
    }


def test_inputs_are_left_as_they_are(finished: Path) -> None:
    assert len(files(finished / "in")) == 8
    assert np.abs(pixels(finished / "in" / "colour.png") / 127.5 - 1 - hwc(photo(1))).max() < 0.01


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


def test_what_was_filled_in_is_a_map_and_numbers(finished: Path) -> None:
    record = json.loads((finished / "out" / "degradation" / "colour.json").read_text())
    share, by_size = record["filled_in"], record["filled_in_by_size"]
    assert 0 <= share <= 1
    assert len(by_size) == 4
    assert by_size[0] > by_size[-1]  # a blur takes fine details first
    drawn = pixels(finished / "out" / "filled_in" / "colour.png")
    assert drawn.shape == pixels(finished / "out" / "restored" / "colour.png").shape[:2]
    assert float(table(finished / "out")["colour"]["filled_in"]) == pytest.approx(share, abs=1e-3)
    page = (finished / "out" / "report.html").read_text(encoding="utf-8")
    assert f"What is tinted was invented by the model ({share:.0%} of all details)." in page
