"""Photographs to train on, and a trained prior."""

from pathlib import Path

import pytest
from photos import save_all
from training_runs import fit


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_all(tmp_path_factory.mktemp("photos"), [f"{i}.png" for i in range(6)], 40, 48)


@pytest.fixture(scope="module")
def trained(photographs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("trained")
    assert fit(photographs, output, "--trainer.max_steps=2", "--trainer.val_check_interval=2") == 0
    return output
