"""A run as a row of the HPARAMS tab, and names that are the same whatever the method."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from photos import save_all
from repository import DOCS
from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.context import RequestContext
from tensorboard.plugins.base_plugin import TBContext
from tensorboard.plugins.hparams.backend_context import Context
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from d2ir_pl.cli import main
from d2ir_pl.image_io import read_image, write_png
from d2ir_pl.results.record import METRICS
from d2ir_pl.results.settings import differences, read_settings

QUICK = ["--trainer.accelerator", "cpu", "--trainer.precision", "32-true", "--progress", "none"]
QUICK += ["--report", "false"]
PAGE = DOCS / "tensorboard.md"


def documented() -> set[str]:
    """The names in the first column of the tables of the page."""
    rows = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line[:3] == "| `"]
    cells = [re.split(r"(?<!\\)\|", row)[1].replace("\\|", "|") for row in rows]
    return {name for cell in cells for name in re.findall("`([^`]+)`", cell)}


def predict(inputs: Path, output: Path, *options: str) -> int:
    clean = inputs.parent / "clean"
    for path in inputs.rglob("*.png"):
        reference = clean / path.relative_to(inputs)
        reference.parent.mkdir(parents=True, exist_ok=True)
        write_png(reference, 0.9 * read_image(path).pixels)
    references = ["--data.references", str(clean)]
    where = ["--data.inputs", str(inputs), "--output", str(output), *references]
    return main(["predict", *where, *QUICK, *options])


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs of different methods, with settings that the other one does not have."""
    root = tmp_path_factory.mktemp("sweep")
    inputs = save_all(root / "in", ["a.png", "sub/b.png"])
    results = root / "results"
    assert predict(inputs, results / "d2ir", "--model.method.estimation.steps", "2") == 0
    ddrm = ["--model.method", "DDRM", "--model.method.steps", "2"]
    assert predict(inputs, results / "ddrm", *ddrm, "--model.degradation.width", "1.0") == 0
    return results


def experiment(results: Path) -> Any:
    """What the HPARAMS tab is made of."""
    multiplexer = EventMultiplexer().AddRunsFromDirectory(str(results))
    multiplexer.Reload()
    data = MultiplexerDataProvider(multiplexer, str(results))
    context = Context(TBContext(data_provider=data))
    sessions = context.hparams_metadata(RequestContext(), "")
    return sessions, context.experiment_from_metadata(RequestContext(), "", True, sessions, None)


def test_a_sweep_is_a_row_a_run(sweep: Path) -> None:
    sessions, columns = experiment(sweep)
    assert set(sessions) == {"d2ir/tensorboard/means", "ddrm/tensorboard/means"}
    # The columns are the settings of all runs, and the means: no curve of a single image.
    names = {info.name for info in columns.hparam_infos}
    assert {"model.method", "model.method.estimation.steps", "model.method.steps"} <= names
    assert {"model.degradation", "model.degradation.width", "model.sigma_y", "seed"} <= names
    metrics = {info.name.tag for info in columns.metric_infos}
    assert metrics == {f"mean/{name}" for name in METRICS} - {"mean/lpips", "mean/brisque"}
    assert {info.name.group for info in columns.metric_infos} == {""}


def test_the_means_are_those_of_the_images(sweep: Path) -> None:
    log = EventAccumulator(str(sweep / "ddrm" / "tensorboard" / "means")).Reload()
    (start,) = (
        HParamsPluginData.FromString(content).session_start_info
        for tag, content in log.summary_metadata.items()
        if "session_start" in tag
        for content in [content.plugin_data.content]
    )
    assert start.hparams["model.method"].string_value == "DDRM"
    assert start.hparams["model.degradation.width"].number_value == 1.0
    paths = (sweep / "ddrm" / "degradation").rglob("*.json")
    found = [json.loads(path.read_text()) for path in paths]
    assert len(found) == 2
    for name in ("psnr", "ssim", "nfe", "seconds"):
        (point,) = log.Scalars(f"mean/{name}")
        assert point.value == pytest.approx(np.mean([record[name] for record in found]))


def test_another_run_into_the_same_folder_is_still_one_row(tmp_path: Path) -> None:
    inputs = save_all(tmp_path / "in", ["a.png"])
    steps = ["--model.method.estimation.steps", "2"]
    means = tmp_path / "out" / "tensorboard" / "means"

    def mean_psnr() -> float:
        assert len(list(means.iterdir())) == 1
        (point,) = EventAccumulator(str(means)).Reload().Scalars("mean/psnr")
        return float(point.value)

    assert predict(inputs, tmp_path / "out", *steps) == 0
    first = mean_psnr()
    save_all(inputs, ["a.png", "b.png"])
    assert predict(inputs, tmp_path / "out", *steps) == 0
    resumed = mean_psnr()
    assert resumed != first
    assert predict(inputs, tmp_path / "out", "--overwrite", "true", *steps, "--seed", "1") == 0
    assert mean_psnr() != resumed


METHODS = {
    "D2IR": [
        *("--model.method.estimation.steps", "2", "--model.method.latent.discrepancy", "0"),
        *("--model.method.latent.iterations", "2", "--model.method.latent.ddim_steps", "2"),
    ],
    "GDP": ["--model.method.steps", "2"],
    "DPS": ["--model.method.steps", "2"],
    "DDRM": ["--model.method.steps", "2"],
    "DiffPIR": ["--model.method.steps", "2"],
    "BIRD": ["--model.method.iterations", "2", "--model.method.ddim_steps", "2"],
    "FastDiffusionEM": ["--model.method.steps", "2"],
    "PosteriorMean": [],
}
DEGRADATIONS = {
    "FastDiffusionEM": ["--model.degradation", "Blur"],
    "PosteriorMean": ["--model.degradation", "Identity"],
}


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_names_are_the_same_for_every_method(tmp_path: Path, method: str) -> None:
    inputs = save_all(tmp_path / "in", ["a.png"], 16, 16)
    degradation = DEGRADATIONS.get(method, ["--model.degradation.width", "1.0"])
    chosen = ["--model.method", method, *METHODS[method]]
    assert predict(inputs, tmp_path / "out", *degradation, *chosen) == 0
    tags = EventAccumulator(str(tmp_path / "out" / "tensorboard" / "a")).Reload().Tags()
    stages = {"latent"} if method == "BIRD" else {"estimation"}
    assert {f"{stage}/loss" for stage in stages} <= set(tags["scalars"])
    assert {f"{stage}/x0" for stage in stages} <= set(tags["images"])
    assert {*tags["scalars"], *tags["images"]} <= documented()


def test_every_score_is_documented() -> None:
    assert {f"score/{name}" for name in METRICS} <= documented()


def test_settings_that_differ_are_named_once(sweep: Path) -> None:
    found = differences(read_settings(sweep / "d2ir"), read_settings(sweep / "ddrm"))
    assert found["model.method"] == ("D2IR", "DDRM")
    assert found["model.degradation.width"] == (None, 1.0)
    assert not any(name.startswith("model.method.") for name in found)
    assert "output" not in found
    same = read_settings(sweep / "ddrm")
    assert same["model.degradation.isotropic"] == "true"
    assert not differences(same, dict(same))
