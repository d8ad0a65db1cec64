"""`restore` with a degradation that an earlier restoration has estimated."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from photos import photo

from d2ir_pl import restore
from d2ir_pl.degradations import GaussianBlur, MotionBlur, Phi
from d2ir_pl.degradations.saved import SavedPhi
from d2ir_pl.errors import InputError
from d2ir_pl.priors import NetworkPrior
from d2ir_pl.restoration import D2IR, DegradationEstimation

FAST = D2IR(DegradationEstimation(steps=1), stages="estimation")


@pytest.fixture
def start(tmp_path: Path) -> Path:
    saved = SavedPhi.of(MotionBlur(), Phi(log_length=torch.ones(1), angle=torch.tensor([0.25])))
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"status": "restored", "degradation": saved.as_json()}))
    return path


def test_the_degradation_is_that_of_the_record(natural_small: NetworkPrior, start: Path) -> None:
    y = [(photo(seed) + 1) / 2 for seed in (1, 2)]
    for degradation in (MotionBlur(border="extend"), "auto"):
        for result in restore(y, degradation, FAST, natural_small, start=start):
            phi = result.restoration.phi
            assert [float(phi[name]) for name in ("log_length", "angle")] == [1.0, 0.25]
    told = MotionBlur().told(Phi(log_length=torch.ones(1), angle=torch.tensor([0.25])))
    alone = restore(y[0], told, FAST, natural_small)
    started = restore(y[0], MotionBlur(), FAST, natural_small, start=start)
    assert np.array_equal(alone.image, started.image)


def test_what_does_not_fit_is_refused_before_any_work(start: Path) -> None:
    y = torch.zeros(3, 24, 32)
    with pytest.raises(InputError, match="tells of MotionBlur, not of GaussianBlur"):
        restore(y, GaussianBlur(), start=start)
    with pytest.raises(InputError, match=r"is a folder: give the \.json of one photo"):
        restore(y, start=start.parent)
    with pytest.raises(InputError, match="cannot be read"):
        restore(y, start=start.with_name("b.json"))
