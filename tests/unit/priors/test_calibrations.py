"""A calibration lies beside the weights that it holds for, and is of no others."""

import json
import shutil
from dataclasses import asdict
from pathlib import Path

import pytest

from d2ir_pl.diffusion.calibration import Calibration, Widths
from d2ir_pl.errors import PriorError
from d2ir_pl.priors import load_prior
from d2ir_pl.priors.calibrations import calibration_file
from d2ir_pl.priors.download import file_sha256
from d2ir_pl.priors.registry import prior_file


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "own.safetensors"
    shutil.copyfile(prior_file("natural-small"), path)
    return path


def written(weights: Path, sha256: str) -> Calibration:
    widths = Widths(8, 0.9, 0.02, 0.02, 24, [0.01, 0.1], [3.0, 4.0])
    made = Calibration(sha256, 0.9, 0.002, "photographs", {"Jpeg by D2IR": [widths]})
    calibration_file(weights).write_text(json.dumps(asdict(made)))
    return made


def test_a_prior_has_the_calibration_beside_it(weights: Path) -> None:
    assert load_prior(str(weights)).calibration is None
    made = written(weights, file_sha256(weights))
    assert calibration_file(weights).name == "own.intervals.json"
    assert load_prior(str(weights)).calibration == made


def test_a_calibration_of_other_weights_is_not_used_and_that_is_said(weights: Path) -> None:
    written(weights, "0" * 64)
    prior = load_prior(str(weights))
    assert prior.calibration is None
    assert prior.uncalibrated == "own.intervals.json is of other weights than own.safetensors"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"level": 2}, "level"),
        ({"situations": {"a": [{"num_samples": 8}]}}, "has no situations.a"),
        ({"more": 1}, "unknown key more"),
    ],
)
def test_a_broken_calibration_is_refused_with_a_remedy(
    weights: Path, change: dict[str, object], message: str
) -> None:
    made = asdict(written(weights, file_sha256(weights)))
    calibration_file(weights).write_text(json.dumps({**made, **change}))
    with pytest.raises(PriorError, match=message) as error:
        load_prior(str(weights))
    assert "or remove it" in str(error.value)


def test_contrasts_have_to_ascend_with_a_factor_each() -> None:
    for contrast, factor in (([0.2, 0.1], [1.0, 1.0]), ([0.1], [1.0, 2.0]), ([], [])):
        with pytest.raises(ValueError, match="not ascending"):
            Widths(8, 0.9, 0.02, 0.02, 24, contrast, factor)
