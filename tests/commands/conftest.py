"""Runs that several tests look at."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from photos import save, save_all
from program import predict

from d2ir_pl.commands.predict import RestorationCLI, parse_options


@pytest.fixture(scope="session")
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


@pytest.fixture
def parse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Parse options as `predict` does, with an input, and a kernel where the task needs one."""
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "photo.png")
    np.save(tmp_path / "kernel.npy", np.full((5, 5), 1 / 25))

    def parse(*arguments: str, config: str | None = None) -> RestorationCLI:
        options = [] if config is None else ["--config", config]
        if config is not None and Path(config).stem == "deblur":
            options += ["--model.degradation.kernel", "kernel.npy"]
        common = ["--data.inputs", "photo.png", "--trainer.accelerator", "cpu"]
        return parse_options([*options, *common, *arguments])

    return parse
