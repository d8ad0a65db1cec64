"""What holds for every test (markers and seed), and what several files of tests look at."""

import gc
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
from embedded_prior import read_once
from forks import Programs
from photos import save, save_all
from program import predict

from d2ir_pl.commands.predict import RestorationCLI, parse_options
from d2ir_pl.priors import load_prior
from d2ir_pl.priors.network import NetworkPrior

HERE = Path(__file__).parent
FOLDERS = {"browser", "distributed"}  # each is the name of the marker of the tests in it


def pytest_configure() -> None:
    """One of several processes that share the cores computes on one, and so do its own.

    A shell lets programs in its background ignore Ctrl-C, and they pass that on to theirs. Garbage
    is collected less often than usual, as tests leave little.
    """
    gc.set_threshold(10_000, 10, 10)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if "PYTEST_XDIST_WORKER" in os.environ:
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        torch.set_num_threads(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests by their folder; a browser and several processes are slow to start."""
    for item in items:
        if item.path.is_relative_to(HERE):
            for name in FOLDERS.intersection(item.path.relative_to(HERE).parts):
                item.add_marker(name)
        if any(item.get_closest_marker(name) for name in (*FOLDERS, "thorough")):
            item.add_marker("slow")


def pytest_collection_finish() -> None:
    """Modules and tests live on: the collector of garbage need not look at them again."""
    gc.freeze()


def pytest_runtest_setup() -> None:
    """PyTorch draws the same numbers for a test, in whatever order the tests run."""
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _own_environment() -> Iterator[None]:
    """What a test, or a library that it calls, sets in the environment ends with it.

    Lightning sets `LOCAL_RANK` when it starts processes; programs of later tests that inherit it
    would wait for others that nobody starts.
    """
    with patch.dict(os.environ):
        yield


@pytest.fixture(scope="session", autouse=True)
def _prior_is_read_once() -> Iterator[None]:
    """Tests that load the embedded prior get copies, which take a fifth of the time."""
    with read_once():
        yield


@pytest.fixture(scope="session")
def programs() -> Iterator[Programs]:
    """Starts programs in processes of their own."""
    with Programs() as programs:
        yield programs


@pytest.fixture(scope="session")
def natural_small() -> NetworkPrior:
    """The prior that is part of the package; whoever changes it loads another."""
    prior = load_prior()
    assert isinstance(prior, NetworkPrior)
    return prior


# ---- A run of the program that several tests look at ----


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
